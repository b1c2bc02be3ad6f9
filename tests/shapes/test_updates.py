"""How parameters are updated: accumulated, scaled, by closures, by several optimizers, by none."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAINED = "E( 2*[b s .] )E"

ACCUMULATED = {
    "by modulo": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(4)):
                        loss = F.cross_entropy(model(x), y) / 2
                        loss.backward()
                        if (i + 1) % 2 == 0:
                            optimizer.step()
                            optimizer.zero_grad()
                return loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b . b s .] )E] )T R",
    },
    "by modulo, with a tail": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    data = loader(4)
                    for i, (x, y) in enumerate(data):
                        F.cross_entropy(model(x), y).backward()
                        if (i + 1) % 3 == 0 or i + 1 == len(data):
                            optimizer.step()
                            optimizer.zero_grad()
                return weights(model)
        """,
        "story": "T( 3*[E( b . b . b s . b s . )E] )T R",
    },
    "a tail after the loop": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(6)):
                        F.cross_entropy(model(x), y).backward()
                        if i % 2:
                            optimizer.step()
                            optimizer.zero_grad()
                    optimizer.step()
                    optimizer.zero_grad()
                return weights(model)
        """,
        "story": "T( 3*[E( b . b s . b . s )E] )T R",
    },
    "across epochs": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                seen = 0
                for epoch in range(2 * n):
                    for x, y in loader():
                        F.cross_entropy(model(x), y).backward()
                        seen += 1
                        if seen % 4 == 0:
                            optimizer.step()
                            optimizer.zero_grad()
                return seen, weights(model)
        """,
        "story": "T( 3*[E( b . b . )E E( b . b s . )E] )T R",
        "stops": False,
    },
    "in a loop inside": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        optimizer.zero_grad()
                        for part, labels in zip(x.split(4), y.split(4)):
                            F.cross_entropy(model(part), labels).backward()
                        optimizer.step()
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "once an epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    optimizer.zero_grad()
                    for x, y in loader():
                        F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                return weights(model)
        """,
        "story": "T( 3*[E( b s . )E] )T R",
    },
}

SCALED = {
    "autocast and a scaler": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
                for epoch in range(n):
                    for x, y in loader():
                        optimizer.zero_grad(set_to_none=True)
                        with torch.autocast("cpu", dtype=torch.bfloat16):
                            loss = F.cross_entropy(model(x), y)
                        scaler.scale(loss).backward()
                        scaler.unscale_(optimizer)
                        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                        scaler.step(optimizer)
                        scaler.update()
                return scaler.state_dict(), weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "steps that the scaler skips": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(4)):
                        optimizer.zero_grad()
                        loss = F.cross_entropy(model(x), y) * (float("inf") if i == 2 else 1.0)
                        scaler.scale(loss).backward()
                        scaler.step(optimizer)
                        scaler.update()
                return scaler.state_dict(), weights(model)
        """,
        "story": "T( 3*[E( b s . b s . b . b s . )E] )T R",
    },
}

CLOSURES = {
    "LBFGS, one closure a batch": {
        "source": """
            def train(n):
                model = make()
                optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
                for epoch in range(n):
                    for x, y in loader():
                        def closure():
                            optimizer.zero_grad()
                            loss = F.cross_entropy(model(x), y)
                            loss.backward()
                            return loss
                        loss = optimizer.step(closure)
                return loss.item(), weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "LBFGS, full batches": {
        "source": """
            def train(n):
                model = make()
                optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)

                def closure():
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(X), Y)
                    loss.backward()
                    return loss

                for i in range(n):
                    loss = optimizer.step(closure)
                return loss.item(), weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
    },
    "SAM, two phases inside one step": {
        "source": """
            class SAM(torch.optim.Optimizer):
                def __init__(self, parameters, base, rho=0.05, **kwargs):
                    super().__init__(parameters, dict(rho=rho, **kwargs))
                    self.base = base(self.param_groups, **kwargs)
                    self.param_groups = self.base.param_groups

                @torch.no_grad()
                def first_step(self):
                    for group in self.param_groups:
                        for p in group["params"]:
                            self.state[p]["old"] = p.data.clone()
                            p.add_(p.grad, alpha=group["rho"])
                    self.zero_grad()

                @torch.no_grad()
                def second_step(self):
                    for group in self.param_groups:
                        for p in group["params"]:
                            p.data = self.state[p]["old"]
                    self.base.step()
                    self.zero_grad()

                @torch.no_grad()
                def step(self, closure):
                    closure = torch.enable_grad()(closure)
                    self.first_step()
                    closure()
                    self.second_step()

            def train(n):
                model = make()
                optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
                for epoch in range(n):
                    for x, y in loader():
                        def closure():
                            loss = F.cross_entropy(model(x), y)
                            loss.backward()
                            return loss
                        loss = closure()
                        optimizer.step(closure)
                return loss.item(), weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "SAM whose step is never called": {
        "source": """
            class SAM(torch.optim.Optimizer):
                def __init__(self, parameters, base, rho=0.05, **kwargs):
                    super().__init__(parameters, dict(rho=rho, **kwargs))
                    self.base = base(self.param_groups, **kwargs)
                    self.param_groups = self.base.param_groups

                @torch.no_grad()
                def first_step(self):
                    for group in self.param_groups:
                        for p in group["params"]:
                            self.state[p]["old"] = p.data.clone()
                            p.add_(p.grad, alpha=group["rho"])
                    self.zero_grad()

                @torch.no_grad()
                def second_step(self):
                    for group in self.param_groups:
                        for p in group["params"]:
                            p.data = self.state[p]["old"]
                    self.base.step()
                    self.zero_grad()

            def train(n):
                model = make()
                optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.1)
                for epoch in range(n):
                    for x, y in loader():
                        F.cross_entropy(model(x), y).backward()
                        optimizer.first_step()
                        F.cross_entropy(model(x), y).backward()
                        optimizer.second_step()
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
}

SEVERAL = {
    "a generator and a discriminator": {
        "source": """
            def train(n):
                generator, critic = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 1))
                first = torch.optim.Adam(critic.parameters(), 0.01)
                second = torch.optim.Adam(generator.parameters(), 0.01)
                ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
                for epoch in range(n):
                    for i, (x, _) in enumerate(loader()):
                        critic.zero_grad()
                        real = F.binary_cross_entropy_with_logits(critic(x), ones)
                        real.backward()
                        fake = generator(torch.randn(8, 4))
                        F.binary_cross_entropy_with_logits(critic(fake.detach()), zeros).backward()
                        first.step()
                        generator.zero_grad()
                        loss = F.binary_cross_entropy_with_logits(critic(fake), ones)
                        loss.backward()
                        second.step()
                    with torch.no_grad():
                        picture = generator(torch.randn(2, 4))
                return loss.item(), picture.tolist(), weights(generator, critic)
        """,
        "story": "T( 3*[E( 2*[b s s .] V( v )V )E] )T R",
        "models": "Linear Sequential",
    },
    "n critic steps for one of the generator": {
        "source": """
            def train(n):
                generator, critic = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 1))
                first = torch.optim.RMSprop(critic.parameters(), 0.01)
                second = torch.optim.RMSprop(generator.parameters(), 0.01)
                for epoch in range(n):
                    for i, (x, _) in enumerate(loader(4)):
                        first.zero_grad()
                        fake = generator(torch.randn(4, 4)).detach()
                        (critic(fake) - critic(x)).mean().backward()
                        first.step()
                        for p in critic.parameters():
                            p.data.clamp_(-0.1, 0.1)
                        if i % 2 == 1:
                            second.zero_grad()
                            (-critic(generator(torch.randn(4, 4)))).mean().backward()
                            second.step()
                return weights(generator, critic)
        """,
        "story": "T( 3*[E( 2*[b s . b s s .] )E] )T R",
        "models": "Linear Sequential",
    },
    "n critic steps in a loop of their own": {
        "source": """
            def train(n):
                generator, critic = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 1))
                first = torch.optim.RMSprop(critic.parameters(), 0.01)
                second = torch.optim.RMSprop(generator.parameters(), 0.01)
                for step in range(n):
                    for _ in range(2):
                        first.zero_grad()
                        fake = generator(torch.randn(16, 4)).detach()
                        (critic(fake) - critic(X)).mean().backward()
                        first.step()
                    second.zero_grad()
                    (-critic(generator(torch.randn(4, 4)))).mean().backward()
                    second.step()
                return weights(generator, critic)
        """,
        "story": "T( 3*[E( 2*[b s .] s )E] )T R",
        "models": "Linear Sequential",
    },
    "an actor and a critic, in two optimizers": {
        "source": """
            def train(n):
                actor, critic = nn.Linear(4, 3), nn.Linear(4, 1)
                one, two = sgd(actor), sgd(critic)
                for episode in range(n):
                    value = critic(X)
                    advantage = (Y[:, None].float() - value).detach()
                    one.zero_grad(); two.zero_grad()
                    chosen = F.log_softmax(actor(X), 1).max(1, keepdim=True)[0]
                    (-(chosen * advantage)).mean().backward()
                    F.mse_loss(value, Y[:, None].float()).backward()
                    one.step(); two.step()
                return weights(actor, critic)
        """,
        "story": "T( 3*[b s s .] )T R",
        "models": "Linear Linear",
    },
    "models that step in turn on a batch": {
        "source": """
            def train(n):
                models = [make() for _ in range(3)]
                optimizers = [sgd(model, 0.1 * (i + 1)) for i, model in enumerate(models)]
                for epoch in range(n):
                    for x, y in loader():
                        for i in range(3):
                            update(models[i], optimizers[i], x, y)
                return weights(*models)
        """,
        "story": "T( 3*[E( 2*[b s s s .] )E] )T R",
        "models": "Sequential Sequential Sequential",
    },
    "models that step in turn, over pairs": {
        "source": """
            def train(n):
                pairs = []
                for _ in range(2):
                    model = make()
                    pairs.append((model, sgd(model)))
                for epoch in range(n):
                    for x, y in loader():
                        for model, optimizer in pairs:
                            update(model, optimizer, x, y)
                return weights(*[model for model, _ in pairs])
        """,
        "story": "T( 3*[E( 2*[b s s .] )E] )T R",
        "models": "Sequential Sequential",
    },
    "an optimizer made anew in mid-run": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    if epoch == 1:
                        optimizer = torch.optim.Adam(model.parameters(), 0.01)
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return type(optimizer).__name__, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
        "resumes": "the loop has made optimizer anew, or of other parts",
    },
    "parameters frozen, then trained": {
        "source": """
            def train(n):
                model = make()
                for p in model[0].parameters():
                    p.requires_grad_(False)
                optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
                for epoch in range(n):
                    if epoch == 1:
                        for p in model[0].parameters():
                            p.requires_grad_(True)
                        optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.01})
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return len(optimizer.param_groups), weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
        "resumes": "the loop has made optimizer anew, or of other parts",
    },
    "steps inside backward hooks": {
        "source": """
            def train(n):
                model = make()
                optimizers = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}

                def step(parameter):
                    optimizers[parameter].step()
                    optimizers[parameter].zero_grad()

                for p in model.parameters():
                    p.register_post_accumulate_grad_hook(step)
                for epoch in range(n):
                    for x, y in loader():
                        F.cross_entropy(model(x), y).backward()
                return weights(model)
        """,
        "story": "T( 3*[E( 2*[b s s s s .] )E] )T R",
    },
}

SCHEDULED = {
    "per step and per epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                fast = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4)
                slow = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
                rates = []
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                        fast.step()
                        rates.append(optimizer.param_groups[0]["lr"])
                    slow.step()
                return rates, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "warm restarts": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
                rates = []
                for epoch in range(n):
                    data = loader()
                    for i, (x, y) in enumerate(data):
                        update(model, optimizer, x, y)
                        schedule.step(epoch + i / len(data))
                        rates.append(schedule.get_last_lr())
                return rates, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "by a validation's loss": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    model.eval()
                    with torch.no_grad():
                        val_loss = F.cross_entropy(model(X), Y)
                    model.train()
                    schedule.step(val_loss + epoch)
                return schedule.state_dict(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( v )V )E] )T R",
    },
}

WITHOUT = {
    "by hand under no_grad": {
        "source": """
            def train(n):
                w, b = torch.randn(4, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
                for epoch in range(n):
                    for x, y in loader():
                        loss = F.cross_entropy(x @ w + b, y)
                        loss.backward()
                        with torch.no_grad():
                            for p in (w, b):
                                p -= 0.1 * p.grad
                                p.grad.zero_()
                return loss.item(), w.tolist(), b.tolist()
        """,
        "story": "T( 3*[E( 2*[b .] )E] )T R",
        "models": "",
    },
    "by hand, with a module": {
        "source": """
            def train(n):
                model = make()
                for epoch in range(n):
                    for x, y in loader():
                        model.zero_grad()
                        loss = F.cross_entropy(model(x), y)
                        loss.backward()
                        for p in model.parameters():
                            p.data -= 0.1 * p.grad
                return loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b .] )E] )T R",
    },
    "functional updates": {
        "source": """
            def train(n):
                model = make()
                state = {
                    name: p.detach().clone().requires_grad_()
                    for name, p in model.named_parameters()
                }
                for epoch in range(n):
                    for x, y in loader():
                        loss = F.cross_entropy(torch.func.functional_call(model, state, (x,)), y)
                        grads = torch.autograd.grad(loss, list(state.values()))
                        state = {
                            name: (p - 0.1 * g).detach().requires_grad_()
                            for (name, p), g in zip(state.items(), grads)
                        }
                return loss.item(), [p.tolist() for p in state.values()]
        """,
        "story": "T( 3*[E( 2*[b .] )E] )T R",
        "models": "",
    },
    "an image that is optimised": {
        "source": """
            def train(n):
                net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval().requires_grad_(False)
                target = net(X).detach()
                image = torch.zeros(16, 4, requires_grad=True)
                optimizer = torch.optim.Adam([image], 0.05)
                for step in range(n):
                    optimizer.zero_grad()
                    loss = F.mse_loss(net(image), target)
                    loss.backward()
                    optimizer.step()
                return loss.item(), image.tolist()
        """,
        "story": "T( 3*[b s .] )T R",
        "models": "",
    },
    "a stray backward before the training": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for _ in range(2):
                    model(X).sum().backward()
                optimizer.zero_grad()
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a stray backward of another tensor before the optimizer is made": {
        "source": """
            def train(n):
                probe = torch.ones(3, requires_grad=True)
                for _ in range(2):
                    (probe * 2).sum().backward()
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return probe.grad.tolist(), weights(model)
        """,
        # Nothing tells a loop of two backward passes from a training by hand.
        "story": f"T( 2*[b .] )T T( 3*[{TRAINED}] )T R",
        "models": "",
        "resumes": None,
    },
}

COMPILED = {
    "a model": {
        "source": """
            def train(n):
                torch._dynamo.reset()
                model = make(); optimizer = sgd(model)
                fast = torch.compile(model, backend="eager")
                for epoch in range(n):
                    for x, y in loader():
                        update(fast, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a loss, as one graph": {
        "source": """
            def train(n):
                torch._dynamo.reset()
                model = make(); optimizer = sgd(model)

                @torch.compile(backend="eager", fullgraph=True)
                def loss_of(x, y):
                    total = 0.0
                    for part, labels in zip(x.split(4), y.split(4)):
                        total = total + F.cross_entropy(model(part), labels)
                    return total

                for epoch in range(n):
                    for x, y in loader():
                        optimizer.zero_grad()
                        loss_of(x, y).backward()
                        optimizer.step()
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
}

COUNTED = """
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = make(), nn.Linear(3, 3)

        def forward(self, x):
            x = self.first(x)
            if BROKEN:
                torch._dynamo.graph_break()
            return self.second(x)

    def train(n, fullgraph):
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        model = Halves(); optimizer = sgd(model)
        fast = torch.compile(model, backend="eager", fullgraph=fullgraph)
        for epoch in range(n):
            fast.train()
            for x, y in loader(6):  # the last batch is shorter: compiled once more
                update(fast, optimizer, x, y)
            fast.eval()
            with torch.no_grad():
                for x, y in loader():
                    val_loss = F.cross_entropy(fast(x), y)
        breaks = sum(counters["graph_break"].values())
        return weights(model), val_loss.item(), dict(counters["stats"]), breaks
"""

COMPILED_STEP = """
    def train():
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        model = make(); optimizer = sgd(model)

        @torch.compile(backend="eager")
        def step(x, y):
            model.train()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        for epoch in range(3):
            for x, y in loader():
                step(x, y)
        breaks = sum(counters["graph_break"].values())
        return weights(model), dict(counters["stats"]), breaks, dict(counters["recompiles"])
"""


@pytest.mark.parametrize("shape", ACCUMULATED.values(), ids=ACCUMULATED)
def test_accumulated(inquire, shape):
    """Gradients of several batches make one step."""
    inquire(**shape)


@pytest.mark.parametrize("shape", SCALED.values(), ids=SCALED)
def test_scaled(inquire, shape):
    """Steps that a scaler makes; those that it skips are none."""
    inquire(**shape)


@pytest.mark.parametrize("shape", CLOSURES.values(), ids=CLOSURES)
def test_closures(inquire, shape):
    """However often the model is called for it, a step is one."""
    inquire(**shape)


@pytest.mark.parametrize("shape", SEVERAL.values(), ids=SEVERAL)
def test_several(inquire, shape):
    """Each optimizer's steps are its own, and each belongs to the fit."""
    inquire(**shape)


@pytest.mark.parametrize("shape", SCHEDULED.values(), ids=SCHEDULED)
def test_scheduled(inquire, shape):
    """A scheduler changes rates, and no count."""
    inquire(**shape)


@pytest.mark.parametrize("shape", WITHOUT.values(), ids=WITHOUT)
def test_without(inquire, shape):
    """No optimizer, no module, or neither."""
    inquire(**shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", COMPILED.values(), ids=COMPILED)
def test_compiled(inquire, shape):
    """What is compiled is counted as what is not."""
    inquire(**shape)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it imports and traces
@pytest.mark.parametrize(("broken", "fullgraph"), [(0, False), (0, True), (1, False)])
def test_what_the_compiler_does(lab, broken, fullgraph):
    """A compiled model has the graphs, the breaks and the recompiles that it has bare."""
    bare, heard = lab.compare(f"    BROKEN = {broken}\n{COUNTED}", 2, fullgraph)
    *_, stats, breaks = bare.result
    assert (stats["unique_graphs"] > 1, bool(breaks)) == (True, bool(broken))
    assert heard.same == bare.same  # listeners to all that there is included
    assert heard.story.count("V(") == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it imports and traces
def test_a_compiled_step(lab):
    """Graphs, breaks and recompiles are the bare ones; what happens in a graph is not heard."""
    bare, heard = lab.compare(COMPILED_STEP)
    assert heard.result[0] == bare.result[0]  # the weights: listeners are compiled, too
    assert heard.story == "R"
