"""Places, and what stood there: however many they are, they are compared in a few calls."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter, is_not
from types import CellType
from typing import Any

_CONTENTS = attrgetter("cell_contents")


class Globals:
    """Names of modules, and the objects that they were bound to."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, Any]] = {}
        self._known: dict[str, frozenset[str]] = {}
        self._keys: list[str] = []
        self._paths: list[str] = []
        self._holders: list[dict[str, Any]] = []
        self._names: list[str] = []
        self._values: list[Any] = []

    def add(self, module: str, space: dict[str, Any], bound: Mapping[str, Any]) -> None:
        """A module.

        Args:
            module: Its name.
            space: What it holds.
            bound: Names that are compared; of the module's others those count that are new.
        """
        self._spaces[module], self._known[module] = space, frozenset(space)
        self._keys += space
        self._paths += [f"{module}:{name}" for name in bound]
        self._holders += [space] * len(bound)
        self._names += bound
        self._values += bound.values()

    def moved(self) -> set[str]:
        """Paths of names that are new, or bound to other objects."""
        now = map(dict.get, self._holders, self._names)
        found = set(itertools.compress(self._paths, map(is_not, now, self._values)))
        keys = _parts_of(self._spaces.values())
        if keys != self._keys:
            self._keys = keys
            found.update(self._moved_names())
        return found

    def _moved_names(self) -> Iterable[str]:
        """Those that are new, and those that are gone."""
        for module, space in self._spaces.items():
            yield from (f"{module}:{name}" for name in space.keys() - self._known[module])
        for path, space, name in zip(self._paths, self._holders, self._names, strict=True):
            if name not in space:
                yield path


class Places:
    """What classes, functions and tables held."""

    def __init__(self) -> None:
        self._empty: list[Collection[Any]] = []
        self._empty_owners: list[str] = []
        self._views: list[Collection[Any]] = []
        self._owners: list[str] = []
        self._sizes: list[int] = []
        self._parts: list[Any] = []
        self._cells: list[CellType] = []
        self._cell_owners: list[str] = []
        self._contents: list[Any] = []

    def add(self, owner: str, holder: Collection[Any], cells: Iterable[CellType] = ()) -> None:
        """Something that holds items, or values under names.

        Args:
            owner: Its path.
            holder: It, or its namespace.
            cells: A function's; each holds something.
        """
        if not holder:
            self._empty.append(holder)
            self._empty_owners.append(owner)
        elif isinstance(holder, Mapping):
            self._add_view(owner, holder.keys())
            self._add_view(owner, holder.values())
        else:
            self._add_view(owner, holder)
        for cell in cells:
            self._cells.append(cell)
            self._cell_owners.append(owner)
            self._contents.append(cell.cell_contents)

    def moved(self) -> set[str]:
        """Paths of those that hold other objects now."""
        found = set(itertools.compress(self._empty_owners, self._empty))
        now = list(map(len, self._views))
        if now != self._sizes or any(map(is_not, _parts_of(self._views), self._parts)):
            found.update(self._moved_views())
        try:
            contents = list(map(_CONTENTS, self._cells))
        except ValueError:  # one was emptied
            return found.union(self._cell_owners)
        return found.union(
            itertools.compress(self._cell_owners, map(is_not, contents, self._contents))
        )

    def _add_view(self, owner: str, view: Collection[Any]) -> None:
        self._views.append(view)
        self._owners.append(owner)
        self._sizes.append(len(view))
        self._parts += view

    def _moved_views(self) -> Iterable[str]:
        known = iter(self._parts)
        for owner, view, size in zip(self._owners, self._views, self._sizes, strict=True):
            parts = tuple(itertools.islice(known, size))
            if len(view) != size or any(map(is_not, tuple(view), parts)):
                yield owner


def _parts_of(views: Iterable[Collection[Any]]) -> list[Any]:
    """What stands in all of them; each is read at once, for another thread may change it."""
    return list(itertools.chain.from_iterable(map(tuple, views)))
