"""Parts of an object's state that no checkpoint can hold: other objects, functions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from hookcore.snapshot import encodable

_DEPTH = 6
_PLAIN = frozenset({int, float, str, bool, bytes, type(None)})


def without(state: Any, depth: int = _DEPTH) -> tuple[Any, dict[tuple[Any, ...], Any]]:
    """A state without such parts, and those parts by the keys that lead to them.

    Only what holds one is copied. A tensor stays, whatever it is: without one of its weights
    nothing can go on. One on the meta device has none.
    """
    if isinstance(state, (dict, list)) and depth and _has_plain_keys(state):
        return _container(state, depth)
    return state, {} if _fits(state) else {(): state}


def within(state: Any, live: Any, keys: Iterable[Iterable[Any]]) -> Any:
    """A state with those parts in it again, as an object holds them now.

    Args:
        state: What :func:`without` gave.
        live: The object's own state, from which they come.
        keys: Which.
    """
    for path in keys:
        first, *rest = path
        there = _at(live, first)
        if there is not _NOTHING:
            state = copy.copy(state)
            state[first] = within(state[first], there, [rest]) if rest else there
    return state


def place(path: str, keys: Iterable[Any]) -> str:
    """What one of them is called."""
    for key in keys:
        path += f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"
    return path


def _container(
    state: dict[Any, Any] | list[Any], depth: int
) -> tuple[Any, dict[tuple[Any, ...], Any]]:
    items = state.items() if isinstance(state, dict) else enumerate(state)
    found: dict[tuple[Any, ...], Any] = {}
    changed: dict[Any, Any] = {}
    for key, value in items:
        if type(value) in _PLAIN:
            continue
        rest, outside = without(value, depth - 1)
        if outside:
            found |= {(key, *path): part for path, part in outside.items()}
            changed[key] = rest
    if not found:
        return state, found
    made: Any = copy.copy(state)
    for key, rest in changed.items():
        if (key,) not in found:
            made[key] = rest
        elif isinstance(made, dict):
            del made[key]
        else:
            made[key] = None
    return made, found


def _fits(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_meta
    return encodable(value) is None


def _has_plain_keys(state: dict[Any, Any] | list[Any]) -> bool:
    return isinstance(state, list) or all(type(key) in _PLAIN for key in state)


_NOTHING = object()


def _at(live: Any, key: Any) -> Any:
    if isinstance(live, Mapping):
        return live.get(key, _NOTHING)
    is_there = isinstance(live, list) and type(key) is int and key < len(live)
    return live[key] if is_there else _NOTHING
