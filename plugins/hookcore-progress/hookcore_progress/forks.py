"""No fork while we draw.

A child that is forked while another thread holds a lock finds it locked for ever: a DataLoader
worker that then prints would hang. So drawing happens under one lock of ours, a fork waits until
the drawing is done, and in the child nothing of ours goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

_PATIENCE = 1.0
"""Seconds that a fork waits; a terminal that is stopped (Ctrl-S) must not stop the training."""


class _Pen:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forking: int | None = None
        self.generation = 0


_pen = _Pen()


def generation() -> int:
    """Counts the forks that led to this process. What was made in another one is dead here."""
    return _pen.generation


@contextmanager
def drawing(patience: float = -1.0) -> Iterator[bool]:
    """Hold the pen: no fork happens inside. Gives False where it was not free in time."""
    pen = _pen
    held = pen.lock.acquire(timeout=patience)
    try:
        yield held
    finally:
        if held:
            pen.lock.release()


def _before() -> None:
    if _pen.lock.acquire(timeout=_PATIENCE):
        _pen.forking = get_ident()


def _in_parent() -> None:
    # Two threads may fork at once: only the one that took the pen gives it back.
    if _pen.forking == get_ident():
        _pen.forking = None
        _pen.lock.release()


def _in_child() -> None:
    _pen.lock = threading.Lock()
    _pen.forking = None
    _pen.generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
