"""Why a training ended, in words for people."""

from __future__ import annotations

import attrs

from hookcore_earlystop.patience import Cause, Patience, Rule

_ONE = {"validations": "validation", "epochs": "epoch", "values": "value"}


@attrs.frozen
class Place:
    """Where in the fit a value arrived.

    Attributes:
        epoch: Index of the epoch, from 0; None in a loop without epochs. People read it from 1.
        step: Optimizer updates before it.
    """

    epoch: int | None
    step: int

    def __str__(self) -> str:
        return f"at step {self.step}" if self.epoch is None else f"at epoch {self.epoch + 1}"


def number(value: float) -> str:
    """A metric's value, short."""
    return f"{value:.4g}"


def best(patience: Patience, place: Place | None) -> str:
    """The best value and its place: ``best 0.1234 at epoch 4``."""
    if patience.best is None:
        return "none counted so far"
    return f"best {number(patience.best)}" + (f" {place}" if place else "")


def counted(count: int, unit: str) -> str:
    """``1 validation``, ``3 validations``."""
    return f"{count} {unit if count != 1 else _ONE.get(unit, unit)}"


def reason(
    cause: Cause, name: str, value: float, unit: str, patience: Patience, place: Place | None
) -> str:
    """One sentence.

    Args:
        cause: What ends the training.
        name: The metric's name.
        value: Its last value.
        unit: What its values come by: ``"validations"``, ``"epochs"`` or ``"values"``.
        patience: The counts.
        place: Where the best value arrived.
    """
    rule = patience.rule
    waited = counted(patience.waited, unit)
    if cause == "not finite":
        return f"{name} is {value} ({best(patience, place)})"
    if cause == "reached":
        assert rule.stopping_threshold is not None
        return f"{name} has reached {rule.stopping_threshold:g} (it is {number(value)})"
    if cause == "diverged":
        assert rule.divergence_threshold is not None
        return (
            f"{name} is {number(value)}, worse than {rule.divergence_threshold:g} "
            f"({best(patience, place)})"
        )
    if cause == "baseline":
        assert rule.baseline is not None
        return (
            f"{name} has not been better than the baseline {rule.baseline:g} for {waited} "
            f"({best(patience, place)})"
        )
    return f"{name} has not improved{_delta(rule)} for {waited} ({best(patience, place)})"


def _delta(rule: Rule) -> str:
    if not rule.min_delta:
        return ""
    return f" by more than {rule.min_delta:.4g}" if not rule.relative else (
        f" by more than {100 * rule.min_delta:.4g}%"
    )
