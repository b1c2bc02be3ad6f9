"""What a loop can reach: the objects and values behind the names of its frame and its modules."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch
from torch.optim.optimizer import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.turning import place_of
from hookcore.snapshot import encodable

GRADIENT = " (gradient)"
"""What follows the path of a tensor whose gradient is kept on its own."""

_DEPTH = 6
_OF_OPTIMIZERS = ("state", "param_groups", "defaults")
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

    Args:
        names: Variables of a frame.
        frame_module: Name of the module it belongs to.
        files: Files whose modules' globals are searched too.

    Attributes:
        objects: Objects with ``state_dict`` and ``load_state_dict``, by path.
        slots: Places of plain values, by path.
        generators: Explicit random generators, by path.
        iterators: Iterators whose place can be told, by path.
        passes: Running iterators of DataLoaders, by path.
        loaders: DataLoaders, by path.
        unknown: What has no state that could be taken, by path.
        owners: Lists, dictionaries and objects that have such places, by path.
        tensors: Tensors of the user's own that require gradients, by path.
        modules: Names of the modules searched, each with what it holds.
    """

    def __init__(
        self, names: Mapping[str, Any], frame_module: str, files: Iterable[table.File]
    ) -> None:
        self.objects: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}
        self.generators: dict[str, Any] = {}
        self.iterators: dict[str, Any] = {}
        self.passes: dict[str, Any] = {}
        self.loaders: dict[str, DataLoader[Any]] = {}
        self.unknown: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self.modules: dict[str, dict[str, Any]] = {}
        self._seen: dict[int, Any] = {}
        for name, value in names.items():
            self._visit(Slot(name, value, None), _DEPTH)
        for module in dict.fromkeys((frame_module, *(file.module for file in files))):
            found = sys.modules.get(module)
            if found is not None:
                self.modules[module] = vars(found)
                self._visit_module(module, vars(found), names)

    def add(self, path: str, value: Any) -> None:
        """Reach what has come into being since."""
        self._visit(Slot(path, value, None), _DEPTH)

    def path_of(self, wanted: Any) -> str | None:
        """The path under which an object was found, or None."""
        return next((path for path, value in self.objects.items() if value is wanted), None)

    def _visit_module(self, module: str, space: dict[str, Any], names: Mapping[str, Any]) -> None:
        for name, value in tuple(space.items()):
            if name.startswith(("__", "@")) or names.get(name, self) is value:
                continue
            put = functools.partial(space.__setitem__, name)
            self._visit(Slot(f"{module}:{name}", value, put), _DEPTH)

    def _visit(self, slot: Slot, depth: int) -> None:
        value = slot.value
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType, type)):
            return
        found = self._kind_of(value)
        if found is not None:
            if not self._known(value):
                found[slot.path] = value
                if found is self.objects:
                    self._inside_wrapper(slot.path, value, depth)
            return
        if encodable(value, slot.path) is None:
            self.slots[slot.path] = slot
            self._find_tensors(slot.path, value, depth)
            return
        if depth and not self._known(value):
            if isinstance(value, DataLoader):
                self.loaders[slot.path] = value
            parts = list(_parts(slot.path, value))
            self.owners[slot.path] = value
            for part in parts:
                self._visit(part, depth - 1)
            if not parts and not isinstance(value, (*_SILENT, types.FunctionType)):
                self.unknown[slot.path] = value

    def _kind_of(self, value: Any) -> dict[str, Any] | None:
        """Among what a value belongs that is known as a whole; None where it is not."""
        if _has_state(value):
            return self.objects
        if rng.is_generator(value):
            return self.generators
        if place_of(value) is not None:
            return self.iterators
        return self.passes if isinstance(value, _BaseDataLoaderIter) else None

    def _inside_wrapper(self, path: str, value: Any, depth: int) -> None:
        """What a user's own class keeps beside the state that its objects give."""
        if not depth:
            return
        if isinstance(value, torch.nn.Module):
            for inner, module in value.named_modules():
                if _of_user(type(module)):
                    self._beside_state(f"{path}.{inner}" if inner else path, module, depth)
        elif _of_user(type(value)):
            self._beside_state(path, value, depth)

    def _beside_state(self, path: str, thing: Any, depth: int) -> None:
        self.owners[path] = thing
        for part in _attributes(path, thing):
            name = part.path.rpartition(".")[2]
            if isinstance(thing, torch.nn.Module) and (name[0] == "_" or name == "training"):
                continue  # torch's own tables: parameters, buffers, hooks
            if isinstance(thing, Optimizer) and (name[0] == "_" or name in _OF_OPTIMIZERS):
                continue  # what its state_dict gives
            self._visit(part, depth - 1)

    def _find_tensors(self, path: str, value: Any, depth: int) -> None:
        if isinstance(value, torch.Tensor):
            if value.requires_grad and value.is_leaf:
                self.tensors.setdefault(path, value)
        elif isinstance(value, (list, tuple, dict)) and depth:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for name, item in items:
                if isinstance(item, (torch.Tensor, list, tuple, dict)):
                    self._find_tensors(f"{path}[{name!r}]", item, depth - 1)

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
    return table.is_module_rewritten(kind.__module__)


def _parts(path: str, value: Any) -> Iterator[Slot]:
    """Places inside a value that is neither plain nor has a state of its own."""
    for kind, take in _INSIDE.items():
        if isinstance(value, kind):
            yield from take(path, value)
            return
    if _of_user(type(value)):
        yield from _attributes(path, value)


def _items(path: str, value: list[Any] | tuple[Any, ...]) -> Iterator[Slot]:
    for i, item in enumerate(value):
        put = functools.partial(value.__setitem__, i) if isinstance(value, list) else _cannot
        yield Slot(f"{path}[{i}]", item, put)


def _entries(path: str, value: dict[Any, Any]) -> Iterator[Slot]:
    for name, item in tuple(value.items()):
        yield Slot(f"{path}[{name!r}]", item, functools.partial(value.__setitem__, name))


def _in_loader(path: str, value: DataLoader[Any]) -> Iterator[Slot]:
    """Its generators, what the user's own samplers hold, and what the user's dataset counts."""
    for name in ("generator", "sampler", "batch_sampler"):
        part: Any = getattr(value, name, None)
        inner = getattr(part, "generator", None)
        if rng.is_generator(part):
            yield Slot(f"{path}.{name}", part, _cannot)
        elif _of_user(type(part)):
            yield from _attributes(f"{path}.{name}", part)
        elif rng.is_generator(inner):
            yield Slot(f"{path}.{name}.generator", inner, _cannot)
    if _of_user(type(value.dataset)):
        for slot in _attributes(f"{path}.dataset", value.dataset):
            if rng.is_generator(slot.value) or isinstance(slot.value, (int, float, str)):
                yield slot


def _cells(path: str, value: types.FunctionType) -> Iterator[Slot]:
    if not table.is_rewritten(value.__code__.co_filename):
        wrapped = getattr(value, "__wrapped__", None)  # what a library's decorator is around
        if wrapped is not None:
            yield Slot(f"{path}.__wrapped__", wrapped, _cannot)
        return
    for cell, name in zip(value.__closure__ or (), value.__code__.co_freevars, strict=True):
        if _filled(cell):
            put = functools.partial(setattr, cell, "cell_contents")
            yield Slot(f"{path}.{name}", cell.cell_contents, put)


def _self(path: str, value: types.MethodType) -> Iterator[Slot]:
    yield Slot(f"{path}.__self__", value.__self__, _cannot)


def _arguments(path: str, value: functools.partial[Any]) -> Iterator[Slot]:
    for i, item in enumerate((value.func, *value.args, *value.keywords.values())):
        yield Slot(f"{path}({i})", item, _cannot)


_INSIDE: dict[Any, Callable[[str, Any], Iterator[Slot]]] = {
    (list, tuple): _items,
    dict: _entries,
    DataLoader: _in_loader,
    types.FunctionType: _cells,
    types.MethodType: _self,
    functools.partial: _arguments,
}


def _attributes(path: str, value: Any) -> Iterator[Slot]:
    for name, item in tuple(getattr(value, "__dict__", {}).items()):
        yield Slot(f"{path}.{name}", item, functools.partial(setattr, value, name))
    for cls in type(value).__mro__:
        for name, slot in tuple(vars(cls).items()):
            if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                put = functools.partial(setattr, value, name)
                yield Slot(f"{path}.{name}", getattr(value, name), put)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the question
    except ValueError:
        return False
    return True


def _cannot(value: Any) -> None:
    """A place that keeps what it holds; only what is inside can change."""
