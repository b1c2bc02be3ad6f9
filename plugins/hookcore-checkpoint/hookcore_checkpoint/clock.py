"""Time without work in the loop: a timer that asks, and the next head that answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class Clock:
    """Rings a while after it was last wound up.

    Its thread sleeps, sets two attributes of the run and ends; it holds no lock that a forked
    child could wait for.

    Args:
        seconds: How long; 0 never rings.
        ring: Called in the timer's thread.
    """

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._seconds, self._ring = seconds, ring
        self._timer: threading.Timer | None = None
        self._pid = os.getpid()

    def wind(self) -> None:
        """Begin to count anew."""
        self.stop()
        if self._seconds > 0:
            self._timer = threading.Timer(min(self._seconds, threading.TIMEOUT_MAX), self._ring)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """Ring no more."""
        timer, self._timer = self._timer, None
        if timer is not None and os.getpid() == self._pid:  # a fork leaves the thread behind
            timer.cancel()
