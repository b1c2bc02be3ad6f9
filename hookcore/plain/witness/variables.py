"""The user's variables as they stand at one moment, read from the frames that lead to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import attrs
import torch
from torch.optim.optimizer import Optimizer

from hookcore.plain.witness.digests import Digests, Token, attributes, members_of

_NO_VALUES = (ModuleType, BuiltinFunctionType, MethodType)
_DESCRIPTORS = (property, staticmethod, classmethod, MemberDescriptorType, GetSetDescriptorType)
_HOLDERS = (FunctionType, type)
Items = dict[str, dict[str, Token]]
"""Kind of thing, then its name, to its digest."""


@attrs.define(eq=False)
class Variables:
    """Reads frames.

    Args:
        own: Whether a file is the user's.
        where: Gives a file and a line as the user reads them.
        ignored: Names of variables that the user wants left out.

    Attributes:
        unread: Names whose values have no digest, to the types of those values.
    """

    own: Callable[[str], bool]
    where: Callable[[str, int], str]
    ignored: frozenset[str] = frozenset()
    unread: dict[str, str] = attrs.field(factory=dict)
    _own_classes: dict[type, bool] = attrs.field(factory=dict)

    def frames(self, frame: FrameType | None) -> list[FrameType]:
        """The user's frames from this one outwards, innermost first."""
        found = []
        while frame is not None:
            if self.own(frame.f_code.co_filename):
                found.append(frame)
            frame = frame.f_back
        return found

    def place(self, frame: FrameType) -> str:
        """Where a frame stands."""
        return self.where(frame.f_code.co_filename, frame.f_lineno)

    def read(self, frames: list[FrameType], optimizers: list[Optimizer]) -> Items:
        """Everything the frames' names lead to, weights and optimizers' states apart.

        Args:
            frames: The user's frames.
            optimizers: Those that have stepped; they count though no name leads to them.
        """
        reading = _Reading(Digests(self._is_own_class), self.unread)
        scopes: set[int] = set()
        for frame in frames:
            code, names = frame.f_code, frame.f_locals
            file = self._file(code.co_filename)
            if names is not frame.f_globals:
                reading.scope(self._values(names), f"{code.co_name}() in {file}")
            if id(frame.f_globals) not in scopes:
                scopes.add(id(frame.f_globals))
                reading.scope(self._values(frame.f_globals), file)
        reading.optimizers(optimizers)
        return reading.items

    def module(self, module: ModuleType, optimizers: list[Optimizer]) -> Items:
        """The same of a module whose code has run."""
        reading = _Reading(Digests(self._is_own_class), self.unread)
        file = self._file(getattr(module, "__file__", None) or "__main__")
        reading.scope(self._values(vars(module)), file)
        reading.optimizers(optimizers)
        return reading.items

    def token(self, value: Any) -> Token | None:
        """The digest of a single value."""
        return Digests(self._is_own_class).of(value)

    # -- inside ----------------------------------------------------------------------------

    def _values(self, names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in list(names.items()):
            wanted = name.isidentifier() and not name.startswith("__") and name not in self.ignored
            if wanted and not isinstance(value, _NO_VALUES):
                yield name, value

    def _file(self, path: str) -> str:
        return self.where(path, 0).rpartition(":")[0]

    def _is_own_class(self, kind: type) -> bool:
        known = self._own_classes.get(kind)
        if known is None:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            known = file is not None and self.own(str(Path(file).absolute()))
            self._own_classes[kind] = known
        return known


class _Reading:
    """One moment's items."""

    def __init__(self, digests: Digests, unread: dict[str, str]) -> None:
        self.items: Items = {"weights": {}, "optimizer": {}, "variable": {}}
        self._digests = digests
        self._unread = unread
        self._seen: set[int] = set()

    def scope(self, values: Iterator[tuple[str, Any]], scope: str) -> None:
        """The names of a frame or a module."""
        for name, value in values:
            self._add(name, value, scope, deeper=True)

    def optimizers(self, optimizers: list[Optimizer]) -> None:
        """Those that no name has led to, and parameters that no module has."""
        for number, optimizer in enumerate(optimizers):
            if id(optimizer) not in self._seen:
                self._optimizer(f"optimizer {number + 1}", optimizer)
            for group in optimizer.param_groups:
                for i, parameter in enumerate(group["params"]):
                    if id(parameter) not in self._seen:
                        self._seen.add(id(parameter))
                        self._put("weights", f"optimizer {number + 1}'s parameter {i}", parameter)

    def _add(self, name: str, value: Any, scope: str, *, deeper: bool) -> None:
        if isinstance(value, torch.nn.Module):
            self._module(name, value)
        elif isinstance(value, Optimizer):
            if id(value) not in self._seen:
                self._optimizer(name, value)
        elif deeper and (isinstance(value, _HOLDERS) or self._is_open(value)):
            for inner, part in self._inside(value):
                self._add(f"{name}.{inner}", part, scope, deeper=False)
        elif isinstance(value, _HOLDERS):
            return
        else:
            self._put("variable", f"{name} of {scope}", value)

    def _is_open(self, value: Any) -> bool:
        """Whether an object is the user's own, with no other word for its state."""
        return self._digests.own(type(value)) and not hasattr(type(value), "state_dict")

    def _inside(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Attributes; of functions and classes those that the user's own code may have set."""
        if isinstance(value, type):
            if not self._digests.own(value):
                return
            found: Mapping[str, Any] = vars(value)
        else:
            found = value.__dict__ if isinstance(value, FunctionType) else attributes(value)
        for name, part in list(found.items()):
            if name.startswith("__") or isinstance(part, (*_NO_VALUES, *_HOLDERS, *_DESCRIPTORS)):
                continue
            yield name, part

    def _module(self, name: str, module: torch.nn.Module) -> None:
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        self._seen.update(id(parameter) for parameter in module.parameters())
        for path, part in members_of(module):
            self._put("weights", f"{name}.{path}", part)

    def _optimizer(self, name: str, optimizer: Optimizer) -> None:
        self._seen.add(id(optimizer))
        number = 0
        for i, group in enumerate(optimizer.param_groups):
            for option, value in group.items():
                if option != "params":
                    self._put("optimizer", f"{name}.param_groups[{i}].{option}", value)
            for parameter in group["params"]:
                for key, value in optimizer.state.get(parameter, {}).items():
                    self._put("optimizer", f"{name}.state[{number}].{key}", value)
                number += 1

    def _put(self, kind: str, name: str, value: Any) -> None:
        token = self._digests.of(value)
        if token is None:
            self._unread[name] = f"{type(value).__module__}.{type(value).__qualname__}"
        else:
            self.items[kind][name] = token
