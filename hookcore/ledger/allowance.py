"""The time that an observer may take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

SAVED_UP = 1_000_000_000
"""Nanoseconds whose budget an observer begins with, and may save up: one slow call is no habit."""


class Allowance:
    """Fills with the time that passes; each call takes from it what it takes.

    Args:
        share: Of the time, that the observer may take.
        tell: Called when it rests for the first time.

    Attributes:
        batches: Batches in which the observer had something to hear.
        rested: Those of them in which it was not called.
    """

    def __init__(self, share: float, tell: Callable[[], None]) -> None:
        self.batches = self.rested = 0
        self._share, self._tell = share, tell
        self._left = share * SAVED_UP
        self._filled_at = perf_counter_ns()
        self._batch: object = None
        self._rests = False

    def spend(self, ns: int) -> None:
        """A call has taken this long."""
        self._left -= ns

    def rests(self, batch: object) -> bool:
        """Whether the observer is not called in this batch.

        Decided once a batch: it sees all of one, or nothing of it.

        Args:
            batch: What tells one batch from another.
        """
        if batch != self._batch:
            self._batch = batch
            self.batches += 1
            now = perf_counter_ns()
            filled = self._left + self._share * (now - self._filled_at)
            self._left, self._filled_at = min(self._share * SAVED_UP, filled), now
            self._rests = self._left < 0
            if self._rests:
                self.rested += 1
                if self.rested == 1:
                    self._tell()
        return self._rests
