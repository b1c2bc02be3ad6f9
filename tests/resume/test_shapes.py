"""Every head of loops of many shapes: left there, and taken up again in a new run."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

BY_HAND = "a model trained by hand"
SHAPES = {
    "no variables of its own": """
    model, optimizer = make()
    STATE = {"epoch": 0, "batch": 0, "losses": []}

    def train():
        while STATE["epoch"] < 3:
            STATE["batch"] = 0
            batches()
            STATE["epoch"] += 1
        return STATE["losses"], total(model)

    def batches():
        while STATE["batch"] < 3:
            STATE["losses"].append(update(model, optimizer, torch.rand(4, 3)))
            STATE["batch"] += 1
    """,
    "those of the function around alone": """
    def train():
        model, optimizer = make()
        state, losses = [3, 0], []
        def run():
            while state[0]:
                state[1] = 3
                while state[1]:
                    losses.append(update(model, optimizer, torch.rand(4, 3)))
                    state[1] -= 1
                state[0] -= 1
        run()
        return losses, total(model)
    """,
    "two levels": """
    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(), 4, shuffle=True)
        losses = []
        for epoch in range(3):
            model.train()
            running = 0.0
            for i, x in enumerate(loader):
                running += update(model, optimizer, x)
                losses.append(running)
            losses.append(i + torch.rand(1).item())
        return losses, total(model), epoch, i
    """,
    "a helper for each epoch": """
    LOG = []

    def one_epoch(model, optimizer, loader, losses):
        model.train()
        count = 0
        for x in loader:
            losses.append(update(model, optimizer, x))
            count += 1
            LOG.append(count)
        return sum(losses[-count:]) / count

    def train():
        model, optimizer = make()
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        average = copy.deepcopy(model)
        loader = DataLoader(Noisy(14), 4, shuffle=True)
        losses, means, best, best_state, rate = [], [], 9.0, model.state_dict(), None
        for epoch in range(3):
            shift = torch.rand(1).item()
            means.append(one_epoch(model, optimizer, loader, losses) + shift)
            scheduler.step()
            with torch.no_grad():
                for a, p in zip(average.parameters(), model.parameters()):
                    a.mul_(0.5).add_(p, alpha=0.5)
            if means[-1] < best:
                best, best_state = means[-1], copy.deepcopy(model.state_dict())
            rate = scheduler.get_last_lr()[0]
        return losses, means, best, rate, total(model), total(average), LOG[:], \\
            [v.tolist() for v in best_state.values()]
    """,
    "a class": """
    class Trainer:
        def __init__(self):
            self.model, self.optimizer = make()
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.7)
            self.loader = DataLoader(Noisy(12), 4, shuffle=True)
            self.history = {"loss": [], "mean": []}
            self.step, self.best = 0, 9.0

        def fit(self):
            for self.epoch in range(3):
                if self.epoch:
                    self.scheduler.step()
                self.rate = self.scheduler.get_last_lr()[0]
                self.one_epoch()
                self.best = min(self.best, self.history["mean"][-1])

        def one_epoch(self):
            self.running = 0.0
            for self.i, x in enumerate(self.loader):
                self.running += update(self.model, self.optimizer, x)
                self.step += 1
                self.history["loss"].append(self.running)
            self.history["mean"].append(self.running / (self.i + 1))

    def train():
        trainer = Trainer()
        trainer.fit()
        return trainer.history, trainer.best, trainer.step, trainer.epoch, total(trainer.model), \\
            trainer.scheduler.get_last_lr(), trainer.rate
    """,
    "while loops": """
    def train():
        model, optimizer = make()
        data = torch.rand(12, 3)
        losses, epoch = [], 0
        while epoch < 3:
            order = torch.randperm(12)
            at = 0
            while at < 12:
                losses.append(update(model, optimizer, data[order[at:at + 4]]))
                at += 4
            epoch += 1
            losses.append(torch.rand(1).item())
        return losses, total(model), epoch
    """,
    "an order drawn in each epoch": """
    def train():
        model, optimizer = make()
        data = torch.rand(12, 3)
        losses, scale = [], 1.0
        for epoch in range(3):
            scale = scale * 0.9
            order = torch.randperm(12)
            for part in order.split(4):
                losses.append(update(model, optimizer, scale * data[part]))
        return losses, total(model), scale
    """,
    "three levels": """
    def train():
        model, optimizer = make()
        losses, shift = [], 0.5
        for epoch in range(2):
            data = torch.rand(12, 3)
            for repeat in range(2):
                shift = shift * 0.5 + random.random()
                order = torch.randperm(12)
                for start in range(0, 12, 4):
                    losses.append(update(model, optimizer, data[order[start:start + 4]] + shift))
        return losses, total(model), shift
    """,
    "gradients gathered over batches": """
    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(20), 4, shuffle=True)
        losses = []
        for epoch in range(2):
            for i, x in enumerate(loader):
                loss = (model(x) ** 2).mean()
                loss.backward()
                losses.append(loss.item())
                if (i + 1) % 3 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
        return losses, total(model)
    """,
    "two loaders and two optimizers": """
    def train():
        model, optimizer = make()
        critic = nn.Linear(1, 1)
        other = torch.optim.SGD(critic.parameters(), lr=0.1, momentum=0.9)
        g = torch.Generator().manual_seed(5)
        one = DataLoader(Noisy(16), 4, shuffle=True)
        two = DataLoader(Noisy(12), 4, shuffle=True, generator=g)
        losses = []
        for epoch in range(3):
            for i, (x, y) in enumerate(zip(one, two)):
                other.zero_grad()
                loss = critic(model(x).detach()).pow(2).mean() + critic(model(y).detach()).mean()
                loss.backward()
                other.step()
                losses.append(loss.item() + update(model, optimizer, y))
        return losses, total(model), total(critic), torch.rand(1, generator=g).item()
    """,
    "a validation inside": """
    def evaluate(model, held_out):
        model.eval()
        with torch.no_grad():
            value = sum(model(x).sum().item() for x in held_out)
        model.train()
        return value

    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(20), 4, shuffle=True)
        held_out = DataLoader(Noisy(8), 4, shuffle=True)
        losses, scores = [], []
        for epoch in range(2):
            for i, x in enumerate(loader):
                losses.append(update(model, optimizer, x))
                if i % 2:
                    scores.append(evaluate(model, held_out))
            scores.append(evaluate(model, held_out))
        return losses, scores, total(model)
    """,
    "an endless iterator": """
    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(12), 4, shuffle=True)
        batches, losses, passes = iter(loader), [], 0
        for step in range(8):
            try:
                x = next(batches)
            except StopIteration:
                batches, passes = iter(loader), passes + 1
                x = next(batches)
            losses.append(update(model, optimizer, x))
        return losses, total(model), passes
    """,
    "one level over a loader": """
    def train():
        model, optimizer = make()
        losses = []
        for x in DataLoader(Noisy(20), 4, shuffle=True):
            losses.append(update(model, optimizer, x))
            losses.append(torch.rand(1).item())
        return losses, total(model)
    """,
    "several steps on each batch": """
    def train():
        model, optimizer = make()
        losses = []
        for x in DataLoader(Noisy(12), 4, shuffle=True):
            shift = torch.rand(1).item()
            for again in range(3):
                losses.append(update(model, optimizer, x + shift))
        return losses, total(model)
    """,
    "copies of the model": """
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.temperature = nn.Linear(3, 1), 1.0
        def forward(self, x):
            return self.inner(x) / self.temperature

    def train():
        make()
        model, best, least, average = Gate(), None, 9.0, None
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loader = DataLoader(Noisy(14), 4, shuffle=True)
        losses = []
        for epoch in range(3):
            if average is not None:
                losses.append(average(torch.ones(3)).item() + best.temperature)
            for x in loader:
                losses.append(update(model, optimizer, x))
            model.temperature *= 0.9
            if losses[-1] < least or best is None:
                least, best = losses[-1], copy.deepcopy(model)
            average = copy.deepcopy(model)
        return losses, total(model), total(best), best.temperature, average.temperature
    """,
    "steps of LBFGS": """
    def train():
        model, _ = make()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.2, max_iter=3, history_size=4)
        loader = DataLoader(Noisy(14), 4, shuffle=True)
        losses = []
        for epoch in range(2):
            for x in loader:
                def closure():
                    optimizer.zero_grad()
                    loss = (model(x) ** 2).mean()
                    loss.backward()
                    return loss
                losses.append(optimizer.step(closure).item())
        return losses, total(model)
    """,
    BY_HAND: """
    def train():
        make()
        weights = [torch.randn(3, 1, requires_grad=True), torch.zeros(1, requires_grad=True)]
        losses = []
        for epoch in range(2):
            for x in torch.rand(12, 3).split(4):
                loss = ((x @ weights[0] + weights[1] - 1) ** 2).mean()
                loss.backward()
                with torch.no_grad():
                    for w in weights:
                        w -= 0.1 * w.grad
                        w.grad = None
                losses.append(loss.item())
        return losses, [w.tolist() for w in weights]
    """,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_head_is_taken_up_again(check, shape):
    check(SHAPES[shape])


@pytest.mark.parametrize("first", ["epoch", "mid-epoch"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != BY_HAND])
def test_what_a_resumed_run_saves_is_taken_up_again(check_twice, shape, first):
    check_twice(SHAPES[shape], first)


def test_a_head_at_which_nothing_was_known_is_not_gone_back_to(check_twice):
    """Continued after an epoch's last batch, a model trained by hand is recognised in the next."""
    found = check_twice(SHAPES[BY_HAND], "mid-epoch", skip=("partial",))
    notes = [s.notes[0] for s in found.values() if s.header.kind == "partial"]
    assert notes
    assert all("the state at the head of the loop at loops.py:41 is not known" in n for n in notes)
