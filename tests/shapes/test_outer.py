"""What stands around the epochs: folds, grids, stages, rollouts, tasks, teachers."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAINED = "E( 2*[b s .] )E"

SHAPES = {
    "k folds": {
        "source": """
            def train(n):
                scores = []
                for fold in range(2):
                    model = make(); optimizer = sgd(model)
                    inside = [i for i in range(16) if i % 2 != fold]
                    for epoch in range(n):
                        for i in range(0, 8, 4):
                            index = inside[i : i + 4]
                            update(model, optimizer, X[index], Y[index])
                    model.eval()
                    with torch.no_grad():
                        scores.append(F.cross_entropy(model(X), Y).item())
                return scores, weights(model)
        """,
        # The test of a fold's final model lies behind its fit.
        "story": f"2*[T( 3*[{TRAINED}] )T] R",
    },
    "a grid of settings": {
        "source": """
            import itertools

            def fit(lr, size, n):
                model = make(); optimizer = sgd(model, lr)
                for epoch in range(n):
                    for x, y in loader(size):
                        loss = update(model, optimizer, x, y)
                return loss

            def train(n):
                found = {}
                for lr, size in itertools.product((0.1, 0.01), (8,)):
                    found[lr, size] = fit(lr, size, n)
                return sorted(found.items())
        """,
        "story": f"2*[T( 3*[{TRAINED}] )T] R",
    },
    "one model from the weights of another, fold by fold": {
        "source": """
            import copy

            def train(n):
                base, scores = make(), []
                for fold in range(2):
                    model = copy.deepcopy(base); optimizer = sgd(model)
                    for epoch in range(n):
                        for x, y in loader():
                            loss = update(model, optimizer, x, y)
                    scores.append(loss)
                return scores, weights(base)
        """,
        "story": f"2*[T( 3*[{TRAINED}] )T] R",
    },
    "two stages in one function": {
        "source": """
            def train(n):
                model = make()
                optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                optimizer = sgd(model, 0.01)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"2*[T( 3*[{TRAINED}] )T] R",
    },
    "progressive resizing": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for stage, size in enumerate([4, 8, 16][:n]):
                    for epoch in range(2):
                        for x, y in loader(size):
                            update(model, optimizer, x, y)
                return stage, weights(model)
        """,
        # The model outlives the stages: to it they are the epochs.
        "story": "T( E( 8*[b s .] )E E( 4*[b s .] )E E( 2*[b s .] )E )T R",
    },
    "meta-learning: a clone steps in an inner loop": {
        "source": """
            import copy

            def train(n):
                model = make(); outer = sgd(model)
                for iteration in range(n):
                    outer.zero_grad()
                    for task in range(2):
                        clone = copy.deepcopy(model)
                        inner = torch.optim.SGD(clone.parameters(), 0.05)
                        for k in range(2):
                            update(clone, inner)
                        loss = F.cross_entropy(clone(X), Y)
                        grads = torch.autograd.grad(loss, list(clone.parameters()))
                        for p, g in zip(model.parameters(), grads):
                            p.grad = g if p.grad is None else p.grad + g
                    outer.step()
                return weights(model)
        """,
        # The model that the clones are copies of outlives all loops; its own step ends the round.
        "story": "T( 3*[E( 4*[b s .] s )E] )T R",
        "models": "Sequential Sequential",
    },
    "meta-learning by Reptile": {
        "source": """
            import copy

            def train(n):
                model = make()
                for iteration in range(n):
                    before = copy.deepcopy(model.state_dict())
                    inner = torch.optim.SGD(model.parameters(), 0.05)
                    for k in range(2):
                        update(model, inner)
                    after = model.state_dict()
                    model.load_state_dict({k: (before[k] + after[k]) / 2 for k in before})
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "PPO: epochs inside rollouts": {
        "source": """
            def train(n):
                agent = make(); optimizer = sgd(agent)
                num_epochs = 2
                for update_number in range(n):
                    actions = []
                    for step in range(3):
                        with torch.no_grad():
                            actions.append(agent(X).argmax(1))
                    for epoch in range(num_epochs):
                        for start in range(0, 16, 8):
                            index = slice(start, start + 8)
                            update(agent, optimizer, X[index], actions[0][index])
                return weights(agent)
        """,
        "story": "T( E( 4*[b s .] )E 2*[E( V( 3*[v] )V 4*[b s .] )E] )T R",
    },
    "episodes that step after an inner loop": {
        "source": """
            def train(n):
                policy = make(); optimizer = sgd(policy)
                returns = []
                for episode in range(n):
                    logs, rewards = [], []
                    for t in range(3):
                        distribution = torch.distributions.Categorical(logits=policy(X[t]))
                        action = distribution.sample()
                        logs.append(distribution.log_prob(action))
                        rewards.append(float(action == Y[t]))
                    optimizer.zero_grad()
                    (-(torch.stack(logs) * sum(rewards)).sum()).backward()
                    optimizer.step()
                    returns.append(sum(rewards))
                return returns, weights(policy)
        """,
        "story": "T( 3*[b s .] )T R",
    },
    "steps of a game, with a target network": {
        "source": """
            import copy

            def train(n):
                q, data = make(), []
                target = copy.deepcopy(q); optimizer = sgd(q)
                for step in range(3 * n):
                    with torch.no_grad():
                        action = q(X[step]).argmax().item()
                    data.append((step, action))
                    if step % 3 == 2:
                        with torch.no_grad():
                            wanted = target(X).max(1)[0]
                        optimizer.zero_grad()
                        F.mse_loss(q(X).max(1)[0], wanted, reduction="sum").backward()
                        optimizer.step()
                        target.load_state_dict(q.state_dict())
                return data, weights(q, target)
        """,
        # What draws actions is the trained model, as each round begins: that is no validation.
        "story": "T( b . b . b s . b . b . b s . b . b . b s . )T R",
        "stops": False,
    },
    "a frozen teacher": {
        "source": """
            def train(n):
                teacher = make().eval().requires_grad_(False)
                student = make(); optimizer = sgd(student)
                for epoch in range(n):
                    for x, _ in loader():
                        with torch.no_grad():
                            wanted = teacher(x).softmax(1)
                        optimizer.zero_grad()
                        F.kl_div(student(x).log_softmax(1), wanted, reduction="sum").backward()
                        optimizer.step()
                return weights(student, teacher)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "an average of the weights, evaluated": {
        "source": """
            import copy

            def train(n):
                model = make(); optimizer = sgd(model)
                average = copy.deepcopy(model).requires_grad_(False)
                history = []
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                        with torch.no_grad():
                            for a, p in zip(average.parameters(), model.parameters()):
                                a.mul_(0.9).add_(p, alpha=0.1)
                    average.eval()
                    with torch.no_grad():
                        val_loss = F.cross_entropy(average(X), Y).item()
                    history.append(val_loss)
                return history, weights(model, average)
        """,
        # What is evaluated is not what is trained: its loss arrives with the epoch.
        "story": f"T( 3*[{TRAINED}] )T R",
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_outer(inquire, shape):
    """A fit is what the trained parameters and their optimizer outlive."""
    inquire(**shape)
