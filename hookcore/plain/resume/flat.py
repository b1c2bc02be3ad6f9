"""Tables of plain values: looked through and copied whole, for they may have millions of rows."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_COPY: dict[type, Callable[[Any], Any]] = {list: list.copy, dict: dict.copy}


def is_table(value: Any) -> bool:
    """Whether nothing but plain values is in it: it is one, or holds them, or rows of them.

    It can be put in a checkpoint, and no tensor is in it.

    Cost: 20 ms for a million values; a walk that calls a function for each takes fifty times that.
    """
    return is_flat(value) or _row_copier(value) is not None


def is_flat(value: Any) -> bool:
    """Whether a shallow copy of it is a whole one: plain values, or tuples of them, are in it."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        return _plain(value) and _flat(value.values())
    return kind in (list, tuple, set, frozenset) and _flat(value)


def copy_tables(tables: Iterable[Any]) -> dict[int, Any]:
    """Copies of tables, as the memo that ``copy.deepcopy`` takes: what is one object stays one."""
    memo: dict[int, Any] = {}
    for table in tables:
        if id(table) not in memo:
            memo[id(table)] = _copied(table, memo)
    return memo


def _copied(table: Any, memo: dict[int, Any]) -> Any:
    copier = _row_copier(table)
    if copier is None:
        return copy.copy(table)
    numbers = list(map(id, table))
    if memo.keys().isdisjoint(numbers):
        rows = list(map(copier, table))
    else:  # some of them are another table's rows, too
        rows = [memo[id(row)] if id(row) in memo else copier(row) for row in table]
    memo.update(zip(numbers, rows, strict=True))
    return rows


def _row_copier(value: Any) -> Callable[[Any], Any] | None:
    """What copies a row of a table whose rows can change; None of anything else."""
    if type(value) is not list or not value:
        return None
    kind = type(value[0])
    if kind not in _COPY or not {kind}.issuperset(map(type, value)):
        return None
    if not _plain(itertools.chain.from_iterable(value)):
        return None
    if kind is dict and not _plain(itertools.chain.from_iterable(map(dict.values, value))):
        return None
    return _COPY[kind] if len(set(map(id, value))) == len(value) else None


def _flat(values: Any) -> bool:
    if _plain(values):
        return True
    rows = {tuple}.issuperset(map(type, values))
    return rows and _plain(itertools.chain.from_iterable(values))


def _plain(values: Iterable[Any]) -> bool:
    return _ATOMS.issuperset(map(type, values))  # only what is written in C runs over the values
