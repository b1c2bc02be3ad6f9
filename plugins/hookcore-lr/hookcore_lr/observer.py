"""What policy "plateau" would do, where the user has not asked for it."""

from __future__ import annotations

import hookcore
from hookcore.monitors import Direction
from hookcore_lr.forecast import PlateauForecast
from hookcore_lr.hands import groups_of
from hookcore_lr.policies import Policy
from hookcore_lr.report import cut


class Observer:
    """Follows policy "plateau" on a copy of the first optimizer's rates, and touches nothing.

    It speaks only while the loop leaves the rate alone: where the loop has a scheduler, or sets
    the rate itself, the policy would stand down.

    Args:
        policy: Makes the forecast.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._forecast: PlateauForecast | None = None
        self.untouched = False

    def start(self, fit: hookcore.Fit) -> None:
        """A fit begins."""
        self._forecast = None
        self.untouched = not fit.schedulers and bool(fit.optimizers)

    def arrived(self, value: float, mode: Direction, fit: hookcore.Fit) -> str:
        """A value of the monitored metric; what would happen to the rate, or nothing."""
        if not self.untouched:
            return ""
        if self._forecast is None:
            self._forecast = self._policy.forecast(groups_of(fit.optimizers[0]), mode)
        before = self._forecast.lrs
        self._forecast.advance(value)
        return cut(before, self._forecast.lrs)
