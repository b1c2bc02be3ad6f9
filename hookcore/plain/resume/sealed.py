"""Tuples and sets that hold objects: made again when all of their parts are there."""

from __future__ import annotations

from collections.abc import Collection
from operator import is_
from typing import Any

from hookcore.snapshot import find_class

SEALED = (tuple, set, frozenset)


class Parts(list[Any]):
    """Stands for one of them while its parts are put back.

    Args:
        kind: Its class.
        live: What stands in its place now, or None: if it can be, it is what it becomes.
        size: How many parts it had.

    Attributes:
        places: Paths that lead to it.
    """

    def __init__(self, kind: Any, live: Collection[Any] | None, size: int) -> None:
        fits = live is not None and (isinstance(live, set) or len(live) == size)
        self._live = live if fits else None
        super().__init__([*(self._live or ()), *([None] * size)][:size])
        self.kind = kind
        self.places: list[str] = []
        self._whole: Any = None

    def whole(self) -> Any:
        """The tuple, or the set, of what the parts are now."""
        if self._whole is None:
            parts = [part.whole() if isinstance(part, Parts) else part for part in self]
            self._whole = self._made(parts)
        return self._whole

    def _made(self, parts: list[Any]) -> Any:
        live = self._live
        if isinstance(live, set):
            live.clear()
            live.update(parts)
            return live
        if isinstance(live, tuple) and all(map(is_, live, parts)):
            return live
        return tuple.__new__(self.kind, parts) if issubclass(self.kind, tuple) else self.kind(parts)


def sealed_kind(name: str) -> Any:
    """The class of this name of which :class:`Parts` makes one, or None."""
    if name in _PLAIN:
        return _PLAIN[name]
    found = find_class(name)
    named = found is not None and issubclass(found, tuple) and hasattr(found, "_fields")
    return found if named else None


_PLAIN = {f"builtins:{kind.__name__}": kind for kind in SEALED}
