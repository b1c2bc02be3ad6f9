"""What is changed in a worker while it reads: each has copies of its own of all that it reaches."""

from __future__ import annotations

import copy
import sys
import types
from collections import deque
from collections.abc import Mapping, Sized
from typing import Any

import torch

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import assigned
from hookcore.plain.resume.contents import Contents, has_place
from hookcore.plain.resume.loaders import is_stateful
from hookcore.plain.resume.reading import Reading, changed, draws
from hookcore.plain.resume.stateful import has_state
from hookcore.plain.resume.turning import place_of, turn_to


class Sought:
    """What a loader's workers are to look for changes in; it travels to them.

    Args:
        loader: The loader.

    Attributes:
        modules: Names of the project's modules; the workers have copies of their globals.
        dataset: Whether the dataset is looked at: one that torchdata asks for its state is not.
        kept: Attributes that reading the dataset can change, and no checkpoint may hold.
        assigned: Names of attributes that the project's code assigns to.
    """

    def __init__(self, loader: Any) -> None:
        self.modules = tuple(dict.fromkeys(file.module for file in table.rewritten()))
        self.assigned = assigned(table.rewritten())
        self.dataset = not (is_stateful(loader) and has_state(loader.dataset))
        self.kept = tuple(changed(loader.dataset)) if self.dataset else ()


class Copies:
    """What a worker has copies of: the dataset, the ``collate_fn``, the project's globals.

    Args:
        dataset: The dataset.
        collate: The user's ``collate_fn``.
        sought: What is looked for.
    """

    def __init__(self, dataset: Any, collate: Any, sought: Sought) -> None:
        self._sought = sought
        self._roots: dict[str, Any] = {"": dataset} if sought.dataset else {}
        self._roots[":collate_fn"] = collate
        self._spaces: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        self._values: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self._draws: dict[Any, bool] = {}
        inside = self._look().owners.values()
        reading = Reading((*self._roots.values(), *inside), sought.modules)
        for name, names in reading.names.items():
            if name in sys.modules:
                self._spaces[name] = _globals_of(sys.modules[name]), tuple(names)
        self._begun = self._look()
        self._values = {path: _copied(value) for path, value in self._begun.plain.items()}
        self._marks = {path: _mark(value) for path, value in self._begun.large.items()}

    def changes(self) -> dict[str, Any]:
        """What is another value than it was as the worker began, and what is lost.

        What no checkpoint could hold anyway, an open file or a connection, is left as each worker
        makes it.
        """
        now = self._look()
        values, lost = {}, [path for path in self._sought.kept if path in now.large]
        lost += now.taken
        lost += [path for path, function in now.caches.items() if self._keeps_drawn(function)]
        for path, value in now.plain.items():
            if _owner_of(path) not in self._begun.owners:  # of something that the worker has made
                known = self._made.setdefault(path, _copied(value))
                can_change = path.rpartition(".")[2] in self._sought.assigned
                lost += [path] if can_change or not _same(value, known) else []
            elif has_place(value) and not has_place(self._begun.plain.get(path)):
                lost.append(path)  # one that stands where none stood
            elif path not in self._values or not _same(value, self._values[path]):
                values[path] = _copied(value)
        for path, value in now.large.items():
            made = _owner_of(path) not in self._begun.owners
            if path not in lost and not made and self._marks.get(path) != _mark(value):
                lost.append(path)
        return {"dataset": {"values": values, "lost": lost}} if values or lost else {}

    def put(self, values: Mapping[str, Any]) -> None:
        """Have the same values stand at their paths."""
        for path, value in values.items():
            current: Any = self._begun.plain.get(path)
            if rng.is_generator(current):
                rng.put_plain_state(current, value)
            elif has_place(current):
                turn_to(current, value)
            elif type(current) is type(value) and isinstance(value, (list, dict, set, deque)):
                current.clear()
                (current.extend if isinstance(value, (list, deque)) else current.update)(value)
            else:
                owner = _owner_of(path)
                _bind(self._begun.owners[owner], path[len(owner) :].removeprefix("."), value)

    def _keeps_drawn(self, function: Any) -> bool:
        """Whether a function that keeps its results has kept any, and they may be random."""
        if function.cache_info().currsize == 0:
            return False
        if function not in self._draws:
            self._draws[function] = draws(function, self._sought.modules)
        return self._draws[function]

    def _look(self) -> Contents:
        found = Contents(self._sought.modules, self._values)
        for path, root in self._roots.items():
            found.root(path, root)
        for name, (space, names) in self._spaces.items():
            found.variables(name, space, names)
        return found


def _globals_of(module: Any) -> dict[str, Any]:
    """What a module's functions change: of a script that a new process has run again, a copy."""
    for value in vars(module).values():
        for part in (value, *vars(value).values()) if isinstance(value, type) else (value,):
            if isinstance(part, types.FunctionType) and part.__module__ == module.__name__:
                return part.__globals__
    space: dict[str, Any] = vars(module)
    return space


def _owner_of(path: str) -> str:
    """The path of what holds a value."""
    owner, dot, _ = path.rpartition(".")
    module, colon, _ = path.rpartition(":")
    return owner if dot else module + colon


def _copied(value: Any) -> Any:
    if rng.is_generator(value):
        return rng.plain_state(value)
    return place_of(value) if has_place(value) else copy.copy(value)


def _same(value: Any, known: Any) -> bool:
    now = _copied(value) if has_place(value) else value
    if type(now) is not type(known):
        return False
    if isinstance(now, dict) and list(now) != list(known):
        return False
    return bool(now == known) or repr(now) == repr(known)  # no NaN is equal to itself


def _mark(value: Any) -> tuple[Any, ...]:
    """What is another once it was replaced, or has grown, or torch has counted a change."""
    if isinstance(value, torch.Tensor):
        return id(value), value._version  # noqa: SLF001 - torch names no other way to ask
    return id(value), len(value) if isinstance(value, Sized) else 0


def _bind(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    elif isinstance(owner, list):
        owner[int(name)] = value
    elif isinstance(owner, types.FunctionType) and name in owner.__code__.co_freevars:
        cells = owner.__closure__ or ()
        cells[owner.__code__.co_freevars.index(name)].cell_contents = value
    else:
        setattr(owner, name, value)
