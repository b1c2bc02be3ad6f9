"""How far an iterator has come, for the few whose place can be told; others keep theirs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

END = "end"

_ITEMS = ("list_iterator", "tuple_iterator")
_RANGES = ("range_iterator", "longrange_iterator")


def place_of(iterator: Any) -> int | float | str | None:
    """Items taken, or for numbers the next one; None where it cannot be told."""
    kind = type(iterator)
    if kind is itertools.count:
        return _plain(iterator.__reduce__()[1][0])
    if kind.__module__ != "builtins" or kind.__name__ not in (*_ITEMS, *_RANGES):
        return None
    _, (whole,), *index = iterator.__reduce__()
    taken = index[0] if index and index[0] is not None else 0
    if taken >= len(whole):
        return END
    if kind.__name__ in _ITEMS:
        return taken if isinstance(taken, int) else None
    return _plain(whole[taken])


def turn_to(iterator: Iterator[Any], place: Any) -> bool:
    """Take items until the iterator stands at a place; False where it never does."""
    for _ in range(10_000_000):
        now = place_of(iterator)
        if now == place:
            return True
        if now == END:
            return False
        next(iterator, None)
    return False


def _plain(number: Any) -> int | float | None:
    return number if type(number) in (int, float) else None
