"""What a loop can reach: the objects and values behind the names of its frame and its modules."""

from __future__ import annotations

import functools
import io
import sys
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import MANY, assigned, bound_in_loops, touched
from hookcore.plain.resume.flat import is_table
from hookcore.plain.resume.homes import home_of
from hookcore.plain.resume.paths import name_of, spelled
from hookcore.plain.resume.reading import written_by_others
from hookcore.plain.resume.slots import (
    BY_KEY,
    DEFINED,
    Slot,
    attributes,
    behind,
    cannot,
    hooks_of,
    kept_on,
    of_user,
    parts_of,
)
from hookcore.plain.resume.stateful import has_state
from hookcore.plain.resume.turning import place_of
from hookcore.snapshot import encodable

if TYPE_CHECKING:
    from hookcore.plain.resume.still import Still

GRADIENT = " (gradient)"
"""What follows the path of a tensor whose gradient is kept on its own."""

DEPTH = 32
"""Objects within objects that are gone through; what lies deeper is told."""

GROUPS = "param_groups"
_SILENT = (
    types.ModuleType, types.BuiltinFunctionType, type, torch.nn.Module, torch.device, torch.dtype,
    DataLoader, torch.utils.data.Dataset, torch.utils.data.Sampler,
)  # fmt: skip
# Loggers, locks, parsers: what of theirs changes is not the training's.
_NO_STATE = {*sys.stdlib_module_names, "hookcore"}
_HOLDING = (BaseException, io.StringIO, io.BytesIO)


class Reach:
    """Everything with a state behind some names.

    Args:
        names: Variables of a frame.
        frame_module: Name of the module it belongs to.
        files: Files whose modules' globals are searched too.
        still: Tells which of those globals stand still; there are places of the others alone then.

    Attributes:
        objects: Objects with ``state_dict`` and ``load_state_dict``, by path.
        slots: Places of plain values, by path.
        tables: Those paths among them where nothing but plain values stands.
        generators: Explicit random generators, by path.
        iterators: Iterators whose place can be told, by path.
        passes: Running iterators of DataLoaders, by path.
        loaders: DataLoaders, by path.
        unknown: What has no state that could be taken, by path.
        deep: What lies too deep to be looked at, by path.
        owners: Lists, dictionaries and objects that have such places, by path.
        definitions: Functions and classes, by path.
        same: Paths that lead to what was found at another path, which is its value.
        parts: Modules inside the objects, by path.
        tensors: Tensors of the user's own that require gradients, by path.
        modules: Names of the modules searched, each with what it holds.
        kept: Plain values of globals that stand still and may be changed all the same, by path.
        numbers: Whole numbers among them that the loop cannot have changed, by path.
        homes: Homes of functions and classes among them whose names may be bound to others.
        caches: Functions among them that keep their results, by path.
    """

    def __init__(
        self,
        names: Mapping[str, Any],
        frame_module: str,
        files: Iterable[table.File],
        still: Still | None = None,
    ) -> None:
        self.objects: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}
        self.tables: dict[str, None] = {}
        self.generators: dict[str, Any] = {}
        self.iterators: dict[str, Any] = {}
        self.passes: dict[str, Any] = {}
        self.loaders: dict[str, DataLoader[Any]] = {}
        self.unknown: dict[str, Any] = {}
        self.deep: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}
        self.same: dict[str, str] = {}
        self.definitions: dict[str, Any] = {}
        self.parts: dict[str, torch.nn.Module] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self.modules: dict[str, dict[str, Any]] = {}
        self.kept: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.homes: dict[str, str] = {}
        self.caches: dict[str, Any] = {}
        self._seen: dict[int, tuple[Any, str]] = {}
        files = tuple(files)
        self._project = dict.fromkeys([frame_module, *[file.module for file in files]])
        self._touched, self._assigned = touched(files), assigned(files)
        # What they lead to mostly has a name of its own, by which it is found in the next run, too.
        self._bound = bound_in_loops(files)
        self._inside: dict[int, str] = {}
        self._in_data = 0
        self._written: frozenset[str] = frozenset()
        self._waiting: list[tuple[Slot, int, int]] = []
        self._all_known = False
        self._still, self._frame_known = still, False
        for name in self._ordered(names):
            self._visit(Slot(name, names[name], None), DEPTH)
        self._frame_known = True
        if still is None:
            self._visit_modules(names)
        else:
            self._add_still(still, names)
            for module, space, name in still.others:
                self._visit_global(module, space, name, names)
        self._all_known = True
        for slot, depth, in_data in self._waiting:
            self._in_data = in_data
            self._visit(slot, depth)
        self._in_data = 0

    def add(self, path: str, value: Any) -> None:
        """Reach what has come into being since."""
        self._visit(Slot(path, value, None), DEPTH)

    def left_out(self, parts: Mapping[str, Any]) -> None:
        """Note what the states of objects hold and no checkpoint can, unless it is reached itself.

        Args:
            parts: Such parts, by path.
        """
        places = (self.objects, self.owners, self.unknown)
        reached = {id(known) for found in places for known in found.values()}
        for path, part in parts.items():
            if id(part) not in reached and not _is_none_of_training(part):
                self.unknown[path] = part

    def path_of(self, wanted: Any) -> str | None:
        """The path under which an object was found, or None."""
        return next((path for path, value in self.objects.items() if value is wanted), None)

    def standing(self, path: str) -> Any:
        """The object or the container that stands at a path, or None."""
        for found in (self.objects, self.owners, self.parts):
            if path in found:
                return found[path]
        return None

    def known(self, value: Any) -> str | None:
        """The path at which an object was found, or None."""
        seen = self._seen.get(id(value))
        if seen is not None:
            return seen[1]
        still = None if self._still is None else self._still.path_of(value)
        return self._inside.get(id(value)) if still is None else still

    def forget(self, path: str) -> None:
        """What was reached through an object that gives way to another."""
        if path not in self.owners:
            return
        inside = (f"{path}.", f"{path}[")
        for found in (self.slots, self.owners, self.objects, self.generators, self.iterators,
                      self.loaders, self.same):  # fmt: skip
            for name in [name for name in found if name.startswith(inside)]:
                del found[name]

    def open(self, path: str, parts: list[Any]) -> None:
        """Have what stands in a tuple or a set be put into a list."""
        for i in range(len(parts)):
            slot = self.slots.get(f"{path}[{i}]")
            if slot is not None:
                put = functools.partial(parts.__setitem__, i)
                self.slots[slot.path] = Slot(slot.path, slot.value, put)

    def _ordered(self, names: Iterable[str]) -> list[str]:
        """Those first that no loop binds."""
        return sorted(names, key=self._bound.__contains__)

    def _add_still(self, still: Still, names: Mapping[str, Any]) -> None:
        hidden = still.hidden(names)
        self.kept = {p: value for p, value in still.values.items() if p not in hidden}
        self.unknown.update({p: v for p, v in still.unknown.items() if p not in hidden})
        self.numbers, self.homes, self.caches = still.numbers, still.homes, still.caches

    def _visit_modules(self, names: Mapping[str, Any]) -> None:
        for module in self._project:
            found = sys.modules.get(module)
            if found is not None:
                space = self.modules[module] = vars(found)
                for name in self._ordered(tuple(space)):
                    if not name.startswith(("__", "@")):
                        self._visit_global(module, space, name, names)

    def _visit_global(
        self, module: str, space: dict[str, Any], name: str, names: Mapping[str, Any]
    ) -> None:
        value = space.get(name, self)
        if value is not self and names.get(name, self) is not value:
            put = functools.partial(space.__setitem__, name)
            self._visit(Slot(f"{module}:{name}", value, put), DEPTH)

    def _visit(self, slot: Slot, depth: int) -> None:
        value = slot.value
        if self._in_data and self._is_only_read(slot):
            return
        if is_table(value):
            self.slots[slot.path] = slot
            self.tables[slot.path] = None
            return
        if isinstance(value, types.ModuleType):
            return
        if isinstance(value, (types.BuiltinFunctionType, *DEFINED)):
            self.definitions[slot.path] = value
            self._visit_definition(slot.path, value, depth)
            return
        if of_user(type(value)):
            self._visit_definition(f"{slot.path}.__class__", type(value), depth)
        found = self._kind_of(value)
        if found is not None:
            self._note_whole(found, slot, depth)
            return
        if encodable(value, slot.path) is None:
            self.slots[slot.path] = slot
            self._find_tensors(slot.path, value, depth)
            return
        if self._waits_for_keys(value):
            self._waiting.append((slot, depth, self._in_data))
        elif not self._known(slot.path, value):
            self._visit_parts(slot.path, value, depth)

    def _visit_parts(self, path: str, value: Any, depth: int) -> None:
        """What is in a container or an object."""
        if isinstance(value, DataLoader):
            self.loaders[path] = value
        parts = list(parts_of(path, value, self.known))
        if parts and not depth:
            self.deep[path] = value
            return
        self.owners[path] = value
        data = isinstance(value, (DataLoader, torch.utils.data.Dataset))
        around = self._written
        if data:
            self._written = written_by_others(type(value))  # type: ignore[arg-type] # it is hashable
        self._in_data += data
        for part in parts:
            self._visit(part, depth - 1)
        self._in_data -= data
        self._written = around
        if not parts and not self._in_data and not is_silent(value):
            self.unknown[path] = value

    def _waits_for_keys(self, value: Any) -> bool:
        """Whether a dictionary has keys that are best named by where else they are found."""
        if self._all_known or not isinstance(value, BY_KEY) or id(value) in self._seen:
            return False
        return any(text[0] in "&#" for text in spelled(value, self.known))

    def _is_only_read(self, slot: Slot) -> bool:
        """Whether it is a large part of data, of which nothing but items are read."""
        name = slot.path.rpartition(".")[2].partition("[")[0]
        return _is_large(slot.value) and not (name in self._written or self._touched(name))

    def _visit_definition(self, path: str, value: Any, depth: int) -> None:
        """A function or a class: what it can reach, and what the project keeps on it."""
        still = self._still is not None and self._still.holds(value)
        builtin = isinstance(value, types.BuiltinFunctionType)
        if not depth or builtin or (still and self._frame_known):
            return
        if self._known(path, value) or still:
            return
        own = value.__module__ in self._project
        path = (home_of(value) if own else None) or path
        parts = [] if isinstance(value, type) else list(behind(path, value))
        parts += kept_on(path, value) if own else ()
        if own or parts:
            self.owners[path] = value
        for part in parts:
            self._visit(part, depth - 1)

    def _note_whole(self, kind: dict[str, Any], slot: Slot, depth: int) -> None:
        value = slot.value
        part = self._inside.get(id(value))
        if part is not None and name_of(slot.path).rpartition(":")[2] in self._bound:
            self.same[slot.path] = part
        elif not self._known(slot.path, value):
            kind[slot.path] = value
            if kind is self.objects:
                self._inside_wrapper(slot.path, value, depth)

    def _kind_of(self, value: Any) -> dict[str, Any] | None:
        """Among what a value belongs that is known as a whole; None where it is not."""
        if isinstance(value, _BaseDataLoaderIter):
            return self.passes
        if has_state(value) and not isinstance(value, DataLoader):
            return self.objects
        if rng.is_generator(value):
            return self.generators
        return self.iterators if place_of(value) is not None else None

    def _inside_wrapper(self, path: str, value: Any, depth: int) -> None:
        """What is kept beside the state that an object gives, and what its hooks keep."""
        if not depth:
            return
        for hook in hooks_of(path, value):
            self._visit(hook, depth - 1)
        if isinstance(value, torch.nn.Module):
            for inner, module in value.named_modules():
                place = f"{path}.{inner}" if inner else path
                if inner:
                    self.parts[place] = module
                    self._inside.setdefault(id(module), place)
                self._beside_state(place, module, depth)
            return
        if isinstance(value, Optimizer):
            for number, group in enumerate(value.param_groups):
                self._in_group(f"{path}.{GROUPS}[{number}]", group, depth)
        self._beside_state(path, value, depth)
        if type(value).state_dict is LRScheduler.state_dict and not of_user(type(value)):
            for part in attributes(path, value):  # its state is no more than what it holds
                if has_state(part.value):
                    self._visit(part, depth - 1)

    def _in_group(self, path: str, group: dict[str, Any], depth: int) -> None:
        """The user's own objects among an optimizer's settings."""
        for name, value in group.items():
            if of_user(type(value)):
                self._visit(Slot(f"{path}[{name!r}]", value, cannot), depth - 1)

    def _beside_state(self, path: str, thing: Any, depth: int) -> None:
        """Of a class of the user's own all that it keeps; else what the project's code assigns."""
        own = of_user(type(thing))
        if own:
            self._visit_definition(f"{path}.__class__", type(thing), depth)
        elif self._assigned.isdisjoint(getattr(thing, "__dict__", ())):
            return
        self.owners[path] = thing
        torchs = _torchs_own(type(thing))  # type: ignore[arg-type] # a class is hashable
        for part in attributes(path, thing):
            name = part.path.rpartition(".")[2]
            if name not in torchs and (own or name in self._assigned):
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

    def _known(self, path: str, value: Any) -> bool:
        if id(value) in self._seen:
            self.same[path] = self._seen[id(value)][1]
            return True
        self._seen[id(value)] = value, path
        return False


@functools.cache
def _torchs_own(kind: type) -> frozenset[str]:
    """Attributes that torch gives to every module or optimizer: tables, hooks, what is state."""
    if issubclass(kind, torch.nn.Module):
        return frozenset(vars(torch.nn.Module()))
    if issubclass(kind, Optimizer):
        made = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        return frozenset((*vars(made), "_opt_called"))
    return frozenset()


def is_silent(value: Any) -> bool:
    """Whether nothing need be said where such an object stands, though no state of it is taken."""
    return isinstance(value, _SILENT) or _is_none_of_training(value)


def _is_none_of_training(value: Any) -> bool:
    kind = type(value)
    tells = hasattr(kind, "__next__") and not isinstance(value, io.IOBase)
    foreign = kind.__module__.partition(".")[0] in _NO_STATE
    return foreign and not tells and not isinstance(value, _HOLDING)


def _is_large(value: Any) -> bool:
    """Whether it has many items; a tensor that was changed in place is not taken for data."""
    if isinstance(value, torch.Tensor):
        return value.numel() > MANY and value._version == 0  # noqa: SLF001 - torch names no other way to ask
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], torch.Tensor):
        return all(map(_is_large, value))
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return len(value) > MANY
    size = getattr(value, "size", None) if type(value).__module__ == "numpy" else 0
    return isinstance(size, int) and size > MANY
