"""The arithmetic of early stopping, against a model that is slow and plain."""

from __future__ import annotations

import math

import hypothesis
import pytest
from hypothesis import strategies as st

from hookcore_earlystop.patience import Patience, Rule
from hookcore_earlystop.words import Place, reason


def first_stop(rule, values):
    """Index of the value that ends it, and why."""
    patience = Patience(rule)
    for i, value in enumerate(values):
        verdict = patience.take(value)
        if verdict.cause:
            return i, verdict.cause
    return None


def model(values, *, mode, patience, delta, relative):
    """Look back at all values, at each of them."""
    sign = 1 if mode == "min" else -1
    best_at = 0
    for i, value in enumerate(values):
        if i == 0:
            continue
        margin = delta * abs(values[best_at]) if relative else delta
        if sign * value < sign * values[best_at] - margin:
            best_at = i
        if i - best_at >= patience:
            return i, "patience"
    return None


@hypothesis.given(
    st.lists(st.integers(-8, 8).map(float), max_size=25),
    st.sampled_from(["min", "max"]),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.25, 1.0, 2.0]),
    st.booleans(),
)
def test_patience_and_min_delta(values, mode, patience, delta, relative):
    """It ends where the model ends."""
    rule = Rule(mode=mode, patience=patience, min_delta=delta, relative=relative)
    assert first_stop(rule, values) == model(
        values, mode=mode, patience=patience, delta=delta, relative=relative
    )


@hypothesis.given(st.lists(st.floats(-5, 5), max_size=25), st.integers(0, 5), st.integers(1, 4))
def test_start_from_is_a_slice(values, start, patience):
    """Ignoring the first values is as if they had not come."""
    late = first_stop(Rule(mode="min", patience=patience, start_from=start), values)
    early = first_stop(Rule(mode="min", patience=patience), values[start:])
    assert (late and (late[0] - start, late[1])) == early


@hypothesis.given(st.lists(st.floats(-5, 5), max_size=25), st.integers(1, 4), st.integers(0, 25))
def test_a_resume_changes_nothing(values, patience, cut):
    """Counting on from a checkpoint is counting through."""
    rule = Rule(mode="max", patience=patience)
    whole = Patience(rule)
    first, second = Patience(rule), Patience(rule)
    for value in values:
        whole.take(value)
    for value in values[:cut]:
        first.take(value)
    second.load_state_dict(first.state_dict())
    for value in values[cut:]:
        second.take(value)
    assert second == whole


def test_improvement_is_strict():
    """A value that equals the best one improves nothing."""
    assert first_stop(Rule(mode="min", patience=2), [1, 1, 1]) == (2, "patience")


def test_baseline():
    """Improvements renew the patience only below it."""
    values = [5, 4, 3, 2, 2, 2]
    assert first_stop(Rule(mode="min", patience=3, baseline=1), values) == (2, "baseline")
    assert first_stop(Rule(mode="min", patience=3, baseline=3.5), values) is None
    assert first_stop(Rule(mode="min", patience=2, baseline=3.5), values) == (1, "baseline")


@pytest.mark.parametrize(
    ("mode", "values"), [("min", [3, 2, 0.5, 0.1]), ("max", [-3, -2, -0.5, -0.1])]
)
def test_thresholds(mode, values):
    """Reached is at least as good; diverged is worse."""
    limit = 0.5 if mode == "min" else -0.5
    assert first_stop(Rule(mode=mode, stopping_threshold=limit), values) == (2, "reached")
    assert first_stop(Rule(mode=mode, divergence_threshold=2 * limit), values) == (0, "diverged")
    assert first_stop(Rule(mode=mode, divergence_threshold=8 * limit), values) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite(bad):
    """It ends the training, or improves nothing."""
    assert first_stop(Rule(mode="min"), [1, bad]) == (1, "not finite")
    lenient = Rule(mode="min", patience=2, check_finite=False)
    assert first_stop(lenient, [bad, 3, 2, 1]) is None
    assert first_stop(lenient, [1, bad, bad]) == (2, "patience")


@pytest.mark.parametrize(
    ("options", "values", "text"),
    [
        (
            {"patience": 2, "min_delta": 0.001},
            [0.5, 0.12, 0.1199, 0.12],
            "loss has not improved by more than 0.001 for 2 validations (best 0.12 at epoch 2)",
        ),
        ({"patience": 1}, [1, 2], "loss has not improved for 1 validation (best 1 at epoch 1)"),
        (
            {"patience": 1, "min_delta": 0.01, "relative": True},
            [1, 1],
            "loss has not improved by more than 1% for 1 validation (best 1 at epoch 1)",
        ),
        ({}, [1, math.nan], "loss is nan (best 1 at epoch 1)"),
        ({}, [math.inf], "loss is inf (none counted so far)"),
        ({"stopping_threshold": 0.5}, [0.25], "loss has reached 0.5 (it is 0.25)"),
        (
            {"divergence_threshold": 2},
            [1, 3],
            "loss is 3, worse than 2 (best 1 at epoch 1)",
        ),
        (
            {"baseline": 0.5, "patience": 1},
            [1],
            "loss has not been better than the baseline 0.5 for 1 validation (best 1 at epoch 1)",
        ),
    ],
)
def test_reasons(options, values, text):
    """One sentence for people; they count epochs from 1."""
    patience = Patience(Rule(mode="min", **options))
    place = None
    for i, value in enumerate(values):
        verdict = patience.take(value)
        if verdict.improved:
            place = Place(i, 10 * i)
    assert verdict.cause
    assert reason(verdict.cause, "loss", value, "validations", patience, place) == text


def test_place_without_epochs():
    """Steps count then."""
    assert str(Place(None, 400)) == "at step 400"
