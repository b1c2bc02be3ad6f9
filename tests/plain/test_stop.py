"""A stop in an unedited loop: as if it were exhausted, and the code after it runs."""

from __future__ import annotations

import pytest

from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]


class Stopper:
    """Stops from one event, at one place."""

    name, role = "stopper", "control"

    def __init__(self, event="on_epoch_end", epoch=1, batch=None, *, now=False, whole=False):
        self.when = event, epoch, batch
        self.now, self.whole = now, whole

    def _ask(self, event, run, fit):
        wanted, epoch, batch = self.when
        if event == wanted and fit.epoch == epoch and batch in (None, fit.batch):
            (run if self.whole else fit).stop("enough", now=self.now)

    @hookimpl
    def on_epoch_start(self, run, fit):
        self._ask("on_epoch_start", run, fit)

    @hookimpl
    def on_epoch_end(self, run, fit):
        self._ask("on_epoch_end", run, fit)

    @hookimpl
    def on_batch_start(self, run, fit):
        self._ask("on_batch_start", run, fit)

    @hookimpl
    def on_batch_end(self, run, fit):
        self._ask("on_batch_end", run, fit)

    @hookimpl
    def on_optimizer_step_end(self, run, fit):
        self._ask("on_optimizer_step_end", run, fit)

    @hookimpl
    def on_validation_end(self, run, fit):
        self._ask("on_validation_end", run, fit)

    @hookimpl
    def on_train_start(self, run, fit):
        self._ask("on_train_start", run, fit)


FOR = """
def train():
    model = make(); optimizer = sgd(model)
    log = []
    for epoch in range(9):
        for i in range(3):
            update(model, optimizer)
            log.append((epoch, i))
        with torch.no_grad():
            model(X)
    else:
        log.append("else")
    log.append("after")
    return log
"""

FULL = [(0, 0), (0, 1), (0, 2)]
SECOND = [(1, 0), (1, 1), (1, 2)]
END = ["else", "after"]


@pytest.mark.parametrize(
    ("stopper", "log"),
    [
        (Stopper("on_epoch_end"), FULL + SECOND + END),
        (Stopper("on_epoch_start"), FULL + SECOND + END),
        (Stopper("on_batch_end", batch=0), FULL + SECOND + END),
        (Stopper("on_optimizer_step_end", batch=0), FULL + SECOND + END),
        (Stopper("on_validation_end"), FULL + SECOND + END),
        (Stopper("on_train_start", epoch=-1), FULL + END),
        (Stopper("on_batch_start", batch=1, now=True), FULL + SECOND[:2] + END),
        (Stopper("on_batch_end", batch=1, now=True), FULL + SECOND[:2] + END),
        (Stopper("on_optimizer_step_end", batch=0, now=True), FULL + SECOND[:1] + END),
        (Stopper("on_epoch_start", now=True), FULL + SECOND[:1] + END),
        (Stopper("on_train_start", epoch=-1, now=True), FULL[:1] + END),
        (Stopper("on_epoch_end", now=True), FULL + SECOND + END),
    ],
    ids=lambda value: f"{value.when[0]}{' now' * value.now}" if isinstance(value, Stopper) else "",
)
def test_from_any_event(lab, stopper, log):
    """The outermost loop ends at its next head; with `now` the inner ones do too."""
    outcome = lab.play(lab.module(FOR).train, plugins=[stopper])
    assert outcome.result == log
    assert outcome.run.fit.stopped.by == "stopper"
    assert outcome.story.endswith(")T<stopped> R<stopped>")


def test_on_stop_tells_it_once(lab):
    """With reason and author, after the last epoch's end and before the fit's."""
    outcome = lab.play(lab.module(FOR).train, plugins=[Stopper()])
    assert outcome.recorder.of("on_stop") == [
        {"run": "Run", "fit": "Fit", "reason": "enough", "by": "stopper"}
    ]
    assert outcome.story.endswith(")E STOP )T<stopped> R<stopped>")


SHAPES = {
    "a while": """
        def train():
            model = make(); optimizer = sgd(model)
            epoch = 0
            while epoch < 9:
                for x, y in loader():
                    update(model, optimizer, x, y)
                epoch += 1
            else:
                return epoch, "else"
        """,
    "a while True": """
        def train():
            model = make(); optimizer = sgd(model)
            epoch = 0
            while True:
                for x, y in loader():
                    update(model, optimizer, x, y)
                epoch += 1
                if epoch == 9:
                    break
            else:
                return epoch, "else"
        """,
    "batches in a while": """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(9):
                i = 0
                while i < 2:
                    update(model, optimizer)
                    i += 1
            return epoch + 1, "else"
        """,
    "batches in a comprehension": """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(9):
                losses = [update(model, optimizer, x, y) for x, y in loader()]
            return epoch + 1, "else"
        """,
    "epochs in a comprehension": """
        def one_epoch(model, optimizer):
            for x, y in loader():
                update(model, optimizer, x, y)

        def train():
            model = make(); optimizer = sgd(model)
            done = [one_epoch(model, optimizer) for epoch in range(9)]
            return len(done), "else"
        """,
    "an iterator": """
        def train():
            model = make(); optimizer = sgd(model)
            epochs = iter(range(9))
            for epoch in epochs:
                for x, y in loader():
                    update(model, optimizer, x, y)
            return next(epochs), "else"
        """,
    "inside a try": """
        def train():
            model = make(); optimizer = sgd(model)
            done = 0
            try:
                for epoch in range(9):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    done += 1
            finally:
                done += 10
            return done - 10, "else"
        """,
}


@pytest.mark.parametrize("name", SHAPES)
def test_in_any_loop(lab, name):
    """Whatever it is written as: it ends, and what follows runs."""
    outcome = lab.play(lab.module(SHAPES[name]).train, plugins=[Stopper()])
    assert outcome.result == (2, "else")
    assert outcome.recorder.count("on_epoch_end") == 2


def test_nothing_more_is_fetched(lab):
    """The loop's iterable is not asked for an item that nobody will use."""
    source = """
    def train(fetched):
        def epochs():
            for epoch in range(9):
                fetched.append(epoch)
                yield epoch
        model = make(); optimizer = sgd(model)
        for epoch in epochs():
            for x, y in loader():
                update(model, optimizer, x, y)
    """
    fetched = []
    lab.play(lab.module(source).train, fetched, plugins=[Stopper()])
    assert fetched == [0, 1]


def test_one_level(lab):
    """A loop over steps ends at its next step."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for step in range(9):
            update(model, optimizer)
        return step
    """
    stopper = Stopper("on_batch_end", epoch=-1, batch=3)
    outcome = lab.play(lab.module(source).train, plugins=[stopper])
    assert outcome.result == 3
    assert outcome.story == "T( b s . b s . b s . b s . STOP )T<stopped> R<stopped>"


FOLDS = """
def train():
    log = []
    for fold in range(2):
        model = make(); optimizer = sgd(model)
        for epoch in range(4):
            for x, y in loader():
                update(model, optimizer, x, y)
            log.append((fold, epoch))
    return log
"""


def test_a_fit_s_stop_leaves_later_fits_alone(lab):
    """The second fold trains to its end."""

    class First(Stopper):
        @hookimpl
        def on_epoch_end(self, run, fit):
            if fit.index == 0 and fit.epoch == 1:
                fit.stop("enough")

    outcome = lab.play(lab.module(FOLDS).train, plugins=[First()])
    assert outcome.result == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]


def test_a_run_s_stop_ends_later_fits_too(lab):
    """Each at its outermost loop's first head: none is ended before its first iteration."""
    outcome = lab.play(lab.module(FOLDS).train, plugins=[Stopper(whole=True)])
    assert outcome.result == [(0, 0), (0, 1), (1, 0)]
    assert outcome.recorder.count("on_stop") == 2


def test_a_stop_that_comes_too_late_has_no_effect(lab):
    """The loop breaks off by itself in the epoch in which it was asked for."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(9):
            for x, y in loader():
                update(model, optimizer, x, y)
            if epoch == 1:
                break
        return epoch
    """
    outcome = lab.play(lab.module(source).train, plugins=[Stopper("on_epoch_start")])
    assert outcome.result == 1
    assert outcome.recorder.count("on_stop") == 0
    assert outcome.story.endswith(")E<broke> )T<broke> R")


def test_the_closing_line_says_why(lab, capsys):
    """Who, why, and how much was done."""
    from hookcore import run

    module = lab.module(FOR)
    with run(only=[], plugins=[Stopper()]):
        module.train()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "hookcore: training was stopped by stopper: enough (2 epochs, 6 steps)"


def test_an_exception_after_a_stop_is_the_user_s(lab):
    """A stop takes nothing from what the code after the loop does."""
    source = FOR.replace("    return log", "    raise ValueError(len(log))")
    outcome = lab.play(lab.module(source).train, plugins=[Stopper()])
    assert outcome.result == ("ValueError", "8")
    assert outcome.story.endswith(")T<stopped> X R<exception>")
