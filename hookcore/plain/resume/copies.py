"""What is changed in a worker while it reads: each has copies of its own of all that it reaches."""

from __future__ import annotations

import ast
import collections
import copy
import enum
import functools
import inspect
import itertools
import pathlib
import sys
import textwrap
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from hookcore.plain import table
from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import assigned
from hookcore.plain.resume.loaders import is_stateful
from hookcore.plain.resume.slots import filled
from hookcore.plain.resume.stateful import has_state

_READS = ("__getitem__", "__getitems__", "__iter__", "__next__")
_CHANGES = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "put", "remove", "reverse", "rotate", "setdefault", "sort", "update",
})  # fmt: skip
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_SENT = {
    list, dict, set, frozenset, deque, collections.Counter, collections.OrderedDict,
    collections.defaultdict,
}  # fmt: skip
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_NO_DATA = (types.ModuleType, type, torch.optim.Optimizer, torch.utils.data.DataLoader)
_FEW = 64
"""Items of a container up to which it travels with each batch that changes it."""
_DEPTH = 6


class Sought:
    """What a loader's workers are to look for changes in; it travels to them.

    Args:
        loader: The loader.

    Attributes:
        modules: Names of the project's modules, whose globals the workers have copies of.
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
        self._begun = self._look()
        self._made: dict[str, Any] = {}
        self._values = {path: _copied(value) for path, value in self._begun.plain.items()}
        self._marks = {path: _mark(value) for path, value in self._begun.large.items()}

    def changes(self) -> dict[str, Any]:
        """What is another value than it was as the worker began, and what is lost.

        What no checkpoint could hold anyway, an open file or a connection, is left as each worker
        makes it.
        """
        now = self._look()
        values, lost = {}, [path for path in self._sought.kept if path in now.large]
        for path, value in now.plain.items():
            if _owner_of(path) not in self._begun.owners:  # of something that the worker has made
                known = self._made.setdefault(path, _copied(value))
                can_change = path.rpartition(".")[2] in self._sought.assigned
                lost += [path] if can_change or not _same(value, known) else []
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
            elif type(current) is type(value) and isinstance(value, (list, dict, set, deque)):
                current.clear()
                (current.extend if isinstance(value, (list, deque)) else current.update)(value)
            else:
                owner = _owner_of(path)
                _bind(self._begun.owners[owner], path[len(owner) :].removeprefix("."), value)

    def _look(self) -> _Found:
        found = _Found(frozenset(self._sought.modules))
        for path, root in self._roots.items():
            found.visit(path, root, _DEPTH)
        for name in self._sought.modules:
            if name in sys.modules:
                found.module(name, vars(sys.modules[name]))
        return found


class _Found:
    """What stands where in a worker's copies.

    Args:
        modules: Names of the project's modules.

    Attributes:
        plain: Small plain values and random generators, by path.
        large: Containers, tensors and arrays that are neither, by path.
        owners: What holds them, by path.
    """

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules
        self.plain: dict[str, Any] = {}
        self.large: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}
        self._seen: set[int] = set()

    def module(self, name: str, space: dict[str, Any]) -> None:
        """A module's globals."""
        self.owners[f"{name}:"] = space
        for key, value in tuple(space.items()):
            if not key.startswith(("_", "@")):
                self.visit(f"{name}:{key}", value, 2)

    def visit(self, path: str, value: Any, depth: int) -> None:
        """What stands at a path, and further inside."""
        if _is_plain(value) or _is_small(value) or rng.is_generator(value):
            self.plain[path] = value
            return
        if not depth or id(value) in self._seen or isinstance(value, _NO_DATA):
            return
        self._seen.add(id(value))
        self.owners[path] = value
        if isinstance(value, (*_CONTAINERS, bytearray, torch.Tensor)) or _is_array(value):
            self.large[path] = value
        for name, item in self._inside(value):
            self.visit(f"{path}.{name}" if path else name, item, depth - 1)

    def _inside(self, value: Any) -> Iterator[tuple[str, Any]]:
        own = self._is_own(value)
        if isinstance(value, types.FunctionType):
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            yield from ((n, c.cell_contents) for n, c in cells if own and filled(c))
            yield from vars(value).items() if own else ()
        elif isinstance(value, types.MethodType):
            yield "__self__", value.__self__
        elif isinstance(value, functools.partial):
            yield from ((str(i), part) for i, part in enumerate((value.func, *value.args)))
            yield from value.keywords.items()
        elif isinstance(value, (list, tuple)):
            parts = value if len(value) < _FEW else ()
            yield from ((str(i), part) for i, part in enumerate(parts) if not _is_plain(part))
        elif isinstance(value, dict):
            names = [k for k in value if isinstance(k, str) and k.isidentifier()]
            yield from ((name, value[name]) for name in (names if len(value) < _FEW else ()))
        else:
            for name, item in tuple(getattr(value, "__dict__", {}).items()):
                if own or not (_is_plain(item) or _is_small(item)):
                    yield name, item

    def _is_own(self, value: Any) -> bool:
        """Whether it is the user's, or a dataset: others' objects are only gone through."""
        home = value if isinstance(value, types.FunctionType) else type(value)
        main = home.__module__ == "__mp_main__" and "__main__" in self._modules
        return home.__module__ in self._modules or main or isinstance(value, Dataset)


def changed(dataset: Any) -> dict[str, str]:
    """Paths from a dataset to what reading it can change, each with where it is changed.

    Args:
        dataset: A dataset, or one around others.
    """
    found: dict[str, str] = {}
    for path, inner in datasets_in(dataset):
        for name, where in stored_by(type(inner)).items():  # type: ignore[arg-type] # hashable
            found[f"{path}{name}"] = where
    return found


def datasets_in(dataset: Any, path: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """A dataset and those inside it, each with the path to it."""
    yield path, dataset
    if not depth:
        return
    for name, value in getattr(dataset, "__dict__", {}).items():
        parts = enumerate(value) if isinstance(value, (list, tuple)) and len(value) < _FEW else ()
        inside = [(name, value), *((f"{name}.{i}", part) for i, part in parts)]
        for place, part in inside:
            if isinstance(part, Dataset):
                yield from datasets_in(part, f"{path}{place}.", depth - 1)


@functools.lru_cache(maxsize=256)
def stored_by(kind: type) -> dict[str, str]:
    """Attributes that a class's objects change in themselves while they are read, with where."""
    found: dict[str, str] = {}
    waiting, seen = list(_READS), set()
    while waiting:
        name = waiting.pop()
        function = inspect.getattr_static(kind, name, None)
        function = getattr(function, "fget", function)
        if name in seen or not inspect.isfunction(function):
            continue
        seen.add(name)
        tree, first = _tree_of(function)
        if tree is None or not tree.args.args:
            continue
        own = tree.args.args[0].arg
        where = f"{kind.__name__}.{name}, {_short(function.__code__.co_filename)}"
        for node in ast.walk(tree):
            attribute = _changed_by(node, own)
            if attribute is not None:
                found.setdefault(attribute, f"{where}:{first + getattr(node, 'lineno', 1) - 1}")
            elif isinstance(node, ast.Attribute) and _is_name(node.value, own):
                waiting.append(node.attr)
    return found


def _tree_of(function: Any) -> tuple[ast.FunctionDef | None, int]:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, SyntaxError, TypeError, IndexError):
        return None, 0  # without a source it is taken for what it mostly is: a reader
    return (tree if isinstance(tree, ast.FunctionDef) else None), first


def _changed_by(node: ast.AST, own: str) -> str | None:
    """The attribute of its own object that a node changes, or None."""
    target: ast.AST | None = None
    if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
        target = node
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        target = node.func.value if node.func.attr in _CHANGES else None
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        if isinstance(target, ast.Attribute) and _is_name(target.value, own):
            return target.attr
        target = target.value
    return None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _short(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _owner_of(path: str) -> str:
    """The path of what holds a value."""
    owner, dot, _ = path.rpartition(".")
    module, colon, _ = path.rpartition(":")
    return owner if dot else module + colon


def _is_plain(value: Any) -> bool:
    """Whether it can be compared, sent between processes, and held by a checkpoint."""
    kind = type(value)
    if kind is tuple:
        return len(value) <= _FEW and all(map(_is_plain, value))
    if isinstance(value, (enum.Enum, pathlib.PurePath)):
        return "<locals>" not in kind.__qualname__
    numpy = sys.modules.get("numpy")
    return kind in _ATOMS or (numpy is not None and isinstance(value, numpy.generic))


def _is_small(value: Any) -> bool:
    """Whether it is a container of a few of them."""
    if type(value) not in _SENT or len(value) > _FEW:
        return False
    parts = itertools.chain(value, value.values()) if isinstance(value, dict) else value
    factory = getattr(value, "default_factory", None)
    return all(map(_is_plain, parts)) and factory in (None, int, float, bool, str, list, dict, set)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _copied(value: Any) -> Any:
    return rng.plain_state(value) if rng.is_generator(value) else copy.copy(value)


def _same(value: Any, known: Any) -> bool:
    now = rng.plain_state(value) if rng.is_generator(value) else value
    if type(now) is not type(known):
        return False
    if isinstance(now, dict) and list(now) != list(known):
        return False
    return bool(now == known) or repr(now) == repr(known)  # no NaN is equal to itself


def _mark(value: Any) -> tuple[Any, ...]:
    """What is another once it was replaced, or has grown, or torch has counted a change."""
    if isinstance(value, torch.Tensor):
        return id(value), value._version  # noqa: SLF001 - torch names no other way to ask
    return id(value), len(value) if isinstance(value, collections.abc.Sized) else 0


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
