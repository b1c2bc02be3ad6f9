"""What a loop cannot have changed: left as the script makes it, in a checkpoint and on resume.

A resumed run may be given other arguments than the first one, more epochs above all. So a value
that nothing in the loop can change is not put back, and data that is only read is not saved.
"""

from __future__ import annotations

import argparse
import ast
import enum
import pathlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch

from hookcore.plain import table
from hookcore.plain.syntax import ordinals

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), range, enum.Enum, pathlib.PurePath)


class Constants:
    """Tells for one loop which of the values it reaches it cannot have changed.

    A name changes by being bound inside the loop, or by a function that declares it global or
    nonlocal; an attribute by an assignment outside ``__init__``; a tensor by an operation in
    place, which torch counts.

    Args:
        site: The loop.
    """

    def __init__(self, site: table.Site) -> None:
        self._bound = _bound_in(_source_of(site.path), site.ordinal)
        files = tuple(sorted({file.source for file in table.rewritten()}))
        self._attributes, self._declared, self._dynamic = _changed_anywhere(files)

    def holds(self, path: str, value: Any) -> bool:
        """Whether the value at this path is as the script made it before the loop."""
        if isinstance(value, argparse.Namespace):
            changed = bool(set(vars(value)) & self._attributes) or self._dynamic
            return not changed and not self._rebound(path)
        if _immutable(value):
            return not self._rebound(path)
        if isinstance(value, torch.Tensor) and not value.requires_grad:
            return value._version == 0 and not self._rebound(path)
        return False

    def _rebound(self, path: str) -> bool:
        name = path.rpartition(":")[2]
        if "." in name or "[" in name:
            return self._dynamic or "[" in name or name.rpartition(".")[2] in self._attributes
        if ":" in path:
            return name in self._declared or name in self._attributes
        return name in self._bound or name in self._declared


def _immutable(value: Any) -> bool:
    if type(value) is tuple:
        return all(_immutable(item) for item in value)
    return isinstance(value, _IMMUTABLE)


def _source_of(path: str) -> str:
    return next(file.source for file in table.rewritten() if file.path == path)


@lru_cache(maxsize=64)
def _bound_in(source: str, ordinal: int) -> frozenset[str]:
    """Names that are bound or deleted anywhere inside one loop, its head included."""
    tree = ast.parse(source)
    loop = next((node for node, n in ordinals(tree).items() if n == ordinal), None)
    return frozenset() if loop is None else frozenset(_stored(ast.walk(loop)))


@lru_cache(maxsize=8)
def _changed_anywhere(sources: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str], bool]:
    """Attributes assigned outside ``__init__``, names declared global or nonlocal, setattr used."""
    attributes: set[str] = set()
    declared: set[str] = set()
    dynamic = False
    for source in sources:
        waiting: list[ast.AST] = [ast.parse(source)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                declared.update(node.names)
            elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                attributes.add(node.attr)
            elif isinstance(node, ast.Name) and node.id in ("setattr", "delattr", "vars"):
                dynamic = True
            dynamic = dynamic or (isinstance(node, ast.Attribute) and node.attr == "__dict__")
            if not (isinstance(node, ast.FunctionDef) and node.name == "__init__"):
                waiting.extend(ast.iter_child_nodes(node))
    return frozenset(attributes), frozenset(declared), dynamic


def _stored(nodes: Iterable[ast.AST]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
