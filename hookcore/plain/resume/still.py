"""Globals that stand still: what is behind them is looked through once, and then only compared."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.batches import numbers_in
from hookcore.plain.resume.constants import Constants, immutable
from hookcore.plain.resume.flat import copy_tables, is_flat
from hookcore.plain.resume.homes import home_of
from hookcore.plain.resume.places import Globals, Places
from hookcore.plain.resume.reach import DEPTH, is_silent
from hookcore.plain.resume.reading import FEW, draws
from hookcore.plain.resume.slots import (
    DEFINED,
    KEEPS_RESULTS,
    Slot,
    behind,
    cannot,
    filled,
    has_parts,
    kept_on,
    of_user,
)
from hookcore.plain.resume.stateful import has_state
from hookcore.snapshot import encodable, has_form

_TABLES = (list, dict, set, frozenset)


class Still:
    """The project's globals of which nothing changes while the same objects stand there.

    Most are functions, classes, modules and numbers. They are looked through once; at each head
    after that it is compared, by what C code alone runs over, whether all is where it was. What
    has moved is looked at each time from then on.

    Args:
        site: The loop whose globals they are.
        files: The files of its project.

    Attributes:
        files: The files of the project.
        modules: Names of its modules.
        constants: Tells what the loop cannot have changed.
        values: Plain values among these globals that the loop may change all the same, by path.
        copies: Copies of them.
        numbers: Whole numbers that it cannot have changed, by path.
        homes: Homes of functions and classes whose names may be bound to others, by path.
        unknown: What has no state that could be taken, by path.
        caches: Functions that keep their results, and may draw them, by path.
        others: Globals that are looked at each time: module, what it holds, name.

    Cost: 10 us a global, once; 0.1 us at each head.
    """

    def __init__(self, site: table.Site, files: list[table.File]) -> None:
        self.files = files
        self.modules = dict.fromkeys([site.module, *[file.module for file in files]])
        self.constants = Constants(site)
        self._moved = set(self.constants.taken_along())  # the loop binds them itself
        self._look()

    def compare(self) -> None:
        """At a head: is everything where it was?"""
        moved = self._globals.moved() | self._places.moved()
        if moved or self._found != self._find():
            self._moved |= moved
            self._look()

    def holds(self, definition: Any) -> bool:
        """Whether it is a function or a class of which nothing changes."""
        return id(definition) in self._settled

    def path_of(self, definition: Any) -> str | None:
        """Where such a function or class was found, or None."""
        return self._settled.get(id(definition))

    def hidden(self, names: Mapping[str, Any]) -> set[str]:
        """Paths of values that names of a frame lead to as well."""
        return {
            path
            for name in names.keys() & self._paths.keys()
            for path, value in self._paths[name]
            if value is names[name]
        }

    def _find(self) -> list[Any]:
        return list(map(sys.modules.get, self.modules))

    def _look(self) -> None:
        self._found = self._find()
        self._globals, self._places = Globals(), Places()
        self._judged: dict[int, tuple[Any, bool]] = {}  # holds what it knows by its number
        self._settled: dict[int, str] = {}
        self.values: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.homes: dict[str, str] = {}
        self.unknown: dict[str, Any] = {}
        self.caches: dict[str, Any] = {}
        self.others: list[tuple[str, dict[str, Any], str]] = []
        for module, found in zip(self.modules, self._found, strict=True):
            if found is not None:
                self._look_into(module, vars(found))
        copied = copy_tables(v for v in self.values.values() if type(v) in _TABLES)
        self.copies = {path: copied.get(id(v), v) for path, v in self.values.items()}
        self._paths: dict[str, list[tuple[str, Any]]] = {}
        for path, value in (*self.values.items(), *self.unknown.items()):
            self._paths.setdefault(path.rpartition(":")[2], []).append((path, value))

    def _look_into(self, module: str, space: dict[str, Any]) -> None:
        still = {}
        for name, value in tuple(space.items()):
            if name.startswith(("__", "@")):
                continue
            noted, slot = _Noted(), Slot(f"{module}:{name}", value, None)
            if self._has_home(value) and self._is_still(slot, noted, DEPTH):
                self._keep(noted)
                still[name] = value
            else:
                self.others.append((module, space, name))
        self._globals.add(module, space, still)

    def _has_home(self, value: Any) -> bool:
        """Whether it needs none, or is found at the same path in each process: a lambda is not."""
        own = isinstance(value, DEFINED) and value.__module__ in self.modules
        return not own or home_of(value) is not None

    def _keep(self, noted: _Noted) -> None:
        self.values |= noted.values
        self.numbers |= noted.numbers
        self.homes |= noted.homes
        self.unknown |= noted.unknown
        for path, holder in noted.tables.items():
            self._places.add(path, holder)

    def _is_still(self, slot: Slot, noted: _Noted, depth: int) -> bool:
        """Whether nothing changes behind a place while the same object stands there."""
        path, value = slot.path, slot.value
        if path in self._moved:
            return False
        if isinstance(value, types.ModuleType):
            return True
        if isinstance(value, (types.BuiltinFunctionType, *DEFINED)):
            self._note_home(path, value, noted)
            return self._is_settled(path, value, depth)
        if immutable(value):
            if slot.put is not cannot:
                self._note(path, value, noted)
            own = of_user(type(value))
            settled = not own or self._is_settled(f"{path}.__class__", type(value), depth)
            return settled and encodable(value, path) is None
        if type(value) in _TABLES and len(value) <= FEW and is_flat(value):
            noted.tables[path] = value
            self._note(path, value, noted)
            return True
        if _is_let_be(value):
            noted.unknown.update({} if is_silent(value) else {path: value})
            return True
        return False

    def _note(self, path: str, value: Any, noted: _Noted) -> None:
        if self.constants.holds(path, value):
            noted.numbers |= numbers_in(path, value)
        else:
            noted.values[path] = value

    def _note_home(self, path: str, value: Any, noted: _Noted) -> None:
        if ".__bases__[" not in path and self.constants.rebound(path):
            home = home_of(value)
            noted.homes.update({} if home is None else {path: home})

    def _is_settled(self, path: str, value: Any, depth: int) -> bool:
        """Whether nothing changes behind a function or a class while it holds the same objects."""
        if isinstance(value, types.BuiltinFunctionType):
            return True
        if id(value) in self._judged:
            return self._judged[id(value)][1]
        own, found_at = value.__module__ in self.modules, path
        if own and isinstance(value, KEEPS_RESULTS) and draws(value, self.modules):
            self.caches[path] = value
        path = (home_of(value) if own else None) or path
        if not depth or path in self._moved:
            return False
        self._judged[id(value)] = value, True  # its methods hold a class in their cells
        parts = [] if isinstance(value, type) else list(behind(path, value))
        parts += kept_on(path, value) if own else ()
        cells = getattr(value, "__closure__", None) or ()
        noted = _Noted()
        still = [self._is_still(part, noted, depth - 1) for part in parts]
        settled = all(still) and all(map(filled, cells)) and not (own and of_user(type(value)))
        self._judged[id(value)] = value, settled
        if settled:
            self._settled[id(value)] = found_at
            self._keep(noted)
            if own:
                self._places.add(path, vars(value), cells)
        return settled


class _Noted:
    """What is noted of a place, if all of it stands still."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.tables: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.homes: dict[str, str] = {}
        self.unknown: dict[str, Any] = {}


def _is_let_be(value: Any) -> bool:
    """Whether it is of a kind of which a checkpoint holds nothing, whatever is in it: a logger."""
    kind = type(value)
    return not (
        has_parts(kind)
        or has_state(value)
        or rng.is_generator(value)
        or hasattr(kind, "__next__")
        or has_form(kind)
    )
