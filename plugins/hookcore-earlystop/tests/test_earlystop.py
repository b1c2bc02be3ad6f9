"""The plugin in runs opened by hand; no torch."""

from __future__ import annotations

import math
import re
from pathlib import Path

import attrs
import pytest

import hookcore
from hookcore_earlystop import EarlyStop


def train(values, plugin, *, name="val_loss", epochs=None, inside=True, **more):
    """Epochs that log one value each; returns the run and the epochs begun."""
    begun = 0
    options = {"only": [], "plugins": [plugin, *more.pop("plugins", ())], **more}
    with hookcore.run(**options) as run:
        for epoch in hookcore.epochs(range(epochs or len(values))):
            begun += 1
            for _ in hookcore.batches(range(2)):
                pass
            if epoch >= len(values) or values[epoch] is None:
                continue
            if inside:
                with hookcore.validation():
                    hookcore.log({name: values[epoch]})
            else:
                hookcore.log({name: values[epoch]})
    return run, begun


def test_stops_and_says_why(capsys):
    """After `patience` arrivals without improvement; the closing line gives the reason."""
    run, begun = train([3, 2, 1, 1.5, 1.4, 1.3, 1.2], EarlyStop(patience=2))
    assert begun == 5
    stopped = run.fit.stopped
    assert stopped.by == "earlystop"
    assert stopped.reason == "val_loss has not improved for 2 validations (best 1 at epoch 3)"
    said = capsys.readouterr().err
    assert "earlystop  ends the training when a validation's loss or score" in said
    assert "earlystop monitors val_loss (lower is better)" in said
    assert f"stopped by earlystop: {stopped.reason}" in said


def test_no_reason_no_stop():
    """A loop whose value keeps improving ends by itself."""
    run, begun = train([5, 4, 3, 2, 1], EarlyStop(patience=1))
    assert begun == 5
    assert run.fit.stopped is None


def test_patience_counts_arrivals():
    """Epochs without a validation do not count."""
    values = [1, None, None, None, 2, None, None, None, 2, 2]
    assert train(values, EarlyStop(patience=2))[1] == 9


def test_a_score_rises():
    """Higher is better for an accuracy."""
    run, begun = train([0.1, 0.5, 0.4, 0.4], EarlyStop(patience=1), name="accuracy")
    assert begun == 3
    assert "best 0.5" in run.fit.stopped.reason


def test_mode_is_the_user_s():
    """A name that tells nothing, with a mode that tells."""
    plugin = EarlyStop(monitor="v", mode="max", patience=1)
    assert train([1, 2, 1, 1], plugin, name="v")[1] == 3


def test_logged_without_a_validation():
    """A name that says what it is counts wherever it is logged."""
    run, begun = train([1, 2, 2, 2], EarlyStop(patience=2), inside=False)
    assert begun == 3
    assert "2 validations" in run.fit.stopped.reason


def test_a_training_value_when_asked_for():
    """Any name may be monitored by its name, and by no other rule."""
    run, begun = train(
        [1, 2, 2], EarlyStop(monitor="train_loss", patience=1), name="train_loss", inside=False
    )
    assert begun == 2
    assert "for 1 value " in run.fit.stopped.reason
    assert train([1, 2, 2], EarlyStop(patience=1), name="train_loss", inside=False)[1] == 3


def test_each_fit_starts_anew():
    """Each of k folds has its own best value and patience."""
    begun = []
    with hookcore.run(only=[], plugins=[EarlyStop(patience=1)]):
        for fold in range(3):
            values = [10 + fold, 9, 9, 9, 9]
            done = 0
            for epoch in hookcore.epochs(range(5)):
                for _ in hookcore.batches(range(1)):
                    done += 0
                done += 1
                hookcore.log(val_loss=values[epoch])
            begun.append(done)
    assert begun == [3, 3, 3]


def test_start_from():
    """The first arrivals are ignored."""
    assert train([1, 5, 4, 4], EarlyStop(patience=1, start_from=1))[1] == 4
    assert train([1, 5, 4, 4], EarlyStop(patience=1))[1] == 2


def test_thresholds_and_nan():
    """Three more ways to end it."""
    assert train([3, 0.4, 0.3], EarlyStop(stopping_threshold=0.5))[1] == 2
    assert train([3, 9, 1], EarlyStop(divergence_threshold=8))[1] == 2
    assert train([3, math.nan, 1], EarlyStop())[1] == 2
    assert train([3, math.nan, 1], EarlyStop(check_finite=False))[1] == 3


def test_shadow_says_and_does_nothing(capsys):
    """It would have stopped; the loop goes on."""
    run, begun = train([1, 2, 3, 4, 5], EarlyStop(patience=2, shadow=True, restore_best=True))
    assert begun == 5
    assert run.fit.stopped is None
    said = capsys.readouterr().err
    reason = "val_loss has not improved for 2 validations (best 1 at epoch 1)"
    assert said.count(f"would stop here: {reason}") == 1
    assert f"would have stopped at epoch 3: {reason}" in said


def test_no_validation_is_said(capsys):
    """Once, and again at the end."""
    assert train([], EarlyStop(), epochs=4)[1] == 4
    said = capsys.readouterr().err
    assert said.count("has seen no validation so far") == 1
    assert "no value of a validation arrived" in said


class Saver:
    """Counts the checkpoints that the core asks for."""

    role = "persist"

    def __init__(self):
        self.errors = []

    @hookcore.hookimpl
    def on_exception(self, run, error):
        self.errors.append(error)


def test_a_monitor_that_does_not_come():
    """The run ends at the first epoch's head, with the names that there are."""
    saver = Saver()
    with pytest.raises(hookcore.UsageError) as caught:
        train([1, 2, 3], EarlyStop(monitor="val_los"), plugins=[saver])
    assert "did you mean 'val_loss'?" in caught.value.way_out
    assert saver.errors == [caught.value]


def test_a_monitor_without_a_direction():
    """Said when it arrives."""
    with pytest.raises(hookcore.UsageError, match="which is better"):
        train([1, 2], EarlyStop(monitor="v"), name="v")


def test_about():
    """A clause for the opening lines."""
    assert EarlyStop(monitor="acc", patience=2, restore_best=True).about(None) == (
        "ends the training when acc has not improved for 2 arrivals, restores the best weights"
    )
    assert "only says when" in EarlyStop(shadow=True).about(None)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 0},
        {"min_delta": -1},
        {"min_delta_mode": "percent"},
        {"mode": "best"},
        {"monitor": ""},
        {"start_from": -1},
        {"wait_epochs": 0},
        {"baseline": "low"},
    ],
)
def test_options_are_checked(options):
    """A wrong value is refused, by the field's name."""
    with pytest.raises((ValueError, TypeError)) as caught:
        EarlyStop(**options)
    assert next(iter(options)) in str(caught.value.args[0])


def test_options_from_text():
    """As typed after -o, through the core's own conversion."""
    given = {"patience": 2, "min_delta": 0.5, "monitor": "val_loss"}
    begun = 0
    with hookcore.run(only=[], plugins=[EarlyStop], options={"earlystop": given}):
        for _ in hookcore.epochs(range(9)):
            for _ in hookcore.batches(range(1)):
                pass
            begun += 1
            hookcore.log(val_loss=1.0 - 0.1 * begun)
    assert begun == 3


def test_a_resume_keeps_its_counts():
    """State goes out and in; the fit that is resumed goes on counting."""
    plugin = EarlyStop(patience=3)
    train([3, 2, 2.5, 2.5], plugin)
    again = EarlyStop(patience=3)
    again.load_state_dict(plugin.state_dict())
    said = []
    run = type("R", (), {"say": lambda self, text: said.append(text)})()
    again.on_resume(run)
    assert said == [
        "earlystop goes on: val_loss has not improved for 2 validations (best 2 at epoch 2)"
    ]
    assert again.state_dict() == plugin.state_dict()


def test_readme_has_every_option():
    """By name and in the order of the class, with its default where that is one word."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    table = readme.partition("## Options")[2].partition("## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| (`[^`]*`|[^|]*) \|", table)
    fields = [field for field in attrs.fields(EarlyStop) if field.init]
    assert [name for name, _ in rows] == [field.name for field in fields]
    words = {"none": None, "yes": True, "no": False, "a third": 1 / 3}
    for (name, default), field in zip(rows, fields, strict=True):
        said = words.get(default, default.strip("`"))
        assert said == (field.default if default in words else str(field.default)), name
