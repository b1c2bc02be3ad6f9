"""A fork finds the writer at rest, and the child holds nothing of its parent's.

A child that is forked while another thread holds a lock finds it locked for ever. So a thread that
writes checkpoints takes breaks, at which no lock is held: a fork waits for the next one, which is
some megabytes away. A child closes the handles that mark a folder as in use, because such a mark
lasts until the last process that has the handle is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from threading import get_ident

_PATIENCE = 5.0
"""Seconds that a fork waits; a disk that hangs must not stop the training."""


class _Work:
    """What goes on in this process.

    Attributes:
        going: Held by the thread that writes, except in its breaks.
        worker: That thread.
        forker: The thread that forks, while it does.
        wanted: Forks that wait for a break.
        handles: Open marks of folders in use.
    """

    def __init__(self) -> None:
        self.going = threading.Lock()
        self.worker: int | None = None
        self.forker: int | None = None
        self.wanted = 0
        self.over = threading.Event()
        self.handles: set[int] = set()


_work = _Work()


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Work of a thread beside the training's: no fork happens inside but in its breaks."""
    work = _work
    with work.going:
        work.worker = get_ident()
        try:
            yield
        finally:
            work.worker = None


def breathe() -> None:
    """A break of no length, for a fork that waits."""
    if _work.wanted and _work.worker == get_ident():
        with at_rest():
            _work.over.wait(_PATIENCE)


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """A break: what is inside waits for the system and holds no lock."""
    work = _work
    if work.worker != get_ident():
        yield
        return
    work.worker = None
    work.going.release()
    try:
        yield
    finally:
        work.going.acquire()
        work.worker = get_ident()


def keep(handle: int) -> None:
    """Have children close a handle."""
    _work.handles.add(handle)


def close(handle: int) -> None:
    """Close one that was kept; in a child it is closed already."""
    if handle in _work.handles:
        _work.handles.discard(handle)
        os.close(handle)


def _before() -> None:
    work = _work
    if work.worker == get_ident():
        return  # the writer itself forks
    work.over.clear()
    work.wanted += 1
    if work.going.acquire(timeout=_PATIENCE):
        work.forker = get_ident()


def _in_parent() -> None:
    work = _work
    if work.worker == get_ident():
        return
    work.wanted -= 1
    # Two threads may fork at once: only the one that took the lock gives it back.
    if work.forker == get_ident():
        work.forker = None
        work.going.release()
    if not work.wanted:
        work.over.set()


def _in_child() -> None:
    global _work  # noqa: PLW0603 - the child's state is another one
    for handle in _work.handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _work = _Work()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
