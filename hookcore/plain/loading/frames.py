"""Tracebacks as bare Python would have made them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_PACKAGE = str(Path(__file__).parents[2]) + os.sep
_IMPORT = "<frozen importlib."


def strip_frames(error: BaseException) -> None:
    """Cut hookcore's own frames out of an exception, its causes, contexts and members.

    To be called before a traceback is shown. What an import put between two of them goes too:
    Python hides its import machinery by itself, but not around a loader that is not its own.

    Args:
        error: The exception; changed in place.
    """
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        item = stack.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        item.__traceback__ = _without_ours(item.__traceback__)
        stack += [item.__cause__, item.__context__]
        members = getattr(item, "exceptions", ())
        if isinstance(members, tuple):
            stack += [member for member in members if isinstance(member, BaseException)]


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    kept: list[TracebackType] = []
    importing = False
    for entry in _entries(traceback):
        name = entry.tb_frame.f_code.co_filename
        if name.startswith(_PACKAGE):
            while kept and _is_import(kept[-1]):
                kept.pop()
            importing = True
        elif not (importing and _is_import(entry)):
            kept.append(entry)
            importing = False
    last = None
    for entry in reversed(kept):
        entry.tb_next = last
        last = entry
    return last


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_import(entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(_IMPORT)
