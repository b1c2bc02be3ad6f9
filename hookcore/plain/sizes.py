"""How many samples a batch holds, read off the batch itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any


def size_of(data: Any) -> int | None:
    """Samples in a batch: the first dimension of its first array; None where it does not tell.

    Args:
        data: A tensor or array of shape ``(samples, ...)``, or a tuple, list or mapping that
            begins with one.
    """
    with contextlib.suppress(Exception):  # a user's object may raise anything when it is asked
        for _ in range(3):
            shape = getattr(data, "shape", None)
            if shape is not None:
                return int(shape[0]) if len(shape) else None
            if isinstance(data, (tuple, list)) and data:
                data = data[0]
            elif isinstance(data, Mapping) and data:
                data = next(iter(data.values()))
            else:
                return None
    return None


def reader_for(item: Any, *, enumerated: bool) -> Callable[[Any], int | None]:
    """A quick :func:`size_of` for batches built like ``item``; slow only where one differs.

    Args:
        item: What the loop's iterable gave.
        enumerated: Whether it is ``(counter, data)``.
    """
    data = item[1] if enumerated else item
    if size_of(data) is None:
        return _unknown
    if enumerated:
        return _of_enumerated_pair if _is_pair(data) else _of_enumerated
    return _of_pair if _is_pair(data) else size_of


def _is_pair(data: Any) -> bool:
    return type(data) in (tuple, list) and hasattr(data[0], "shape")


def _unknown(_item: Any) -> None:
    return None


def _of_pair(item: Any) -> int | None:
    try:
        size: int = item[0].shape[0]
    except Exception:  # noqa: BLE001 - a user's batch may be anything
        return size_of(item)
    return size


def _of_enumerated(item: Any) -> int | None:
    return size_of(item[1])


def _of_enumerated_pair(item: Any) -> int | None:
    return _of_pair(item[1])
