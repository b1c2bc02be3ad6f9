"""What torch's plateau scheduler would do, told without making one.

An observer must leave no trace: an optimizer and a scheduler of its own would be counted by every
other tool that watches torch's constructors. Where the policy acts, torch's scheduler does the
arithmetic (:mod:`hookcore_lr.shadow`); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs


@attrs.define(kw_only=True)
class PlateauForecast:
    """The rates that ``torch.optim.lr_scheduler.ReduceLROnPlateau`` would set.

    The rule is that of torch's documentation: a value is better where it beats the best one by
    more than the threshold; after more than ``patience`` values that are not, each rate is
    multiplied by ``factor``, down to ``min_lr``, and ``cooldown`` values are not counted.

    Args:
        lrs: Rates now, one a group.
        mode: Whether lower or higher values are better.
        factor: What a rate is multiplied with.
        patience: Values without improvement that are let pass.
        threshold: By how much a value must be better.
        threshold_mode: Whether that is a part of the best value or a difference.
        cooldown: Values that are not counted after a cut.
        min_lr: Lower bounds, one a group.
        eps: Cuts smaller than this are not made.
    """

    lrs: list[float]
    mode: Literal["min", "max"]
    factor: float
    patience: int
    threshold: float
    threshold_mode: Literal["rel", "abs"]
    cooldown: int
    min_lr: Sequence[float]
    eps: float
    _best: float | None = attrs.field(default=None, init=False)
    _bad: int = attrs.field(default=0, init=False)
    _cooling: int = attrs.field(default=0, init=False)

    def advance(self, value: float) -> None:
        """Count a value."""
        if self._is_better(value):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._bad = 0
        if self._bad > self.patience:
            self.lrs = [self._cut(lr, low) for lr, low in zip(self.lrs, self.min_lr, strict=True)]
            self._cooling, self._bad = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        best = sign * float("inf") if self._best is None else self._best
        if self.threshold_mode == "rel":
            bound = best * (1.0 - sign * self.threshold)
        else:
            bound = best - sign * self.threshold
        return value < bound if self.mode == "min" else value > bound

    def _cut(self, lr: float, low: float) -> float:
        new = max(lr * self.factor, low)
        return new if lr - new > self.eps else lr
