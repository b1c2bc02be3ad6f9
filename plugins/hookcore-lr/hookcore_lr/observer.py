"""What policy "plateau" would do, where the user has not asked for it."""

from __future__ import annotations

from typing import Any

import hookcore
from hookcore.monitors import Direction
from hookcore_lr.courses import Course
from hookcore_lr.hands import groups_of
from hookcore_lr.policies import Policy
from hookcore_lr.report import cut


class Observer:
    """Runs policy "plateau" on a copy of the first optimizer's rates, and touches nothing.

    It speaks only while the loop leaves the rate alone: where the loop has a scheduler, or sets
    the rate itself, the policy would stand down.

    Args:
        policy: Makes the course.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._course: Course | None = None
        self.untouched = False

    def start(self, fit: hookcore.Fit) -> None:
        """A fit begins."""
        self._course = None
        self.untouched = not fit.schedulers and bool(fit.optimizers)

    def arrived(self, value: float, mode: Direction, fit: hookcore.Fit) -> str:
        """A value of the monitored metric; what would happen to the rate, or nothing."""
        if not self.untouched:
            return ""
        if self._course is None:
            groups: list[dict[str, Any]] = groups_of(fit.optimizers[0])
            self._course = self._policy.plateau(groups, mode)
        before = self._course.lrs
        self._course.advance(value, fit.epoch)
        return cut(before, self._course.lrs)
