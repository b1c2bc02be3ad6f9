"""Starts and ends are paired, innermost first, whatever an adapter does."""

from __future__ import annotations

import threading

import pytest

from hookcore import UsageError, hookimpl
from hookcore.plain.adapter import Plain
from hookcore.session import Session
from hookcore.testing import Recorder, _settings


class Desk:
    """A life that a test drives by hand."""

    def __init__(self, *plugins, strict=True):
        self.recorder = Recorder()
        self.session = Session(
            _settings([*plugins, self.recorder], None), "desk", Plain(), distributions=()
        )
        self.run = self.session.open()
        self.life = self.session.life

    def fit(self):
        fit = self.life.new_fit()
        self.life.start_fit(fit)
        return fit

    @property
    def names(self):
        return [name.removeprefix("on_") for name in self.recorder.names]


class Writer:
    """A plugin with a thread of its own."""

    name = "writer"

    @hookimpl
    def on_run_end(self):
        pass


@pytest.fixture
def desk():
    made = []

    def make(*plugins):
        made.append(Desk(*plugins))
        return made[-1]

    yield make
    for one in made:
        one.session.close("finished")


def test_an_end_closes_what_is_open_inside(desk):
    """Innermost first, each with the same `how`."""
    one = desk()
    one.fit()
    one.life.start_epoch()
    one.life.start_batch("data")
    one.life.end_fit("exception")
    assert one.names[-3:] == ["batch_end", "epoch_end", "train_end"]
    assert {call["how"] for _, call in one.recorder.calls[-3:]} == {"exception"}


def test_what_a_thread_asks_for_is_done_at_the_next_head(desk):
    """In the thread that trains, under the plugin's name, and once."""
    one = desk(Writer())
    one.fit()
    heard = []

    def errand():
        heard.append((one.run.control.speaker, threading.current_thread()))

    thread = threading.Thread(target=lambda: one.run.at_head(errand, by="writer"))
    thread.start()
    thread.join()
    assert heard == []
    assert one.life.attention
    one.life.attend()
    one.life.attend()
    assert heard == [("writer", threading.main_thread())]


def test_an_errand_that_raises_is_the_plugins_failure(desk):
    """As if one of its hooks had raised: the training goes on."""
    one = desk(Writer())
    one.fit()
    one.run.at_head(lambda: 1 / 0, by="writer")
    one.run.at_head(lambda: 1 / 0, by="nobody")  # one that has been switched off meanwhile
    one.life.attend()
    assert [failure.event for failure in one.session.off] == ["at_head"]


def test_a_validation_ends_with_its_epoch(desk):
    """Its batch ends before it, and it before the epoch."""
    one = desk()
    one.fit()
    one.life.start_epoch()
    one.life.start_validation()
    one.life.start_validation_batch()
    one.life.end_epoch("finished")
    assert one.names[-3:] == ["validation_batch_end", "validation_end", "epoch_end"]


def test_a_validation_batch_ends_when_the_next_begins(desk):
    """Calls of a model alone do not say when their batch is over."""
    one = desk()
    one.fit()
    one.life.start_validation()
    one.life.start_validation_batch()
    one.life.start_validation_batch()
    one.life.end_validation()
    assert [c["batch"] for c in one.recorder.of("on_validation_batch_end")] == [0, 1]


@pytest.mark.parametrize("what", ["end_batch", "end_epoch", "end_fit"])
def test_ends_of_what_is_closed_are_nothing(desk, what):
    """An adapter may say it twice."""
    one = desk()
    one.fit()
    one.life.start_epoch()
    one.life.start_batch()
    for _ in range(2):
        getattr(one.life, what)("finished")
    assert one.recorder.count("on_batch_end") == 1


def test_only_finished_counts_as_done(desk):
    """Indices go on, counts do not."""
    one = desk()
    fit = one.fit()
    for how in ("broke", "finished", "exception"):
        one.life.start_epoch()
        one.life.start_batch()
        one.life.end_batch(how)
        one.life.end_epoch(how)
    assert (fit.epoch, fit.epochs_done, fit.batches) == (2, 1, 1)


def test_batches_count_from_0_in_each_epoch(desk):
    """And epochs from 0 in each fit."""
    one = desk()
    for _ in range(2):
        one.fit()
        for _ in range(2):
            one.life.start_epoch()
            for _ in range(2):
                one.life.start_batch()
                one.life.end_batch("finished")
            one.life.end_epoch("finished")
        one.life.end_fit("finished")
    assert [c["batch"] for c in one.recorder.of("on_batch_start")] == [0, 1] * 4
    assert [c["epoch"] for c in one.recorder.of("on_epoch_start")] == [0, 1] * 2


def test_on_an_exception_everything_ends_before_it_is_told(desk):
    """Batch, epoch and fit, then on_exception, then on_run_end."""
    one = desk()
    one.fit()
    one.life.start_epoch()
    one.life.start_batch()
    one.session.close("exception", ValueError("x"))
    assert one.names[-5:] == ["batch_end", "epoch_end", "train_end", "exception", "run_end"]


def test_an_exit_is_no_exception(desk):
    """on_run_end says it."""
    one = desk()
    one.session.close("exit", SystemExit(3))
    assert one.names == ["run_start", "run_end"]
    assert one.recorder.of("on_run_end") == [{"run": "Run", "how": "exit"}]


def test_the_first_stop_counts(desk):
    """Its reason and its author; only a stop that is to come sooner replaces it."""
    one = desk()
    fit = one.fit()
    fit.stop("first")
    fit.stop("second")
    assert (fit.stopped.reason, fit.stopped.by, fit.stopped.now) == ("first", "user", False)
    fit.stop("third", now=True)
    assert (fit.stopped.reason, fit.stopped.now) == ("third", True)


def test_a_stop_has_its_plugins_name(desk):
    """Whoever's hook runs is the author."""

    class Stopper:
        name = "stopper"

        @hookimpl
        def on_epoch_end(self, fit):
            fit.stop("enough")

    one = desk(Stopper())
    fit = one.fit()
    one.life.start_epoch()
    one.life.end_epoch("finished")
    assert fit.stopped.by == "stopper"


def test_a_stop_of_the_run_is_one_of_later_fits(desk):
    """Each ends at its first head."""
    one = desk()
    one.run.stop("enough")
    assert one.fit().stopped.reason == "enough"


def test_logged_values_arrive_with_their_source(desk):
    """Inside a validation they are its metrics too."""
    one = desk()
    one.fit()
    one.run.log(lr=0.5)
    one.life.start_validation()
    one.run.log({"val_loss": 2.0}, acc=1)
    one.life.end_validation()
    assert [(c["metrics"], c["source"]) for c in one.recorder.of("on_log")] == [
        ({"lr": 0.5}, "log"),
        ({"val_loss": 2.0, "acc": 1.0}, "log"),
    ]
    assert one.recorder.of("on_validation_end")[0]["metrics"] == {"val_loss": 2.0, "acc": 1.0}
    assert dict(one.run.metrics) == {"lr": 0.5, "val_loss": 2.0, "acc": 1.0}


@pytest.mark.parametrize("value", ["1", None, [1.0], {}])
def test_a_value_that_is_no_number_is_refused(desk, value):
    """Where it is logged, with its name and type."""
    with pytest.raises(UsageError, match=rf"log\(loss=...\)[^$]*{type(value).__name__}"):
        desk().run.log(loss=value)


def test_validations_are_counted_when_they_are_over(desk):
    """While one runs, the fit says so."""
    one = desk()
    fit = one.fit()
    one.life.start_validation()
    assert (fit.in_validation, fit.validations) == (True, 0)
    one.life.end_validation()
    assert (fit.in_validation, fit.validations) == (False, 1)


def test_fits_are_numbered(desk):
    """`run.fit` stays the last one after its end."""
    one = desk()
    first, second = one.fit(), (one.life.end_fit("finished"), one.fit())[1]
    assert (first.index, second.index, one.run.fits) == (0, 1, 2)
    one.life.end_fit("finished")
    assert one.run.fit is second
