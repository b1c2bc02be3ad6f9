"""When enough is enough: the arithmetic of early stopping, on plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from hookcore.monitors import Direction, better

Cause = Literal["patience", "baseline", "reached", "diverged", "not finite"]


@attrs.frozen(kw_only=True)
class Rule:
    """What counts as an improvement, and what ends the training.

    Attributes:
        mode: Whether lower or higher values are better.
        patience: Arrivals without an improvement that end it.
        min_delta: An improvement is larger than this, in the value's unit or as a share of the
            best value's size.
        relative: Whether ``min_delta`` is a share.
        baseline: Value that must be improved upon before an improvement renews the patience.
        start_from: Arrivals to ignore first.
        stopping_threshold: A value as good as this ends it.
        divergence_threshold: A value worse than this ends it.
        check_finite: Whether NaN and infinity end it. Where they do not, they improve nothing.
    """

    mode: Direction
    patience: int = 3
    min_delta: float = 0.0
    relative: bool = False
    baseline: float | None = None
    start_from: int = 0
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None
    check_finite: bool = True

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value improves on the best one by more than ``min_delta``."""
        if not math.isfinite(value):
            return False
        scale = abs(best) if self.relative and best is not None else 1.0
        return better(value, best, self.mode, self.min_delta * scale)


@attrs.frozen
class Verdict:
    """What one value means.

    Attributes:
        improved: Whether it is the best so far.
        cause: Why it ends the training; None where it does not.
    """

    improved: bool
    cause: Cause | None = None


@attrs.define
class Patience:
    """Counts arrivals without an improvement.

    The rule is that of Lightning and Keras: after the best value, ``patience`` arrivals in a row
    that do not improve on it end the training. ``baseline`` is Keras': an improvement renews the
    patience only once it is better than the baseline too.

    Attributes:
        rule: What counts.
        arrivals: Values that arrived, the ignored ones included.
        waited: Values since the patience was last renewed.
        best: The best value; None before the first that counts.
        best_arrival: Index of the best value among the arrivals, from 0; -1 before.
    """

    rule: Rule
    arrivals: int = 0
    waited: int = 0
    best: float | None = None
    best_arrival: int = -1

    def take(self, value: float) -> Verdict:
        """Count one value."""
        rule = self.rule
        arrival = self.arrivals
        self.arrivals += 1
        if arrival < rule.start_from:
            return Verdict(improved=False)
        if rule.check_finite and not math.isfinite(value):
            return Verdict(improved=False, cause="not finite")
        improved = rule.improves(value, self.best)
        self.waited += 1
        if improved:
            self.best, self.best_arrival = value, arrival
            if rule.baseline is None or rule.improves(value, rule.baseline):
                self.waited = 0
        return Verdict(improved=improved, cause=self._cause(value))

    def _cause(self, value: float) -> Cause | None:
        rule = self.rule
        reached, diverged = rule.stopping_threshold, rule.divergence_threshold
        if math.isnan(value):
            reached = diverged = None
        if reached is not None and not better(reached, value, rule.mode):
            return "reached"
        if diverged is not None and better(diverged, value, rule.mode):
            return "diverged"
        if self.waited < rule.patience:
            return None
        below = rule.baseline is not None and not rule.improves(self.best_or_worst, rule.baseline)
        return "baseline" if below else "patience"

    @property
    def best_or_worst(self) -> float:
        """The best value, or the worst there is before the first one."""
        worst = math.inf if self.rule.mode == "min" else -math.inf
        return worst if self.best is None else self.best

    def state_dict(self) -> dict[str, Any]:
        """The counts, without the rule."""
        return {
            "arrivals": self.arrivals,
            "waited": self.waited,
            "best": self.best,
            "best_arrival": self.best_arrival,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting where another one was."""
        self.arrivals, self.waited = state["arrivals"], state["waited"]
        self.best, self.best_arrival = state["best"], state["best_arrival"]
