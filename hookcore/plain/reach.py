"""What a loop can reach: the objects and values behind the names of its frame and its modules."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch.utils.data import DataLoader

from hookcore.plain import rng, table
from hookcore.snapshot import encodable

_DEPTH = 6
_SILENT = (
    types.ModuleType, types.BuiltinFunctionType, type, torch.nn.Module, torch.device, torch.dtype,
    DataLoader, torch.utils.data.Dataset, torch.utils.data.Sampler,
)  # fmt: skip


@attrs.frozen(eq=False)
class Slot:
    """A place that holds a value, and how to put another one there.

    Attributes:
        path: Its name: ``history``, ``self.best``, ``train:best_acc``.
        value: What it holds.
        put: Binds another value there; None where that is left to the frame's own code.
    """

    path: str
    value: Any
    put: Callable[[Any], None] | None


class Reach:
    """Everything with a state behind some names.

    Attributes:
        objects: Objects with ``state_dict`` and ``load_state_dict``, by path.
        slots: Places of plain values, by path.
        generators: Explicit random generators, by path.
        unknown: Path and type of what has no state that could be taken.
    """

    def __init__(self, names: Mapping[str, Any], frame_module: str) -> None:
        self.objects: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}
        self.generators: dict[str, Any] = {}
        self.unknown: dict[str, str] = {}
        self._seen: dict[int, Any] = {}
        for name, value in names.items():
            self._visit(Slot(name, value, None), _DEPTH)
        modules = (frame_module, *(file.module for file in table.rewritten()))
        for module in dict.fromkeys(modules):
            found = sys.modules.get(module)
            if found is not None:
                self._visit_module(module, vars(found), names)

    def path_of(self, wanted: Any) -> str | None:
        """The path under which an object was found, or None."""
        return next((path for path, value in self.objects.items() if value is wanted), None)

    def _visit_module(self, module: str, space: dict[str, Any], names: Mapping[str, Any]) -> None:
        for name, value in tuple(space.items()):
            if name.startswith("__") or name.startswith("@") or names.get(name, self) is value:
                continue
            put = functools.partial(space.__setitem__, name)
            self._visit(Slot(f"{module}:{name}", value, put), _DEPTH)

    def _visit(self, slot: Slot, depth: int) -> None:
        value = slot.value
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType, type)):
            return
        if _has_state(value):
            if not self._known(value):
                self.objects[slot.path] = value
                self._inside_wrapper(slot.path, value, depth)
            return
        if rng.is_generator(value):
            if not self._known(value):
                self.generators[slot.path] = value
            return
        if encodable(value, slot.path) is None:
            self.slots[slot.path] = slot
            return
        if depth and not self._known(value):
            parts = list(_parts(slot.path, value))
            for part in parts:
                self._visit(part, depth - 1)
            if not parts and not isinstance(value, (*_SILENT, types.FunctionType)):
                kind = type(value)
                self.unknown[slot.path] = f"{kind.__module__}.{kind.__qualname__}"

    def _inside_wrapper(self, path: str, value: Any, depth: int) -> None:
        """A user's own object with a state may hold others that its state leaves out."""
        if depth and not isinstance(value, torch.nn.Module) and _of_user(type(value)):
            for part in _parts(path, value):
                if _has_state(part.value):
                    self._visit(part, depth - 1)

    def _known(self, value: Any) -> bool:
        if id(value) in self._seen:
            return True
        self._seen[id(value)] = value
        return False


def _has_state(value: Any) -> bool:
    kind = type(value)
    return callable(getattr(kind, "state_dict", None)) and callable(
        getattr(kind, "load_state_dict", None)
    )


def _of_user(kind: type) -> bool:
    """Whether a class comes from a file that was rewritten: the user's own."""
    return kind.__module__ in {file.module for file in table.rewritten()}


def _parts(path: str, value: Any) -> Iterator[Slot]:
    """Places inside a value that is neither plain nor has a state of its own."""
    kind = type(value)
    if kind in (list, tuple):
        for i, item in enumerate(value):
            put = functools.partial(value.__setitem__, i) if kind is list else None
            yield Slot(f"{path}[{i}]", item, put or _cannot)
    elif isinstance(value, dict):
        for name, item in tuple(value.items()):
            yield Slot(f"{path}[{name!r}]", item, functools.partial(value.__setitem__, name))
    elif isinstance(value, DataLoader):
        for name in ("generator", "sampler", "batch_sampler"):
            part = getattr(value, name, None)
            if rng.is_generator(part):
                yield Slot(f"{path}.{name}", part, _cannot)
            elif rng.is_generator(getattr(part, "generator", None)):
                yield Slot(f"{path}.{name}.generator", part.generator, _cannot)
    elif isinstance(value, types.FunctionType):
        for cell, name in zip(value.__closure__ or (), value.__code__.co_freevars, strict=True):
            if _filled(cell):
                put = functools.partial(setattr, cell, "cell_contents")
                yield Slot(f"{path}.{name}", cell.cell_contents, put)
    elif isinstance(value, types.MethodType):
        yield Slot(f"{path}.__self__", value.__self__, _cannot)
    elif isinstance(value, functools.partial):
        for i, item in enumerate((value.func, *value.args, *value.keywords.values())):
            yield Slot(f"{path}({i})", item, _cannot)
    elif _of_user(kind) and not isinstance(value, torch.nn.Module):
        for name, item in tuple(getattr(value, "__dict__", {}).items()):
            yield Slot(f"{path}.{name}", item, functools.partial(setattr, value, name))


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return False
    return True


def _cannot(value: Any) -> None:
    """A place that keeps what it holds; only what is inside can change."""
