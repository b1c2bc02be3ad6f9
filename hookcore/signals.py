"""SIGTERM and SIGINT as flags: delivered at a head, then handed on to the user's own handlers."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

LISTENED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Handlers for the time of a fit, chained to whatever the user has put there before it.

    A first signal only sets a flag: most arrive inside ``optimizer.step``, with some parameters
    updated and others not, where nothing can be saved. The next head of the loop delivers it and
    hands it on. A second signal, or one that no head picked up in time, goes straight through.

    Args:
        wanted: Asked when a signal arrives: whether a head will come that can deliver it.
        wake: Has the next head look.
        grace: Seconds a head has to come in.

    Attributes:
        waiting: Number of the signal that waits for a head, or 0.
        told: Whether a head has told the plugins of it.
    """

    def __init__(
        self, wanted: Callable[[], bool], wake: Callable[[], None], grace: Callable[[], float]
    ) -> None:
        self.waiting = 0
        self.told = False
        self._wanted, self._wake, self._grace = wanted, wake, grace
        self._previous: dict[int, Any] = {}
        self._timer: threading.Timer | None = None
        self._pid = os.getpid()

    def install(self) -> None:
        """Put the handlers in; only in the main thread, as Python demands.

        What the user ignores stays ignored.
        """
        for number in LISTENED:
            if signal.getsignal(number) not in (self._arrived, signal.SIG_IGN):
                self._previous[number] = signal.signal(number, self._arrived)

    def remove(self) -> None:
        """Put the previous handlers back, where ours are still the ones in place.

        A signal that no head picked up any more is sent again, to them.
        """
        waiting = self.waiting
        self._forget()
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._arrived:
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()
        if waiting:
            os.kill(os.getpid(), waiting)

    def hand_on(self) -> None:
        """Let the waiting signal do what it would have done without hookcore.

        Raises:
            KeyboardInterrupt: Or whatever the user's handler raises.
        """
        number = self.waiting
        self._forget()
        self._pass_through(number, sys._getframe(1))

    def _forget(self) -> None:
        self.waiting, self.told = 0, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        child = os.getpid() != self._pid
        if child or self.waiting or not self._wanted():
            self._forget()
            self._pass_through(number, frame)
            return
        self.waiting = number
        self._wake()
        # The timer's thread cannot run a handler; sending the signal again makes it the second.
        grace = min(self._grace(), threading.TIMEOUT_MAX)
        self._timer = threading.Timer(grace, os.kill, (os.getpid(), number))
        self._timer.daemon = True
        self._timer.start()

    def _pass_through(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous.get(number)
        if callable(previous):
            previous(number, frame)
        else:
            # The default action, by the signal itself, so that the exit status is the bare one.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
