"""Values put back into a run's places: in place where it can be, and shared as they were."""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from hookcore.plain.buffers import address, memory
from hookcore.plain.resume.memory import Memory
from hookcore.snapshot import home

_SPACES = (argparse.Namespace, types.SimpleNamespace)


class Refill:
    """Makes what a run holds equal to what a snapshot holds, and keeps its identity.

    Two frames may hold the same list, and one of them is out of reach: so a list is filled, not
    replaced. What was one object in the snapshot becomes one object here, and an object that
    stands for one of the snapshot's stands for no other.

    Args:
        aliases: A snapshot's tensors that are parts of an object's state, by address and shape,
            and the live ones they stand for.
        owned: Addresses of the live objects' memory, which nothing else may be copied into.
    """

    def __init__(
        self, aliases: Mapping[tuple[int, Any], torch.Tensor], owned: Iterable[int | None] = ()
    ) -> None:
        self._aliases = aliases
        self._owned = frozenset(owned)
        self._made: dict[int, tuple[Any, Any]] = {}  # keeps what it knows by id alive
        self._memory = Memory()
        self._taken: dict[int, Any] = {}

    def into(self, current: Any, wanted: Any) -> Any:
        """What is to stand where ``current`` stands: itself, made equal to ``wanted``, if it can.

        Args:
            current: What stands there now, or None.
            wanted: The snapshot's value; its parts may end up in use.
        """
        known = self._made.get(id(wanted))
        if known is not None:
            return known[1]
        if isinstance(wanted, torch.Tensor):
            return self._is(wanted, self._tensor(current, wanted))
        if isinstance(wanted, tuple):
            return self._tuple(current, wanted)
        if isinstance(wanted, (list, deque, dict, set, bytearray, *_SPACES)):
            target = self._target(current, wanted)
            self._fill(target, current if target is current else None, wanted)
            return target
        if dataclasses.is_dataclass(wanted) and not isinstance(wanted, type):
            return self._instance(current, wanted)
        if type(wanted).__module__ == "numpy" and hasattr(wanted, "flags"):
            return self._is(wanted, self._array(current, wanted))
        return wanted

    def _is(self, wanted: Any, result: Any) -> Any:
        self._made[id(wanted)] = wanted, result
        self._taken[id(result)] = result
        return result

    def _free(self, current: Any, wanted: Any) -> bool:
        return type(current) is type(wanted) and id(current) not in self._taken

    def _target(self, current: Any, wanted: Any) -> Any:
        """The container to fill, made known before its parts: it may contain itself."""
        same = self._free(current, wanted)
        if same and isinstance(wanted, deque):
            same = current.maxlen == wanted.maxlen
        return self._is(wanted, current if same else wanted)

    def _fill(self, target: Any, current: Any, wanted: Any) -> None:
        if isinstance(wanted, (list, deque)):
            old = list(current or ())
            old += [None] * (len(wanted) - len(old))
            items = [self.into(before, item) for before, item in zip(old, wanted, strict=False)]
            target.clear()
            target.extend(items)
        elif isinstance(wanted, dict):
            self._fill_dict(target, current, wanted)
        elif isinstance(wanted, _SPACES):
            self._fill_dict(vars(target), vars(current) if current else None, vars(wanted))
        elif isinstance(wanted, bytearray):
            target[:] = wanted
        elif target is not wanted:
            target.clear()
            target.update(wanted)

    def _fill_dict(
        self, target: dict[Any, Any], current: dict[Any, Any] | None, wanted: dict[Any, Any]
    ) -> None:
        old = dict(current or {})
        items = {}
        for name, item in wanted.items():
            key = self.into(None, name)  # a tensor is the live one that it stands for
            items[key] = self.into(old.get(key), item)
        target.clear()
        target.update(items)

    def _tuple(self, current: Any, wanted: Any) -> Any:
        old = list(current) if type(current) is type(wanted) else []
        old += [None] * (len(wanted) - len(old))
        items = [self.into(before, item) for before, item in zip(old, wanted, strict=False)]
        if all(item is before for item, before in zip(items, wanted, strict=True)):
            return self._is(wanted, wanted)
        make = getattr(type(wanted), "_make", tuple)
        return self._is(wanted, make(items))

    def _instance(self, current: Any, wanted: Any) -> Any:
        frozen = type(wanted).__dataclass_params__.frozen
        same = not frozen and self._free(current, wanted)
        target = self._is(wanted, current if same else wanted)
        for name in _attributes(wanted):
            before = getattr(current, name, None) if same else None
            object.__setattr__(target, name, self.into(before, getattr(wanted, name)))
        return target

    def _tensor(self, current: Any, wanted: torch.Tensor) -> torch.Tensor:
        place = address(wanted) if wanted.numel() else None
        live = None if place is None else self._aliases.get(place)
        if live is not None:
            return live
        there = wanted.to(home(wanted))
        fits = self._free(current, wanted) and _alike(current, there)
        if not fits or self._memory.is_elsewhere(wanted, current):
            view = self._memory.view(wanted)
            there = there if view is None else view
            return there.requires_grad_(wanted.requires_grad) if there.is_leaf else there
        if memory(current) in self._owned:
            return there
        with torch.no_grad():
            current.copy_(there)
        self._memory.note(wanted, current)
        return current  # type: ignore[no-any-return] # _free has compared its type

    def _array(self, current: Any, wanted: Any) -> Any:
        fits = self._free(current, wanted) and wanted.shape and current.flags.writeable
        fits = fits and (current.shape, current.dtype) == (wanted.shape, wanted.dtype)
        if not fits or self._memory.is_elsewhere(wanted, current):
            view = self._memory.view(wanted)
            return wanted if view is None else view
        current[...] = wanted
        self._memory.note(wanted, current)
        return current


def _alike(current: torch.Tensor, there: torch.Tensor) -> bool:
    return (
        current.shape == there.shape
        and current.dtype == there.dtype
        and current.device == there.device
        and current.layout == there.layout == torch.strided
        and current.grad_fn is None
        and current.requires_grad == there.requires_grad
    )


def _attributes(instance: Any) -> list[str]:
    """Names of everything an instance holds, in its dictionary and its slots."""
    slots = [
        name
        for cls in type(instance).__mro__
        for name, item in vars(cls).items()
        if isinstance(item, types.MemberDescriptorType) and hasattr(instance, name)
    ]
    return [*getattr(instance, "__dict__", {}), *slots]
