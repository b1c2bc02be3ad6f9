"""What a loop keeps on functions and classes: back at every head, on the same objects."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

KEPT = {
    "on a function": """
    def step(model, optimizer, x):
        step.calls += 1
        step.seen.append(step.calls * 0.5)
        if step.calls == 3:
            step.third = 3.5
        return update(model, optimizer, x * (1 + 0.01 * step.calls))

    step.calls = 0
    step.seen = SEEN = []

    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(14), 4, shuffle=True)
        losses = []
        for epoch in range(3):
            for x in loader:
                losses.append(step(model, optimizer, x))
        return losses, total(model), step.calls, step.third, SEEN[:], step.seen is SEEN
    """,
    "on a decorated function": """
    @torch.enable_grad()
    def step(model, optimizer, x):
        step.calls += 1
        return update(model, optimizer, x * (1 + 0.01 * step.calls))

    step.calls = 0

    def train():
        model, optimizer = make()
        losses = []
        for epoch in range(2):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                losses.append(step(model, optimizer, x))
        return losses, total(model), step.calls
    """,
    "in a default argument": """
    def step(model, optimizer, x, seen=[], *, memo={}):
        seen.append(len(seen))
        memo["calls"] = memo.get("calls", 0) + 1
        return update(model, optimizer, x * (1 + 0.01 * (len(seen) + memo["calls"])))

    class Trainer:
        def note(self, loss, losses=[]):
            losses.append(loss)
            return losses

    def train():
        model, optimizer = make()
        trainer = Trainer()
        for epoch in range(3):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                trainer.note(step(model, optimizer, x))
        (seen,), memo = step.__defaults__, step.__kwdefaults__
        return trainer.note(0.0)[:], total(model), seen[:], dict(memo)
    """,
    "on a class": """
    class Record:
        best = 9.0
        history = []
        names = {"made": 0}

    class Better(Record):
        pass

    class Trainer:
        rounds = 0
        def __init__(self):
            self.model, self.optimizer = make()
        def __call__(self, x):
            Trainer.rounds += 1
            Better.latest = update(self.model, self.optimizer, x) + 0.01 * self.rounds
            Record.names["made"] += 1
            return Better.latest
        def evaluate(self):
            Trainer.evaluate.calls = getattr(Trainer.evaluate, "calls", 0) + 1
        @classmethod
        def note(cls, loss):
            Record.history.append(loss)
            Record.best = min(Record.best, loss)

    HISTORY = Record.history

    def train():
        trainer = Trainer()
        for epoch in range(3):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                trainer.note(trainer(x))
            trainer.evaluate()
        return HISTORY[:], Record.best, Better.best, Better.latest, dict(Record.names), \\
            Trainer.rounds, Trainer.evaluate.calls, total(trainer.model), \\
            "best" in vars(Better), HISTORY is Record.history
    """,
    "in what makes an object": """
    MADE = 0

    class Batch:
        made, weights = 0, {}
        def __init__(self, x):
            global MADE
            MADE += 1
            Batch.made += 1
            self.__class__.latest = float(x.sum())
            self.x = x

    def train():
        model, optimizer = make()
        losses = []
        for epoch in range(2):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                losses.append(update(model, optimizer, Batch(x).x))
        return losses, total(model), MADE, Batch.made, Batch.latest
    """,
    "on a class that a function makes": """
    def train():
        class Count:
            steps = 0
        class Net(nn.Module):
            calls = 0
            def __init__(self):
                super().__init__()
                self.inner, self.count = nn.Linear(3, 1), Count()
            def forward(self, x):
                Net.calls += 1
                type(self.count).steps += 2
                return self.inner(x) * (1 + 0.01 * self.calls)
        make()
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for epoch in range(2):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                losses.append(update(model, optimizer, x))
        return losses, total(model), Net.calls, Count.steps
    """,
    "in a cell": """
    def counter():
        calls, last = 0, None
        def step(model, optimizer, x):
            nonlocal calls, last
            calls += 1
            last = update(model, optimizer, x * (1 + 0.01 * calls))
            return last
        def known():
            return calls, last
        step.calls = "not the cell"
        return step, known

    def train():
        model, optimizer = make()
        step, known = counter()
        losses = []
        for epoch in range(2):
            for x in DataLoader(Noisy(14), 4, shuffle=True):
                losses.append(step(model, optimizer, x))
            step.calls = f"after {epoch}"
        return losses, total(model), known(), step.calls
    """,
}


@pytest.mark.parametrize("place", KEPT)
def test_what_is_kept_comes_back(check, place):
    check(KEPT[place])


@pytest.mark.parametrize("place", ["on a function", "on a class", "in a cell"])
def test_what_is_kept_comes_back_at_epochs(bench, keeper, place):
    bench.load(KEPT[place])
    bare = bench.call()
    for snapshot in bench.call(keeper("epochs")).keeper.saved.values():
        assert snapshot.header.kind == "epoch"
        assert bench.call(keeper(start=snapshot)).result == bare.result


def test_what_nothing_in_the_loop_changes_is_left_as_the_script_makes_it(bench, keeper):
    """An option that the next run gives another value is that run's."""
    bench.load(
        """
        class Config:
            width = 8
            def __init__(self):
                self.width = 1

        def train():
            model, optimizer = make()
            losses = []
            for epoch in range(2):
                for x in DataLoader(Noisy(14), 4, shuffle=True):
                    losses.append(update(model, optimizer, x))
            return Config().width, losses
        """
    )
    saved = bench.call(keeper("epochs")).keeper.saved
    assert not [path for s in saved.values() for path in s.variables if "Config" in path]


def test_members_of_an_enumeration_and_other_peoples_classes_are_let_be(bench, keeper):
    bench.load(
        """
        import argparse
        import enum

        class Stage(enum.Enum):
            FIRST = 1
            SECOND = 2

        argparse.Action.mark = []

        class Own(argparse.Action):
            @property
            def half(self):
                return 0.5

        def train():
            model, optimizer = make()
            losses = []
            for epoch in range(2):
                for x in DataLoader(Noisy(14), 4, shuffle=True):
                    losses.append(update(model, optimizer, x))
                    argparse.Action.mark.append(1)
            del argparse.Action.mark
            return losses
        """
    )
    saved = bench.call(keeper("epochs")).keeper.saved
    paths = [path for snapshot in saved.values() for path in snapshot.variables]
    assert not [path for path in paths if "Stage" in path or "Own" in path or "mark" in path]
