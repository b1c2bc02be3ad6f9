"""Objects of a training that are alive: modules, optimizers, schedulers, scalers."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer


@attrs.frozen
class Found:
    """What one look over the living objects found.

    Attributes:
        modules: Every module.
        optimizers: Every optimizer.
        schedulers: Every learning-rate scheduler.
        scalers: Every ``GradScaler``.
    """

    modules: tuple[Any, ...]
    optimizers: tuple[Any, ...]
    schedulers: tuple[Any, ...]
    scalers: tuple[Any, ...]

    def roots_of(self, parameters: set[int]) -> list[Any]:
        """Modules that own some of the parameters and are part of no other module that does.

        The largest first; a compiled wrapper stands for the module inside it.
        """
        owners = [m for m in self.modules if any(id(p) in parameters for p in m.parameters())]
        inner = {id(child) for m in owners for child in m.modules() if child is not m}
        roots = [_unwrapped(m) for m in owners if id(m) not in inner]
        return list({id(m): m for m in roots}.values())

    def compiled(self, roots: Iterable[Any]) -> dict[Any, Any]:
        """What ``torch.compile`` has made of root modules, each with its root."""
        mine = {id(root): root for root in roots}
        inner = ((m, m._modules.get("_orig_mod")) for m in self.modules)  # noqa: SLF001 - no public word for it
        return {m: mine[id(root)] for m, root in inner if id(root) in mine}

    def schedulers_of(self, optimizers: Iterable[Any]) -> tuple[Any, ...]:
        """Schedulers that drive one of the optimizers; parts of a chain are left to the chain."""
        mine = {id(o) for o in optimizers}
        found = [s for s in self.schedulers if id(getattr(s, "optimizer", None)) in mine]
        parts = {id(p) for s in found for p in getattr(s, "_schedulers", ())}
        return tuple(s for s in found if id(s) not in parts)


def live_objects() -> Found:
    """Look once over everything the garbage collector knows: 30 to 100 ms."""
    kinds: tuple[type, ...] = (torch.nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler)
    found: tuple[list[Any], ...] = ([], [], [], [])
    verdicts: dict[type, int] = {}
    for thing in gc.get_objects():
        kind = type(thing)
        place = verdicts.get(kind)
        if place is None:
            place = next((i for i, k in enumerate(kinds) if issubclass(kind, k)), -1)
            if issubclass(kind, torch.jit.ScriptModule):
                place = -1  # it takes no hooks, and what it was made from is here, too
            verdicts[kind] = place
        if place >= 0:
            found[place].append(thing)
    return Found(*(tuple(part) for part in found))


def called_in_place_of(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """What is called when a model is: itself, or the parts of one that has no ``forward``."""
    if type(model).forward is not torch.nn.Module.forward:
        yield model
        return
    for part in model.children():
        yield from called_in_place_of(part)


def in_turn(optimizer: Any, key: int | str, total: int) -> bool:
    """Whether a list, tuple or dict of so many optimizers has this one at this place."""
    return any(
        type(holder) in (list, tuple, dict)
        and len(holder) == total > 1
        and _at(holder, key) is optimizer
        and all(isinstance(one, Optimizer) for one in _values(holder))
        for holder in gc.get_referrers(optimizer)
    )


def _at(holder: Any, key: int | str) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    return holder[key] if isinstance(key, int) and 0 <= key < len(holder) else None


def _values(holder: Any) -> Iterable[Any]:
    return holder.values() if isinstance(holder, dict) else holder


def leaves_of(loss: Any) -> set[int]:
    """``id`` of every leaf tensor that a backward pass from ``loss`` gives a gradient to."""
    found: set[int] = set()
    seen = set()
    waiting = [getattr(loss, "grad_fn", None)]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.add(id(leaf))
        waiting += [following for following, _ in node.next_functions]
    return found


def _unwrapped(module: Any) -> Any:
    return getattr(module, "_orig_mod", module)
