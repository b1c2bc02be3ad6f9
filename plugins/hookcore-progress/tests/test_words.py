"""What is shown: numbers, the choice of metrics, the line at every width, JSON."""

from __future__ import annotations

import json
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore_progress import cells, compose, formats
from hookcore_progress.choice import MOST, choose
from hookcore_progress.meter import View
from hookcore_progress.rates import Outlook

VIEW = View(
    kind="tick", index=0, fit=None, epoch=3, epochs=12, batch=27, batches=45, done=117,
    unit="batch", step=117, samples=3744, per_second=81.2, samples_per_second=2598.4,
    outlook=Outlook(0.21, 75.4), elapsed=63.0, epoch_seconds=None, epochs_done=2,
    validating=False, observed=False, text="", metrics={"loss": 0.23123, "val_loss": 0.5},
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (760, "12:40"), (11109, "3:05:09"),
     (187200, "2d 4h"), (-1, "0:00"), (math.inf, "?")],
)  # fmt: skip
def test_duration(seconds, text):
    assert formats.duration(seconds) == text


def test_took():
    assert [formats.took(s) for s in (0.04, 9.94, 9.96, 75)] == ["0.0 s", "9.9 s", "0:10", "1:15"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7, "7"), (8.5, "8.50"), (812, "812"), (999.6, "1.00k"), (26123, "26.1k"),
     (3.04e6, "3.04M"), (1e15, "1e+03T")],
)  # fmt: skip
def test_count(number, text):
    assert formats.count(number) == text


def test_rate_turns_over():
    assert formats.rate(81.24, "batch") == "81.2 batches/s"
    assert formats.rate(0.25, "step") == "4 s/step"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.23123, "0.2312"), (97.0, "97"), (1.5e-5, "1.500e-5"), (123456.7, "123457"),
     (12345.6, "12346"), (math.nan, "nan"), (-math.inf, "-inf"), (0.0, "0"), (1e9, "1.000e9")],
)  # fmt: skip
def test_value(number, text):
    assert formats.value(number) == text


def test_plain_text_stays_on_its_line():
    assert formats.plain("a\nb\x1b[2Jc\t d") == "a b [2Jc d"


def test_choice():
    names = ["step", "loss", "train_loss", "lr", "evaluate.total", "correct", "acc", "val_loss"]
    inside = {"evaluate.total", "correct", "acc", "val_loss"}
    assert choose(names, inside) == ("loss", "train_loss", "val_loss", "acc")
    assert choose(["loss", "total", "correct"], {"total", "correct"}) == (
        "loss",
        "total",
        "correct",
    )
    assert choose(["step", "lr"]) == ()
    assert len(choose([f"loss{i}" for i in range(99)])) == MOST


def line(view, width, **how):
    return compose.GAP.join(part.text for part in compose.live(view, width, **how))


def test_live_line():
    assert line(VIEW, 130) == (
        f"epoch 3/12  27/45  {'━' * 6}╸{'─' * 23}"[:19]
        + compose.bar(0.21, 30)
        + "   21%  1:15 left  81.2 batches/s  loss 0.2312  val_loss 0.5000"
    )


def test_live_line_in_twenty_columns():
    assert line(VIEW, 19) == "epoch 3/12  27/45"


def test_unknown_totals_give_no_percentage():
    view = attrs.evolve(VIEW, epochs=None, batches=None, outlook=Outlook())
    assert line(view, 130) == "epoch 3  27  81.2 batches/s  loss 0.2312  val_loss 0.5000"


@given(
    width=st.integers(1, 200),
    text=st.text(max_size=30),
    names=st.dictionaries(st.text(min_size=1, max_size=20), st.floats(), max_size=6),
    fraction=st.none() | st.floats(0, 1),
    ascii_only=st.booleans(),
)
def test_never_wider_than_the_terminal(width, text, names, fraction, ascii_only):
    view = attrs.evolve(VIEW, text=text, metrics=names, outlook=Outlook(fraction, 3.0))
    shown = line(view, width, ascii_only=ascii_only)
    assert cells.width(shown) <= width
    assert shown.isprintable()


def test_nan_is_seen():
    view = attrs.evolve(VIEW, metrics={"loss": math.nan})
    part = compose.live(view, 120)[-1]
    assert (part.text, part.style) == ("loss nan", "alarm")
    assert compose.sentence(view).endswith("loss nan")
    assert json.loads(compose.record(view, 0.0))["metrics"] == {"loss": "nan"}


def test_sentences():
    assert compose.sentence(VIEW) == (
        "epoch 3/12, batch 27/45, 21%, 1:15 left, 81.2 batches/s, loss 0.2312, val_loss 0.5000"
    )
    epoch = attrs.evolve(VIEW, kind="epoch", epoch_seconds=31.0, fit=2, metrics={})
    assert compose.sentence(epoch) == ("fit 2: epoch 3/12 done in 0:31, 81.2 batches/s, 1:15 left")
    stopped = attrs.evolve(VIEW, kind="stop", text="stopping: no\nprogress (earlystop)")
    assert compose.sentence(stopped) == (
        "stopping: no progress (earlystop), epoch 3/12, batch 27/45"
    )
    steps = attrs.evolve(VIEW, epoch=None, epochs=None, unit="step", metrics={})
    assert compose.sentence(steps) == "step 27/45, 21%, 1:15 left, 81.2 steps/s"
    end = attrs.evolve(VIEW, kind="end", metrics={}, epochs_done=1, text="left by break")
    assert compose.sentence(end) == "1 epoch, 117 batches in 1:03, 1.86 batches/s, left by break"


def test_ascii_bar():
    assert compose.bar(0.5, 10, ascii_only=True) == "#####-----"
    assert compose.bar(2.0, 3) == "━━━"


def test_wide_characters_take_two_cells():
    assert cells.width("損失 0.5") == 8
    assert cells.cut("損失", 3) == "損"
    assert cells.width("e\u0301") == 1


def test_colors_where_they_are_welcome():
    assert cells.colored([("a", "bold"), ("b", "")], " ", colors=True) == "\x1b[1ma\x1b[0m b"
    assert cells.colored([("a", "bold"), ("b", "")], " ", colors=False) == "a b"
    assert cells.has_colors({})
    assert not cells.has_colors({"NO_COLOR": "1"})
