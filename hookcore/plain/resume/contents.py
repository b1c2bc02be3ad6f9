"""What stands where in the objects that a worker has copies of."""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import pathlib
import sys
import types
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from operator import is_
from typing import Any

import torch
from torch.utils.data import Dataset

from hookcore.plain.buffers import is_shared
from hookcore.plain.resume import rng
from hookcore.plain.resume.reading import FEW, home_in
from hookcore.plain.resume.slots import KEEPS_RESULTS, attributes, filled, space_of
from hookcore.plain.resume.turning import place_of

_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_SENT = {
    list, dict, set, frozenset, deque, collections.Counter, collections.OrderedDict,
    collections.defaultdict,
}  # fmt: skip
_ORDERED = _SENT - {set, frozenset}
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_NO_DATA = (types.ModuleType, torch.optim.Optimizer, torch.utils.data.DataLoader)
_TAKEN = (
    types.GeneratorType, enumerate, filter, map, reversed, zip, itertools.chain, itertools.cycle,
    itertools.islice, itertools.repeat,
)  # fmt: skip
_DEPTH = 6


class Contents:
    """What stands where, as far as it is not known already.

    Args:
        modules: Names of the project's modules.
        known: Copies of what stood there before, by path: what is still the same is passed over.

    Attributes:
        plain: Small plain values and random generators, by path.
        large: Containers, tensors and arrays that are neither, by path.
        caches: Functions that keep their results, by path.
        taken: Iterators whose place cannot be told, by path.
        owners: What holds them, by path.
    """

    def __init__(self, modules: Collection[str], known: Mapping[str, Any]) -> None:
        self._modules, self._known = modules, known
        self.plain: dict[str, Any] = {}
        self.large: dict[str, Any] = {}
        self.caches: dict[str, Any] = {}
        self.taken: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}
        self._seen: set[int] = set()

    def root(self, path: str, value: Any) -> None:
        """What data is read with."""
        self._visit(path, value, _DEPTH)

    def variables(self, module: str, space: dict[str, Any], names: Collection[str]) -> None:
        """Globals of a module."""
        self.owners[f"{module}:"] = space
        for name in names:
            if name in space and not name.startswith(("__", "@")):
                self._visit(f"{module}:{name}", space[name], 2)

    def _visit(self, path: str, value: Any, depth: int) -> None:
        if path in self._known and _is_untouched(value, self._known[path]):
            return
        if _is_plain(value) or _is_small(value) or has_place(value):
            self.plain[path] = value
            return
        foreign = isinstance(value, type) and home_in(self._modules, value.__module__) is None
        if not depth or id(value) in self._seen or isinstance(value, _NO_DATA) or foreign:
            return
        if isinstance(value, torch.Tensor) and is_shared(value):
            return  # it is no copy
        self._seen.add(id(value))
        if isinstance(value, (*_TAKEN, KEEPS_RESULTS)):
            (self.taken if isinstance(value, _TAKEN) else self.caches)[path] = value
            return
        self.owners[path] = value
        if isinstance(value, (*_CONTAINERS, bytearray, torch.Tensor)) or _is_array(value):
            self.large[path] = value
        for name, item in self._inside(value):
            self._visit(f"{path}.{name}" if path else name, item, depth - 1)

    def _inside(self, value: Any) -> Iterator[tuple[str, Any]]:
        own = self._is_own(value)
        if isinstance(value, types.FunctionType):
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            yield from ((n, c.cell_contents) for n, c in cells if own and filled(c))
            yield from vars(value).items() if own else ()
            yield from _defaults(value) if own else ()
        elif isinstance(value, type):
            yield from _kept_on(value)
        elif isinstance(value, types.MethodType):
            yield "__self__", value.__self__
        elif isinstance(value, functools.partial):
            yield from ((str(i), part) for i, part in enumerate((value.func, *value.args)))
            yield from value.keywords.items()
        elif isinstance(value, (list, tuple)):
            parts = value if len(value) < FEW else ()
            yield from ((str(i), part) for i, part in enumerate(parts) if not _is_plain(part))
        elif isinstance(value, dict):
            names = [k for k in value if isinstance(k, str) and k.isidentifier()]
            yield from ((name, value[name]) for name in (names if len(value) < FEW else ()))
        else:
            for slot in attributes("", value) if own else ():
                yield slot.path[1:], slot.value
            if own:
                yield "__class__", type(value)
                return
            for name, item in tuple(space_of(value).items()):
                if not (_is_plain(item) or _is_small(item)):
                    yield name, item

    def _is_own(self, value: Any) -> bool:
        """Whether it is the user's, or a dataset: others' objects are only gone through."""
        home = value if isinstance(value, types.FunctionType) else type(value)
        own = home_in(self._modules, home.__module__) is not None
        return own or isinstance(value, Dataset)


def has_place(value: Any) -> bool:
    """Whether it is a random generator, or an iterator, whose state is a plain value."""
    return rng.is_generator(value) or place_of(value) is not None


def _defaults(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Default values that a call can change."""
    values = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from ((f"({n})", item) for n, item in enumerate(values) if not _is_plain(item))


def _kept_on(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class holds beside what makes its objects."""
    if issubclass(kind, enum.Enum):
        return
    yield from ((f"__bases__({n})", base) for n, base in enumerate(kind.__bases__))
    for name, item in tuple(vars(kind).items()):
        if isinstance(item, types.FunctionType):
            wanted = bool(item.__defaults__ or item.__kwdefaults__ or vars(item))
        else:
            bound = hasattr(type(item), "__get__") and not isinstance(item, KEEPS_RESULTS)
            wanted = not (name.startswith("__") or bound)
        if wanted:
            yield name, item


def _is_untouched(value: Any, known: Any) -> bool:
    """Whether it holds the very objects that its copy does; where not, it may still be equal."""
    if value is known:
        return True
    if type(value) not in _ORDERED or type(value) is not type(known) or len(value) != len(known):
        return False
    inside = not isinstance(value, dict) or all(map(is_, value.values(), known.values()))
    return inside and all(map(is_, value, known))


def _is_plain(value: Any) -> bool:
    """Whether it can be compared, sent between processes, and held by a checkpoint."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= FEW and all(map(_is_plain, value))
    if isinstance(value, (enum.Enum, pathlib.PurePath)):
        return "<locals>" not in kind.__qualname__
    numpy = sys.modules.get("numpy")
    return kind in _ATOMS or (numpy is not None and isinstance(value, numpy.generic))


def _is_small(value: Any) -> bool:
    """Whether it is a container of a few of them."""
    if type(value) not in _SENT or len(value) > FEW:
        return False
    parts = itertools.chain(value, value.values()) if isinstance(value, dict) else value
    factory = getattr(value, "default_factory", None)
    return all(map(_is_plain, parts)) and factory in (None, int, float, bool, str, list, dict, set)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)
