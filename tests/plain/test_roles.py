"""Who is epoch, who is batch: learned from what steps, overridden by who says so."""

from __future__ import annotations

import textwrap

import pytest

from hookcore import UsageError, hookimpl
from hookcore.testing import Recorder

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]


class Fits:
    """Keeps what plugins can see of each fit."""

    name = "fits"

    def __init__(self):
        self.fits, self.places, self.loaders = [], [], []

    @hookimpl
    def on_train_start(self, fit):
        self.fits.append(fit)
        self.places.append((fit.where("epoch"), fit.where("batch")))
        self.loaders.append(fit.loaders)


TWO = "E( b s . b s . )E"

SHAPES = {
    "two levels": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "the inner level in a function": (
        """
        def one_epoch(model, optimizer):
            for x, y in loader():
                update(model, optimizer, x, y)

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                one_epoch(model, optimizer)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "functions in functions, with a closure": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            losses = []

            def one_epoch():
                def one_batch(x, y):
                    losses.append(update(model, optimizer, x, y))
                for x, y in loader():
                    one_batch(x, y)

            for epoch in range(2):
                one_epoch()
            return weights(model), losses
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "methods of a trainer": (
        """
        class Trainer:
            def __init__(self):
                self.model = make()
                self.optimizer = sgd(self.model)

            def train(self):
                for self.epoch in range(2):
                    self.run_epoch()
                return weights(self.model)

            def run_epoch(self):
                for x, y in loader():
                    self.step(x, y)

            def step(self, x, y):
                return update(self.model, self.optimizer, x, y)

        def train():
            return Trainer().train()
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "k folds: each trains a model of its own": (
        """
        def train():
            found = []
            for fold in range(2):
                model = make(); optimizer = sgd(model)
                for epoch in range(2):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                found.append(weights(model))
            return found
        """,
        f"T( {TWO} {TWO} )T T( {TWO} {TWO} )T R",
    ),
    "model after model, each in a training of its own": (
        """
        def train():
            models = [make(), make()]
            optimizers = [sgd(model) for model in models]
            for model, optimizer in zip(models, optimizers):
                for epoch in range(2):
                    for x, y in loader():
                        update(model, optimizer, x, y)
            return weights(*models)
        """,
        f"T( {TWO} {TWO} )T T( {TWO} {TWO} )T R",
    ),
    "layer after layer, in a loop of one level": (
        """
        class Layer(nn.Linear):
            def train(self, x, n_epochs):
                optimizer = self.optimizer
                for i in range(n_epochs):
                    loss = self(x).pow(2).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                return self(x).detach()

        def train():
            layers = [Layer(4, 4), Layer(4, 4)]
            for layer in layers:
                layer.optimizer = sgd(layer)
            x = X
            for i, layer in enumerate(layers):
                x = layer.train(x, 2)
            return weights(*layers), x.tolist()
        """,
        "T( E( b s . )E E( b s . )E )T T( E( b s . )E E( b s . )E )T R",
    ),
    "a model that is made anew in each epoch keeps two levels": (
        """
        def train():
            for epoch in range(2):
                model = make(); optimizer = sgd(model)
                for x, y in loader():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "an optimizer that is made anew in each epoch": (
        """
        def train():
            model = make()
            for epoch in range(2):
                optimizer = sgd(model)
                for x, y in loader():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "proximal policy optimisation: an 'epoch' inside the update": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for iteration in range(2):
                for step in range(3):
                    with torch.no_grad():
                        model(X)
                for epoch in range(2):
                    for start in range(0, 16, 8):
                        update(model, optimizer, X[start:start + 8], Y[start:start + 8])
            return weights(model)
        """,
        "T( E( b s . b s . b s . b s . )E E( V( v v v )V b s . b s . b s . b s . )E )T R",
    ),
    "gradients gathered over batches": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for i, (x, y) in enumerate(loader(4)):
                    F.cross_entropy(model(x), y).backward()
                    if (i + 1) % 2 == 0:
                        optimizer.step()
                        optimizer.zero_grad()
            return weights(model)
        """,
        "T( E( b . b s . b . b s . )E E( b . b s . b . b s . )E )T R",
    ),
    "gradients gathered in a loop inside": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            step = 0
            while step < 2:
                for micro in range(3):
                    F.cross_entropy(model(X), Y).backward()
                optimizer.step()
                optimizer.zero_grad()
                step += 1
            return weights(model)
        """,
        "T( b s . b s . )T R",
    ),
    "two models, two optimizers": (
        """
        def train():
            first, second = make(), make()
            one, two = sgd(first), sgd(second)
            for epoch in range(2):
                for x, y in loader():
                    update(first, one, x, y)
                    update(second, two, x, y)
            return weights(first, second)
        """,
        "T( E( b s s . b s s . )E E( b s s . b s s . )E )T R",
    ),
    "a loop over the optimizers is no batch loop": (
        """
        def train():
            models = [make(), make()]
            pairs = [(model, sgd(model)) for model in models]
            for epoch in range(2):
                for x, y in loader():
                    for model, optimizer in pairs:
                        update(model, optimizer, x, y)
            return weights(*models)
        """,
        "T( E( b s s . b s s . )E E( b s s . b s s . )E )T R",
    ),
    "a loop over callbacks, one of which steps": (
        """
        class Callback:
            def end(self):
                pass

        class Steps(Callback):
            def __init__(self, optimizer):
                self.optimizer = optimizer

            def end(self):
                self.optimizer.step()
                self.optimizer.zero_grad()

        def train():
            model = make(); optimizer = sgd(model)
            callbacks = [Callback(), Steps(optimizer), Callback()]
            for epoch in range(2):
                for x, y in loader():
                    for part in (slice(0, 4), slice(4, 8)):
                        F.cross_entropy(model(x[part]), y[part]).backward()
                    for callback in callbacks:
                        callback.end()
            return weights(model)
        """,
        "T( E( b s . b s . )E E( b s . b s . )E )T R",
    ),
    "a closure that steps several times": (
        """
        def train():
            model = make()
            optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
            for epoch in range(2):
                def closure():
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(X), Y)
                    loss.backward()
                    return loss
                optimizer.step(closure)
            return weights(model)
        """,
        "T( E( b s . )E E( b s . )E )T R",
    ),
    "one loop that trains or tests by a flag": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for phase in ("train", "val"):
                    model.train(phase == "train")
                    for x, y in loader():
                        with torch.set_grad_enabled(phase == "train"):
                            loss = F.cross_entropy(model(x), y)
                            if phase == "train":
                                optimizer.zero_grad()
                                loss.backward()
                                optimizer.step()
            return weights(model)
        """,
        "T( E( b s . b s . V( v v )V )E E( b s . b s . V( v v )V )E )T R",
    ),
    "testing comes first by the flag": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for training in (False, True):
                    model.train(training)
                    for x, y in loader():
                        with torch.set_grad_enabled(training):
                            loss = F.cross_entropy(model(x), y)
                        if training:
                            optimizer.zero_grad()
                            loss.backward()
                            optimizer.step()
            return weights(model)
        """,
        "T( E( b . b . b s . b s . )E E( V( v v )V b s . b s . )E )T R",
    ),
    "training in eval mode, with frozen statistics": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                model.eval()
                for x, y in loader():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "two loops that train in an epoch": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
                for i in range(1):
                    update(model, optimizer)
            return weights(model)
        """,
        "T( E( b s . b s . b s . )E E( b s . b s . b s . )E )T R",
    ),
    "two trainings one after the other": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(1):
                for x, y in loader():
                    update(model, optimizer, x, y)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} )T T( {TWO} {TWO} )T R",
    ),
    "epochs that warm up without a step": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    if epoch == 0:
                        continue
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( E( b . b . )E {TWO} )T R",
    ),
    "one level named epoch is both": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                update(model, optimizer)
            return weights(model)
        """,
        "T( E( b s . )E E( b s . )E )T R",
    ),
    "one level whose bound is named so is both": (
        """
        def train(n_epochs=2):
            model = make(); optimizer = sgd(model)
            for i in range(n_epochs):
                update(model, optimizer)
            return weights(model)
        """,
        "T( E( b s . )E E( b s . )E )T R",
    ),
    "one level named otherwise is the batches": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for i in range(2):
                update(model, optimizer)
            return weights(model)
        """,
        "T( b s . b s . )T R",
    ),
    "steps until they are enough": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            step = 0
            while True:
                for x, y in loader():
                    update(model, optimizer, x, y)
                    step += 1
                    if step == 3:
                        break
                if step == 3:
                    break
            return weights(model)
        """,
        f"T( {TWO} E( b s .<broke> )E<broke> )T<broke> R",
    ),
    "a comprehension is a loop": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                losses = [update(model, optimizer, x, y) for x, y in loader()]
            return weights(model), losses
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "comprehensions of all kinds": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(1):
                {update(model, optimizer, x, y) for x, y in loader()}
            for epoch in range(1):
                {i: update(model, optimizer, x, y) for i, (x, y) in enumerate(loader())}
            return weights(model)
        """,
        f"T( {TWO} )T T( {TWO} )T R",
    ),
    "data from a generator": (
        """
        def data():
            for x, y in loader():
                yield x, y

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in data():
                    update(model, optimizer, x, y)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "no optimizer at all": (
        """
        def train():
            model = make()
            for epoch in range(2):
                for x, y in loader():
                    F.cross_entropy(model(x), y).backward()
                    with torch.no_grad():
                        for parameter in model.parameters():
                            parameter -= 0.1 * parameter.grad
                            parameter.grad = None
            return weights(model)
        """,
        "T( E( b . b . )E E( b . b . )E )T R",
    ),
    "a copy trains in an inner loop": (
        """
        import copy

        def train():
            model = make()
            for task in range(2):
                fast = copy.deepcopy(model)
                optimizer = sgd(fast)
                for k in range(2):
                    update(fast, optimizer)
                with torch.no_grad():
                    for slow, quick in zip(model.parameters(), fast.parameters()):
                        slow += 0.5 * (quick - slow)
            return weights(model)
        """,
        f"T( {TWO} {TWO} )T R",
    ),
    "no training at all": (
        """
        def train():
            model = make()
            for x, y in loader():
                model(x)
            return weights(model)
        """,
        "R",
    ),
    "a step outside of any loop is no training": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            update(model, optimizer)
            for epoch in range(1):
                for x, y in loader():
                    update(model, optimizer, x, y)
            update(model, optimizer)
            return weights(model)
        """,
        f"T( {TWO} )T R",
    ),
    "another thread's training is not the run's": (
        """
        import threading

        def work(out):
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
            out.append(weights(model))

        def train():
            out = []
            thread = threading.Thread(target=work, args=(out,))
            thread.start()
            thread.join()
            work(out)
            return out
        """,
        f"T( {TWO} {TWO} )T R",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_roles(lab, name):
    """Each shape's events; and its results, numbers and generators are those of the bare loop."""
    source, expected = SHAPES[name]
    assert lab.story(textwrap.dedent(source)) == expected


COMMENTED = """
def train():
    model = make(); optimizer = sgd(model)
    for outer in range(2):{outer}
        for middle in range(1):{middle}
            for inner in range(2):{inner}
                update(model, optimizer)
    return weights(model)
"""


@pytest.mark.parametrize(
    ("outer", "middle", "inner", "expected"),
    [
        ("", "", "", f"T( {TWO} {TWO} )T R"),
        ("", "  # hookcore: epoch", "", f"T( {TWO} )T T( {TWO} )T R"),
        ("", "  # hookcore: batch", "", "T( E( b s s . )E E( b s s . )E )T R"),
        ("  # hookcore: ignore", "", "", f"T( {TWO} )T T( {TWO} )T R"),
        ("", "", "  # hookcore: ignore", "T( E( b s s . )E E( b s s . )E )T R"),
    ],
)
def test_a_comment_overrides(lab, outer, middle, inner, expected):
    """On the loop's line: epoch, batch or ignore."""
    source = COMMENTED.format(outer=outer, middle=middle, inner=inner)
    assert lab.story(source) == expected


def test_one_level_declared_epoch(lab):
    """Its iterations are epochs of one batch, whatever its name."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for i in range(2):  # hookcore: epoch
            update(model, optimizer)
        return weights(model)
    """
    assert lab.story(source) == "T( E( b s . )E E( b s . )E )T R"


def test_a_comment_of_an_unknown_role(lab):
    """A typing error is said where the file is read."""
    with pytest.raises(UsageError, match="epoch"):
        lab.module("for x in range(3):  # hookcore: epochs\n    print(x)\n")


# -- what a fit knows ------------------------------------------------------------------------

KNOWN = """
def train(epochs=3):
    model = make(); optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    data = loader(4)
    for epoch in range(epochs):
        for i, (x, y) in enumerate(data):
            update(model, optimizer, x, y)
        scheduler.step()
    return model, optimizer, scheduler, data
"""


def test_a_fit_knows_its_objects(lab):
    """Models, optimizers, schedulers, loaders: the user's own, each once."""
    fits = Fits()
    module = lab.module(KNOWN)
    model, optimizer, scheduler, data = lab.play(module.train, plugins=[fits]).result
    (fit,) = fits.fits
    assert fit.models == (model,)
    assert fit.optimizers == (optimizer,)
    assert fit.schedulers == (scheduler,)
    assert fits.loaders == [(data,)]


def test_a_fit_knows_its_totals_and_counts(lab):
    """Totals from `len` and `range`; samples from the batches; places from the source."""
    fits = Fits()
    module = lab.module(KNOWN)
    lab.play(module.train, plugins=[fits])
    (fit,) = fits.fits
    assert (fit.total_epochs, fit.total_batches) == (3, 4)
    assert (fit.epochs_done, fit.batches, fit.step, fit.samples) == (3, 12, 12, 48)
    line = 1 + (lab.prelude + textwrap.dedent(KNOWN)).splitlines().index(
        "    for epoch in range(epochs):"
    )
    name = f"{module.__name__}.py"
    assert fits.places == [(f"{name}:{line}", f"{name}:{line + 1}")]


@pytest.mark.parametrize(
    ("iterable", "total"),
    [
        ("range(4)", 4),
        ("list(range(4))", 4),
        ("enumerate(range(4))", 4),
        ("zip(range(4), range(9))", 4),
        ("reversed(range(4))", 4),
        ("map(str, range(4))", 4),
        ("loader(4)", 4),
        ("enumerate(loader(4))", 4),
        ("iter(range(4))", 4),
        ("(i for i in range(4))", None),
    ],
)
def test_totals(lab, iterable, total):
    """Known where that costs nothing and leaves no mark."""
    fits = Fits()
    source = f"""
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(1):
            for item in {iterable}:
                update(model, optimizer)
        return weights(model)
    """
    bare, heard = lab.compare(source, plugins=[fits])
    assert heard.same == bare.same
    assert fits.fits[0].total_batches == total
    assert heard.recorder.count("on_batch_end") == 4


def test_iterations_before_the_first_step_are_replayed(lab):
    """In order, counters only, with `fit.replaying`; the batch that steps is the last of them."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i in range(3):
                if epoch or i == 2:
                    update(model, optimizer)
        return weights(model)
    """
    seen = []

    class Watcher:
        name = "watcher"

        @hookimpl
        def on_batch_start(self, fit, batch, data):
            seen.append((fit.epoch, batch, data, fit.replaying))

    lab.play(lab.module(source).train, plugins=[Watcher()])
    assert seen == [
        (0, 0, None, True),
        (0, 1, None, True),
        (0, 2, None, True),
        (1, 0, 0, False),
        (1, 1, 1, False),
        (1, 2, 2, False),
    ]


def test_a_rate_set_at_the_start_holds_for_the_first_step(lab):
    """Roles are learned before the first step changes anything."""
    source = """
    def train():
        model = make()
        optimizer = sgd(model, 0.5)
        before = weights(model)
        for epoch in range(1):
            for x, y in loader(16):
                update(model, optimizer, x, y)
        return before == weights(model)
    """

    class Freezer:
        name = "freezer"

        @hookimpl
        def on_train_start(self, fit):
            fit.optimizers[0].param_groups[0]["lr"] = 0.0

    assert lab.play(lab.module(source).train, plugins=[Freezer()]).result is True


def test_data_is_the_item_without_its_counter(lab):
    """A tensor, a pair, a dict: what the iterable gave."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i, item in enumerate(["a", "b"]):
                update(model, optimizer)
    """
    recorder = Recorder()
    lab.play(lab.module(source).train, plugins=[recorder], quiet=True)
    assert [call["data"] for call in recorder.of("on_batch_start")] == [None, "b", "a", "b"]
