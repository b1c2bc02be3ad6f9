"""Ctrl-Z: the terminal goes back to the shell as it was, and we draw again after ``fg``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

_SIGNAL: signal.Signals | None = getattr(signal, "SIGTSTP", None)


class Suspension:
    """Our handler of SIGTSTP, where nobody else has one and Python lets us.

    Args:
        pause: Called before the process stops.
        go_on: Called after it was continued.
    """

    def __init__(self, pause: Callable[[], None], go_on: Callable[[], None]) -> None:
        self._pause, self._go_on = pause, go_on
        self._installed = False

    def install(self) -> None:
        """Listen. Outside the main thread Python installs no handlers: then nothing happens."""
        if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(_SIGNAL) is signal.SIG_DFL:
            signal.signal(_SIGNAL, self._stop)
            self._installed = True

    def remove(self) -> None:
        """Listen no more; a handler that the user has installed since then stays."""
        if not self._installed or threading.current_thread() is not threading.main_thread():
            return
        self._installed = False
        # Bound methods are new objects each time: compared by value.
        if _SIGNAL is not None and signal.getsignal(_SIGNAL) == self._stop:
            signal.signal(_SIGNAL, signal.SIG_DFL)

    def _stop(self, number: int, frame: Any) -> None:  # noqa: ARG002 - as signal calls it
        self._pause()
        signal.signal(number, signal.SIG_DFL)
        # To this thread: it is delivered before the call returns, so the process stops here.
        signal.pthread_kill(threading.get_ident(), number)
        if self._installed:
            signal.signal(number, self._stop)
        self._go_on()
