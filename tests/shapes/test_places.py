"""Where a loop may stand: helpers, methods, recursion, one loop for two purposes."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAINED = "E( 2*[b s .] )E"
TESTED = "E( 2*[b s .] V( 2*[v] )V )E"

SHAPES = {
    "helpers that train and test": {
        "source": """
            def train_one(model, optimizer, data):
                model.train()
                for x, y in data:
                    update(model, optimizer, x, y)

            @torch.no_grad()
            def test(model, data):
                model.eval()
                total = 0.0
                for x, y in data:
                    total += F.cross_entropy(model(x), y).item()
                return total / len(data)

            def train(n):
                model = make(); optimizer = sgd(model)
                losses = []
                for epoch in range(n):
                    train_one(model, optimizer, loader())
                    losses.append(test(model, loader()))
                return losses, weights(model)
        """,
        "story": f"T( 3*[{TESTED}] )T R",
    },
    "helpers inside the function, with a closure": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                seen = []

                def one_epoch():
                    for x, y in loader():
                        one_batch(x, y)

                def one_batch(x, y):
                    seen.append(update(model, optimizer, x, y))

                for epoch in range(n):
                    one_epoch()
                return seen, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a trainer whose base class holds the loop": {
        "source": """
            class Trainer:
                def __init__(self, model):
                    self.model, self.optimizer = model, sgd(model)
                    self.history = []

                def fit(self, n):
                    for epoch in range(n):
                        self.run_epoch(epoch)
                        self.history.append(self.evaluate())
                    return self.history

                def run_epoch(self, epoch):
                    self.model.train()
                    for x, y in loader():
                        self.step(x, y)

                def step(self, x, y):
                    return update(self.model, self.optimizer, x, y)

                def evaluate(self):
                    self.model.eval()
                    with torch.no_grad():
                        return sum(F.cross_entropy(self.model(x), y).item() for x, y in loader())

            class Noisy(Trainer):
                def run_epoch(self, epoch):
                    self.noise = torch.rand(1).item()
                    super().run_epoch(epoch)

                def step(self, x, y):
                    return super().step(x + self.noise, y)

            def train(n):
                trainer = Noisy(make())
                return trainer.fit(n), trainer.noise, weights(trainer.model)
        """,
        # A generator's iterations are nobody's: each call is a batch.
        "story": f"T( 3*[{TESTED}] )T R",
    },
    "private names": {
        "source": """
            class Trainer:
                def __init__(self):
                    self.__model = make()
                    self.__optimizer = sgd(self.__model)
                    self.__total = 0.0

                def __epoch(self):
                    for __x, __y in loader():
                        __loss = update(self.__model, self.__optimizer, __x, __y)
                        self.__total += __loss

                def fit(self, __n):
                    for __epoch in range(__n):
                        self.__epoch()
                    return self.__total, weights(self.__model)

            def train(n):
                return Trainer().fit(n)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a loop variable that is an attribute": {
        "source": """
            class Trainer:
                def fit(self, n):
                    self.model = make(); self.optimizer = sgd(self.model)
                    self.seen = []
                    for self.epoch in range(n):
                        for self.index, (self.x, self.y) in enumerate(loader()):
                            update(self.model, self.optimizer, self.x, self.y)
                            self.seen.append((self.epoch, self.index))
                    return self.seen, weights(self.model)

            def train(n):
                return Trainer().fit(n)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a train method that overrides the module's, and steps": {
        "source": """
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = make()
                    self.optimizer = torch.optim.SGD(self.parameters(), 0.1)

                def forward(self, x):
                    return self.layers(x)

                def train(self, inputs=True, targets=None):
                    if targets is None:
                        return super().train(inputs)
                    return update(self, self.optimizer, inputs, targets)

            def train(n):
                net = Net()
                net.train()
                losses = []
                for epoch in range(n):
                    for x, y in loader():
                        losses.append(net.train(x, y))
                return losses, weights(net)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
        "models": "Net",
    },
    "steps taken inside forward": {
        "source": """
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layers = make()
                    self.optimizer = torch.optim.SGD(self.layers.parameters(), 0.1)

                def forward(self, x, y):
                    losses = []
                    for k in range(2):
                        losses.append(update(self.layers, self.optimizer, x, y))
                    return losses

            def train(n):
                net = Net()
                out = []
                for epoch in range(n):
                    for x, y in loader():
                        out.append(net(x, y))
                return out, weights(net)
        """,
        "story": "T( 3*[E( 4*[b s .] )E] )T R",
        "models": "Net",
    },
    "one for that trains and tests by a flag, calling forward directly": {
        "source": """
            def run(model, optimizer, training):
                model.train(training)
                total = 0.0
                for x, y in loader():
                    with torch.set_grad_enabled(training):
                        loss = F.cross_entropy(model.forward(x), y)
                    if training:
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                    total += loss.item()
                return total

            def train(n):
                model = make(); optimizer = sgd(model)
                seen = []
                for epoch in range(n):
                    for training in (True, False):
                        seen.append(run(model, optimizer, training))
                return seen, weights(model)
        """,
        "story": f"T( 3*[{TESTED}] )T R",
    },
    "recursion: each call trains one epoch": {
        "source": """
            def descend(model, optimizer, left):
                if left == 0:
                    return
                for x, y in loader():
                    update(model, optimizer, x, y)
                descend(model, optimizer, left - 1)

            def train(n):
                model = make(); optimizer = sgd(model)
                descend(model, optimizer, n)
                return weights(model)
        """,
        "story": "3*[T( 2*[b s .] )T] R",
        "stops": False,
        "resumes": None,
    },
    "recursion inside the loop": {
        "source": """
            def train(n, depth=2):
                model = make(); optimizer = sgd(model)
                found = []
                for epoch in range(n):
                    update(model, optimizer)
                    if depth and epoch == 0:
                        found.append(train(2, depth - 1))
                return found, weights(model)
        """,
        # Whoever steps in it is part of the fit that is open.
        "story": "T( E( b 5*[s] . )E 2*[E( b s . )E] )T R",
        "models": "Sequential Sequential Sequential",
        "resumes": "no name of the loop leads to",
    },
    "comprehensions that train": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                losses = [[update(model, optimizer, x, y) for x, y in loader()] for _ in range(n)]
                return losses, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
        "resumes": "is a comprehension",
    },
    "a comprehension in a lambda": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                once = lambda: [update(model, optimizer, x, y) for x, y in loader()]
                losses = []
                for epoch in range(n):
                    losses.append(once())
                return losses, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a decorated main: click": {
        "source": """
            import click

            @click.command()
            @click.option("--epochs", type=int, default=1)
            @click.option("--lr", type=float, default=0.1)
            def main(epochs, lr):
                model = make(); optimizer = sgd(model, lr)
                for epoch in range(epochs):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return weights(model)

            def train(n):
                return main(["--epochs", str(n)], standalone_mode=False)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a decorated main: functools and argparse": {
        "source": """
            import argparse, contextlib, functools

            def configured(function):
                @functools.wraps(function)
                def inner(argv):
                    parser = argparse.ArgumentParser()
                    parser.add_argument("--epochs", type=int)
                    return function(parser.parse_args(argv))
                return inner

            @configured
            @torch.enable_grad()
            def main(args):
                model = make(); optimizer = sgd(model)
                for epoch in range(args.epochs):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return weights(model)

            def train(n):
                return main(["--epochs", str(n)])
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "three trainings under the same names": {
        "source": """
            def train(n):
                found = []
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        loss = update(model, optimizer, x, y)
                found.append(weights(model))
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        loss = update(model, optimizer, x, y)
                found.append(weights(model))
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        loss = update(model, optimizer, x, y)
                found.append(weights(model))
                return found
        """,
        "story": f"3*[T( 3*[{TRAINED}] )T] R",
    },
    "an optimizer shared by several calls of one train()": {
        "source": """
            def stage(model, optimizer):
                for epoch in range(2):
                    for x, y in loader():
                        update(model, optimizer, x, y)

            def train(n):
                model = make(); optimizer = sgd(model)
                for stage_number in range(n):
                    optimizer.param_groups[0]["lr"] = 0.1 / (stage_number + 1)
                    stage(model, optimizer)
                return weights(model)
        """,
        # The model and its optimizer outlive the outer loop: to them it counts the epochs.
        "story": "T( 3*[E( 4*[b s .] )E] )T R",
    },
    "a name like ours, and a loop variable called hookcore": {
        "source": """
            class Site: pass
            gate = Site()
            back = tails = frames = dead = bound = each = 5

            def train(n):
                model = make(); optimizer = sgd(model)
                seen = []
                for hookcore in range(n):
                    for x, y in loader():
                        seen.append((hookcore, update(model, optimizer, x, y)))
                return seen, gate.__class__.__name__, back, each, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_places(inquire, shape):
    """Wherever it stands, it is found."""
    inquire(**shape)
