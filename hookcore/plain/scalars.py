"""The loop's own variables as metrics: each value counts once, when its name was bound anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hookcore.metrics import is_scalar, keep
from hookcore.plain import gate, table
from hookcore.plain.sites import Loop

_MOST_KEYS = 16


class Arrivals:
    """Values that have just arrived, kept.

    Attributes:
        before: Bound before the validation that is open began; all, where none is open.
        since: Bound since then.
    """

    __slots__ = ("before", "since")

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.since: dict[str, Any] = {}


class Scalars:
    """Turns names that generated code has shown into metrics.

    A value arrives by the binding of its name, never by comparison: an unchanged ``correct = 97``
    is new, a value left over from the epoch before is not. A name belongs to the function that
    delivered it first; another function's variable of the same name is called
    ``function.name``.
    """

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}
        self._last: dict[str, tuple[float, str]] = {}
        self.places: dict[str, str] = {}

    def validation_began(self) -> None:
        """What is bound from now on belongs to the validation."""
        for binding, mark in gate.bound.items():
            if mark:
                gate.bound[binding] = 2

    def returned(self, function: int, seen: Mapping[str, Any], validating: bool) -> Arrivals:
        """A function has shown its names at its return."""
        found = table.FUNCTIONS[function]
        where = f"{Path(found.path).name}:{found.line}"
        return self._take(found.qualname, where, _of_function(function), seen, validating)

    def ended(self, loop: Loop, seen: Mapping[str, Any], validating: bool) -> Arrivals:
        """A loop has shown its frame's names at the end of an iteration."""
        site = loop.site
        # The loops inside a batch are parts of it: what they bind is the batch's.
        names = _of_site(site.id, deep=loop.role == "batch")
        return self._take(site.scope, site.where, names, seen, validating)

    def _take(
        self,
        scope: str,
        where: str,
        bindings: Mapping[str, Iterable[int]],
        seen: Mapping[str, Any],
        validating: bool,
    ) -> Arrivals:
        arrivals = Arrivals()
        if not seen:
            return arrivals
        bound = gate.bound
        for name, ids in bindings.items():
            mark = 0
            for binding in ids:
                state = bound.get(binding, 0)
                if state:
                    bound[binding] = 0
                    mark = 1 if state == 1 or mark == 1 else 2
            if not mark or name not in seen or self._passed_on(name, seen[name], scope):
                continue
            part = arrivals.since if validating and mark == 1 else arrivals.before
            for key, value in _numbers(name, seen[name]):
                called = self._called(key, scope)
                part[called] = keep(value)
                self.places[called] = where
        return arrivals

    def _passed_on(self, name: str, value: Any, scope: str) -> bool:
        """Whether it is the very object that another function has delivered under this name."""
        if type(value) is not float:
            return False
        last = self._last.get(name)
        if last is not None and last[0] is value:
            return last[1] != scope
        self._last[name] = value, scope
        return False

    def _called(self, name: str, scope: str) -> str:
        owner = self._owner.setdefault(name, scope)
        return name if owner == scope else f"{scope.rpartition('.')[2]}.{name}"


def _numbers(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The scalar itself, or those of a small dict of scalars; a ``state_dict`` is none."""
    if isinstance(value, dict):
        if type(value) is dict and len(value) <= _MOST_KEYS:
            for key, part in value.items():
                if type(key) is str and type(part) is not bool and is_scalar(part):
                    yield f"{name}.{key}", part
    elif type(value) is not bool and is_scalar(value):
        yield name, value


@lru_cache(maxsize=1024)
def _of_site(site: int, *, deep: bool) -> dict[str, tuple[int, ...]]:
    """Names that a loop's own body binds, each with all its bindings in there.

    ``total = 0`` in the body and ``total += ...`` in a loop inside are one name of the outer loop.

    Args:
        site: The loop.
        deep: Whether names that only loops inside bind count, too.
    """
    inside = {site}
    for other in sorted(table.SITES):
        if table.SITES[other].parent in inside:
            inside.add(other)
    every = [b for s in sorted(inside) for b in table.SITES[s].bindings]
    own = every if deep else table.SITES[site].bindings
    return _by_name({table.BINDINGS[b].name for b in own}, every)


@lru_cache(maxsize=1024)
def _of_function(function: int) -> dict[str, tuple[int, ...]]:
    """Names that a function binds outside its loops, each with all its bindings."""
    bindings = table.FUNCTIONS[function].bindings
    mine = {table.BINDINGS[b].name for b in bindings if table.BINDINGS[b].site is None}
    return _by_name(mine, bindings)


def _by_name(names: set[str], bindings: Iterable[int]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for binding in bindings:
        name = table.BINDINGS[binding].name
        if name in names:
            found[name] = (*found.get(name, ()), binding)
    return found
