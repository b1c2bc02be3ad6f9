"""What a dataset changes in itself while it is read: each worker changes a copy of its own."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import sys
import textwrap
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import immutable

_READS = ("__getitem__", "__getitems__", "__iter__", "__next__")
_CHANGES = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "put", "remove", "reverse", "rotate", "setdefault", "sort", "update",
})  # fmt: skip
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_HELD = (*_CONTAINERS, bytearray, torch.Tensor)
_FEW = 64
"""Items of a container up to which it travels with each batch that changes it."""


def changed(dataset: Any) -> dict[str, str]:
    """Paths from a dataset to what reading it can change, each with where it is changed.

    Args:
        dataset: A dataset, or one around others.
    """
    found: dict[str, str] = {}
    for path, inner in datasets_in(dataset):
        kind: Any = type(inner)
        for name, where in stored_by(kind).items():
            found[f"{path}{name}"] = where
        for name, value in getattr(inner, "__dict__", {}).items():
            if _is_random(value):
                found.setdefault(f"{path}{name}", type(inner).__name__)
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


def _is_random(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return rng.is_generator(value) or (
        numpy is not None and isinstance(value, numpy.random.RandomState)
    )


def take(dataset: Any, paths: Mapping[str, str]) -> dict[str, Any]:
    """What stands at some paths, small and plain; and the paths of what is neither.

    What no checkpoint could hold anyway, an open file or a connection, is left as each worker
    makes it.
    """
    values: dict[str, Any] = {}
    lost = []
    for path in paths:
        owner, name = _owner_of(dataset, path)
        value = vars(owner).get(name)
        if isinstance(value, torch.Generator):
            values[path] = value.get_state().numpy().tobytes()
        elif rng.is_generator(value) and _is_comparable(state := rng.take_generator(value)):
            values[path] = state
        elif immutable(value):
            values[path] = value
        elif _is_small(value):
            values[path] = copy.copy(value)
        elif isinstance(value, _HELD) or type(value).__module__ == "numpy" or _is_random(value):
            lost.append(path)
    return {"values": values, "lost": lost}


def put(dataset: Any, values: Mapping[str, Any]) -> None:
    """Have the same values stand at their paths."""
    for path, value in values.items():
        owner, name = _owner_of(dataset, path)
        current = vars(owner).get(name)
        if isinstance(current, torch.Generator):
            current.set_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))
        elif rng.is_generator(current):
            rng.put_generator(current, value)
        else:
            setattr(owner, name, value)


def _is_small(value: Any) -> bool:
    if not isinstance(value, _CONTAINERS) or len(value) > _FEW:
        return False
    return all(map(immutable, value.values() if isinstance(value, dict) else value))


def _is_comparable(state: Any) -> bool:
    """Whether a generator's state is of plain numbers; arrays do not compare."""
    inner = state.get("state") if isinstance(state, dict) else None
    return not isinstance(inner, dict) or all(map(immutable, inner.values()))


def _owner_of(dataset: Any, path: str) -> tuple[Any, str]:
    *way, name = path.split(".")
    for part in way:
        dataset = dataset[int(part)] if part.isdigit() else getattr(dataset, part)
    return dataset, name
