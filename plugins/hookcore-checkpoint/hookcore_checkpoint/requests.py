"""A checkpoint on request: a file that somebody makes, a signal that somebody sends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

SAVE = "SAVE"
"""Name of the file that asks for a checkpoint; it goes when it has been seen."""

_SECONDS = 1.0
_NUMBER = getattr(signal, "SIGUSR1", None)  # Windows has none


class Requests:
    """Listens from :meth:`start` to :meth:`stop`, at no cost to the loop.

    A thread looks for the file each second. It holds no lock that a forked child could wait for.

    Args:
        places: The directories in which the file may be made; asked each time.
        ring: Called, with the reason, in the thread or in the signal's handler.
    """

    def __init__(
        self, places: Callable[[], Iterable[Path]], ring: Callable[[str], None]
    ) -> None:
        self._places, self._ring = places, ring
        self._ended = threading.Event()
        self._previous: Any = None
        self._installed = False
        self._pid = os.getpid()

    def start(self) -> None:
        """Begin to listen; to the signal only in the main thread, as Python demands."""
        threading.Thread(target=self._look, name="hookcore-requests", daemon=True).start()
        main = threading.current_thread() is threading.main_thread()
        if main and _NUMBER is not None and signal.getsignal(_NUMBER) is not signal.SIG_IGN:
            self._previous = signal.signal(_NUMBER, self._arrived)
            self._installed = True

    def stop(self) -> None:
        """Listen no more; the handler that was there before is there again."""
        self._ended.set()
        if self._installed and _NUMBER is not None and os.getpid() == self._pid:
            self._installed = False
            if signal.getsignal(_NUMBER) == self._arrived:
                before = signal.SIG_DFL if self._previous is None else self._previous
                signal.signal(_NUMBER, before)

    def _look(self) -> None:
        while not self._ended.wait(_SECONDS):
            for place in self._places():
                with contextlib.suppress(OSError):
                    (place / SAVE).unlink()
                    self._ring(f"the file {SAVE}")

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._ring(signal.Signals(number).name)
        if callable(self._previous):
            self._previous(number, frame)
