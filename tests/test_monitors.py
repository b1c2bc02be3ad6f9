"""Which metric is watched, which way is better, and what counts as an arrival."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import hypothesis
import pytest
from hypothesis import strategies as st

from hookcore.errors import UsageError
from hookcore.monitors import Monitor, Watch, better, direction_of
from hookcore.monitors.names import is_held_out, words_of

# -- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "min"),
        ("valLoss", "min"),
        ("test.loss", "min"),
        ("logloss", "min"),
        ("accuracy_loss", "min"),
        ("cross_entropy", "min"),
        ("CrossEntropy", "min"),
        ("NLL", "min"),
        ("val_ppl", "min"),
        ("error_rate", "min"),
        ("rmse", "min"),
        ("acc", "max"),
        ("valacc5", "max"),
        ("top1", "max"),
        ("val_mAP50", "max"),
        ("ROC-AUC", "max"),
        ("mean_iou", "max"),
        ("f1", "max"),
        ("test.correct", "max"),
        ("n", None),
        ("total", None),
        ("epoch", None),
        ("lr", None),
        ("", None),
    ],
)
def test_direction_by_name(name, direction):
    """The last word that tells decides; where none tells, nobody guesses."""
    assert direction_of(name) == direction


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test.valLoss_1", ["test", "val", "loss", "1"]),
        ("ROCAuc", ["roc", "auc"]),
        ("val/top5", ["val", "top5"]),
        ("cross-entropy", ["crossentropy"]),
    ],
)
def test_words(name, words):
    """Case, underscores, dots, dashes and slashes part words."""
    assert words_of(name) == words


def test_held_out():
    """A name may say that it comes from a validation."""
    assert [n for n in ("val_loss", "testLoss", "loss", "eval/f1", "latest") if is_held_out(n)] == [
        "val_loss",
        "testLoss",
        "eval/f1",
    ]


# -- choosing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["total", "correct", "test_loss", "accuracy"], "test_loss"),
        (["accuracy", "mse"], "mse"),
        (["test_loss", "val_loss"], "val_loss"),
        (["loss", "val_accuracy"], "loss"),
        (["dev_loss", "test_loss"], "dev_loss"),
        (["loss_main", "loss_aux"], "loss_main"),
        (["mean_val_loss", "val_loss"], "val_loss"),
        (["best_loss", "train_loss", "acc"], "acc"),
        (["best_acc", "patience", "n"], None),
        ([], None),
    ],
)
def test_auto_chooses(names, chosen):
    """Losses, then errors, then scores; what keeps a best value is none of them."""
    assert Monitor().resolve(names, names) == chosen


def test_auto_chooses_from_validations_alone():
    """What training gives is no candidate."""
    assert Monitor().resolve(["train_loss", "loss", "acc"], ["acc"]) == "acc"


def test_a_mode_chooses_too():
    """With a mode that is set, only names that go that way count."""
    assert Monitor(mode="max").resolve((), ["val_loss", "acc"]) == "acc"
    assert Monitor(mode="max").resolve((), ["val_loss"]) is None


@pytest.mark.parametrize("name", ["v", "acc"])
def test_a_set_name_is_taken_as_it_is(name):
    """No rule stands between the user and the name that he typed."""
    assert Monitor(name).resolve([name, "val_loss"], ["val_loss"]) == name
    assert Monitor(name).resolve(["val_loss"], ["val_loss"]) is None


def test_a_name_that_tells_nothing_needs_a_mode():
    """Lower or higher: nobody guesses for the user."""
    with pytest.raises(UsageError) as caught:
        Monitor("v").check("earlystop")
    assert "earlystop.mode=min" in caught.value.way_out
    for monitor in (Monitor("v", "max"), Monitor("val_loss"), Monitor()):
        monitor.check("earlystop")


def test_missing_does_not_offer_the_name_itself():
    """A variable of the batches is there, and counts for nothing."""
    error = Monitor("loss").missing("checkpoint", ["loss", "val_loss"], "the first epoch")

    assert "no value of it has arrived" in error.what
    assert "read at a display's rate" in error.why
    assert error.way_out == "log it:  hookcore.log(loss=...)\nname one of the others:  val_loss"


def test_missing_names_what_there_is():
    """The nearest name first, all of them, and how to wait."""
    error = Monitor("val_los").missing("lr", ["train_loss", "val_loss"], "the first validation")
    assert error.why == "there are: train_loss, val_loss"
    assert error.way_out.startswith("did you mean 'val_loss'?")
    assert "lr.wait_epochs" in error.way_out
    assert "'train.loss'" in Monitor("loss").missing("lr", ["train.loss"], "x").way_out
    nothing = Monitor("a b").missing("lr", [], "x")
    assert "no metrics" in nothing.why
    assert "hookcore.log(a_b=...)" in nothing.way_out


finite = st.floats(-1e6, 1e6)


@hypothesis.given(finite, finite, st.floats(0, 10))
def test_better_is_one_way(a, b, delta):
    """Of two values at most one is better, and max mirrors min."""
    assert not (better(a, b, "min", delta) and better(b, a, "min", delta))
    assert better(a, b, "min", delta) == better(-a, -b, "max", delta)
    assert better(a, None, "min")
    assert not better(math.nan, None, "max")


# -- arrivals ------------------------------------------------------------------------------


class FakeRun:
    def __init__(self):
        self.said = []
        self.refreshed = 0
        self.metrics = SimpleNamespace(names=(), refresh=self.refresh)

    def refresh(self):
        self.refreshed += 1

    def say(self, text):
        self.said.append(text)


class Following:
    """A watch, and a fit that tells it what happens."""

    def __init__(self, name="auto", mode="auto", has_epochs=True, wait_epochs=1):
        self.run = FakeRun()
        self.fit = SimpleNamespace(
            in_validation=False, replaying=False, has_epochs=has_epochs, validations=0
        )
        self.watch = Watch(Monitor(name, mode), "x", wait_epochs)
        self.watch.start(self.run)
        self.got = []

    def keep(self, value):
        if value is not None:
            self.got.append(value)

    def log(self, source="log", **values):
        self.run.metrics.names = tuple(dict.fromkeys((*self.run.metrics.names, *values)))
        self.keep(self.watch.log(self.run, self.fit, values, source))

    def validation(self, *logs, **values):
        self.keep(self.watch.validation_started(self.run, self.fit))
        self.fit.in_validation = True
        for logged in logs:
            self.log(**logged)
        self.log("validation", **values)
        self.fit.in_validation = False
        metrics = {k: v for part in (*logs, values) for k, v in part.items()}
        self.keep(self.watch.validation_ended(self.run, self.fit, metrics))

    def epoch(self, how="finished"):
        self.keep(self.watch.epoch_ended(self.run, self.fit, how))


def test_first_validation_is_not_lost():
    """The name is chosen at the epoch's end; the value that came before is handed out then."""
    it = Following()
    it.validation(total=1.0, correct=5)
    it.log("epoch", train_loss=9.0, test_loss=3.0, accuracy=0.5)
    assert it.got == []
    it.epoch()
    assert (it.watch.name, it.watch.mode, it.watch.unit) == ("test_loss", "min", "validations")
    assert it.got == [3.0]
    it.validation(total=1.0)
    it.log("epoch", test_loss=2.0)
    assert it.got == [3.0, 2.0]
    assert it.run.said == ["x monitors test_loss (lower is better)"]


def test_one_value_a_validation():
    """Logged with each of its batches, a value counts once: the last one."""
    it = Following()
    it.validation({"val_loss": 3.0}, {"val_loss": 2.5})
    it.epoch()
    it.validation({"val_loss": 2.0}, {"val_loss": 1.5})
    assert it.got == [2.5, 1.5]


def test_the_variable_of_a_logged_value_is_not_new():
    """``val_loss = test(); hookcore.log(val_loss=val_loss)`` is one arrival."""
    it = Following("val_loss")
    for value in (3.0, 2.0):
        it.log("log", val_loss=value)
        it.log("epoch", val_loss=value)
        it.epoch()
    assert it.got == [3.0, 2.0]


def test_batches_count_after_a_validation_alone():
    """A display has the batch's variables read at its own rate; no decision may depend on it."""
    it = Following("val_loss", has_epochs=False)
    it.log("batch", val_loss=4.0)
    it.validation(n=1)
    it.log("batch", val_loss=3.0)
    it.log("batch", val_loss=3.0)
    assert it.got == [3.0]


def test_without_epochs_a_loss_is_chosen_at_once():
    """Nothing would tell when all names are there."""
    it = Following(has_epochs=False)
    it.validation(val_loss=3.0)
    assert it.got == [3.0]


def test_without_epochs_a_score_waits_for_the_next_validation():
    """A loss may still follow it."""
    it = Following(has_epochs=False)
    it.validation(accuracy=0.5)
    assert it.watch.name is None
    it.validation(accuracy=0.6)
    assert it.got == [0.5, 0.6]


def test_two_validations_in_the_first_epoch():
    """Each value is handed out, in order."""
    it = Following()
    it.validation(val_loss=3.0)
    it.validation(val_loss=2.0)
    it.epoch()
    assert it.got == [3.0, 2.0]


def test_end_of_the_fit_chooses():
    """A loop without epochs that validates once."""
    it = Following(has_epochs=False)
    it.validation(accuracy=0.5)
    it.keep(it.watch.ended(it.run))
    assert it.got == [0.5]


def test_waiting_is_said_once():
    """No validation in the first epoch: none is chosen until one comes."""
    it = Following()
    for _ in range(3):
        it.log("epoch", train_loss=1.0)
        it.epoch()
    assert it.run.said == ["x has seen no validation so far, and waits for one"]
    it.validation(val_loss=1.0)
    it.epoch()
    assert it.got == [1.0]


def test_names_that_tell_nothing_are_said():
    """With what there is, and what to type."""
    it = Following()
    it.validation(v=1.0)
    it.epoch()
    assert it.got == []
    assert "there are: v" in it.run.said[0]


def test_replayed_events_do_not_count():
    """Iterations before the first step are delivered, and mean nothing here."""
    it = Following("accuracy")
    it.fit.replaying = True
    it.epoch()
    it.log("epoch", accuracy=1.0)
    assert it.got == []


def test_outside_a_fit():
    """A value that is logged outside a fit is nobody's."""
    it = Following("val_loss")
    assert it.watch.log(it.run, None, {"val_loss": 1.0}, "log") is None


# -- a name that does not come -------------------------------------------------------------


def test_missing_at_the_first_validation():
    """At the end of its epoch, when every name is known."""
    it = Following("val_los")
    assert it.run.refreshed == 1
    it.validation(val_loss=1.0)
    with pytest.raises(UsageError, match="the first validation is over") as caught:
        it.epoch()
    assert "did you mean 'val_loss'?" in caught.value.way_out


def test_missing_without_epochs():
    """At the second validation's start."""
    it = Following("val_los", has_epochs=False)
    it.validation(val_loss=1.0)
    with pytest.raises(UsageError, match="the first validation is over"):
        it.validation(val_loss=1.0)


def test_missing_after_an_epoch_without_validation():
    """There is nothing to wait for."""
    it = Following("acc")
    it.epoch(how="broke")
    with pytest.raises(UsageError, match="the first epoch is over"):
        it.epoch()


def test_wait_epochs():
    """Where a validation comes every few epochs, the user can say so."""
    it = Following("acc", wait_epochs=3)
    it.epoch()
    it.epoch()
    with pytest.raises(UsageError, match="epoch 3 is over"):
        it.epoch()


def test_a_held_out_name_waits_for_a_validation():
    """It says where it will come from."""
    it = Following("val_acc")
    for _ in range(5):
        it.epoch()
    assert it.run.said == ["x waits for val_acc: no validation so far"]
    it.validation(val_acc=0.5)
    assert it.got == [0.5]


def test_a_name_without_direction():
    """Said when the name has arrived: a misspelt one is told what there is."""
    it = Following("v")
    with pytest.raises(UsageError, match="which is better"):
        it.log("epoch", v=1.0)
    it = Following("v", mode="max")
    it.log("epoch", v=1.0)
    assert it.got == [1.0]


# -- fits and resumes ----------------------------------------------------------------------


def test_every_fit_chooses_anew():
    """Another fit may have other names."""
    it = Following()
    it.validation(val_loss=1.0)
    it.epoch()
    it.watch.start(it.run)
    it.validation(accuracy=0.5)
    it.epoch()
    assert it.watch.name == "accuracy"
    assert it.got == [1.0, 0.5]


def test_quiet():
    """A plugin that only observes says nothing of what it waits for."""
    it = Following()
    it.watch.quiet = True
    it.validation(val_loss=1.0)
    it.epoch()
    assert it.run.said == []


def test_a_resume_goes_on():
    """With the metric that was watched, unless the user names another."""
    it = Following()
    it.validation(val_loss=1.0)
    it.epoch()
    state = it.watch.state_dict()
    again = Following()
    again.watch.load_state_dict(state)
    again.validation(val_loss=0.5)
    assert again.got == [0.5]
    other = Following("acc")
    other.watch.load_state_dict(state)
    assert other.watch.name is None


@hypothesis.given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), min_size=1, max_size=3)))
)
def test_arrivals_are_validations(epochs):
    """Whatever the epochs hold, each validation hands out one value: its last."""
    it = Following()
    for validates, values in epochs:
        if validates:
            it.validation(*({"val_loss": float(v)} for v in values))
        it.epoch()
    it.keep(it.watch.ended(it.run))
    assert it.got == [float(values[-1]) for validates, values in epochs if validates]


def test_order_of_names_does_not_matter():
    """Between kinds, the choice is by rule; only equals go by arrival."""
    for names in itertools.permutations(["total", "mse", "test_loss", "accuracy"]):
        assert Monitor().resolve((), names) == "test_loss"
