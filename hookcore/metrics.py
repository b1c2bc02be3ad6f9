"""Values that stay on their device until somebody reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_scalar(value: Any) -> bool:
    """Whether ``value`` is one real number: of Python, NumPy, torch or a library like them.

    Costs no synchronisation: only type, shape and dtype are looked at.
    """
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        return True
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if dtype is None or not isinstance(shape, tuple):
            return False
        return math.prod(shape) == 1 and "complex" not in str(dtype) and hasattr(value, "item")
    except Exception:  # noqa: BLE001 - a user's object may raise anything when it is asked
        return False


def keep(value: Any) -> Any:
    """A copy that pins nothing: a tensor without its graph, in memory of its own."""
    detach = getattr(value, "detach", None)
    return value if detach is None else detach().clone()


def number(value: Any) -> float:
    """The float behind a kept value. Waits for the device where it lives on one."""
    item = getattr(value, "item", None)
    return float(value if item is None else item())


class Readings(Mapping[str, float]):
    """Metrics by name; a value becomes a float when it is first read.

    Reading a tensor's value waits for its device, once.
    """

    __slots__ = ("_kept",)

    def __init__(self, kept: Mapping[str, Any] = {}) -> None:
        self._kept = dict(kept)

    def __getitem__(self, name: str) -> float:
        kept = self._kept[name]
        if type(kept) is float:
            return kept
        value = number(kept)
        if self._kept.get(name) is kept:  # another thread's reading must not undo an arrival
            self._kept[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._kept)})"

    def latest(self, name: str) -> Any:
        """The value as it is kept, a tensor perhaps, or None. Waits for nothing."""
        return self._kept.get(name)


class Metrics(Readings):
    """All metrics of a run, each at its latest value.

    ``run.metrics["val_loss"]`` reads one; ``"val_loss" in run.metrics`` asks; iterating gives the
    names. Values are kept detached, on their device, until they are read.
    """

    __slots__ = ("_arrivals", "_refresh")

    def __init__(self, refresh: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._refresh = refresh
        self._arrivals: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names that have arrived so far, in the order of their first arrival."""
        return tuple(self._kept)

    def arrivals(self, name: str) -> int:
        """How often a metric has arrived: tells a value that is new from one that is left over."""
        return self._arrivals.get(name, 0)

    def refresh(self) -> None:
        """Ask that the batch loop's own variables are read at the end of the current batch.

        Waits for nothing and may be called from any thread, as a display does at its own rate.
        """
        if self._refresh is not None:
            self._refresh()

    def arrive(self, values: Mapping[str, Any]) -> Readings:
        """Take in new values, already kept. For adapters; plugins use ``run.log``."""
        self._kept.update(values)
        for name in values:
            self._arrivals[name] = self._arrivals.get(name, 0) + 1
        return Readings(values)
