"""What a loop cannot have changed: left as the script makes it, in a checkpoint and on resume.

A resumed run may be given other arguments than the first one, more epochs above all. So a value
that nothing in the loop can change is not put back, and data that is only read is not saved.
"""

from __future__ import annotations

import argparse
import ast
import enum
import pathlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import attrs
import torch

from hookcore.plain import table
from hookcore.plain.buffers import is_shared
from hookcore.plain.resume.carried import carried, read_after
from hookcore.plain.resume.flat import is_flat
from hookcore.plain.rewriting.parsing import parse
from hookcore.plain.rewriting.syntax import ordinals

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), range, enum.Enum, pathlib.PurePath)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DYNAMIC = ("setattr", "delattr", "vars", "globals")
_PAST_TORCH = ("data", "numpy", "storage", "untyped_storage", "__array__")
_SHARES = ("from_numpy", "as_tensor", "asarray", "from_dlpack", "frombuffer")
MANY = 4096
"""Items from which on a value is taken for data, unless the project's code handles it."""
_PARTS = re.compile(r"[.\[(]")
_CLASS = re.compile(r"^_(?!_)\w+?(?=__)")


class Constants:
    """Tells for one loop which of the values it reaches it cannot have changed.

    A name changes by being bound inside the loop, or by a function that declares it global or
    nonlocal; an attribute by an assignment, one of ``__init__`` to what it makes apart; a tensor
    by an operation in place, which torch counts unless its memory is handed out past it.

    Args:
        site: The loop.
    """

    def __init__(self, site: table.Site) -> None:
        self._site = site
        self._bound, self._mentioned, self._read = _names_in(_source_of(site.path), site.ordinal)
        files = tuple(sorted({file.source for file in table.beside(site.path)}))
        self._changes = _changed_anywhere(files)

    def holds(self, path: str, value: Any) -> bool:
        """Whether the value at this path is as the script made it before the loop."""
        if isinstance(value, argparse.Namespace):
            changed = bool(set(vars(value)) & self._changes.attributes) or self._changes.dynamic
            return not changed and not self.rebound(path)
        if immutable(value):
            return not self.rebound(path)
        if isinstance(value, torch.Tensor) and not value.requires_grad:
            if value.is_inference():
                return False  # torch does not count what happens to it
            unchanged = value._version == 0  # noqa: SLF001 - torch names no other way to ask
            name = _PARTS.split(path.rpartition(":")[2])[-1]
            exposed = name in self._changes.exposed
            if is_shared(value):
                exposed = exposed or value.numel() <= MANY or name in self._changes.handled
            return unchanged and not exposed and not self.rebound(path)
        return self.only_reads(path) and (is_flat(value) or _flat(value))

    def only_reads(self, path: str) -> bool:
        """Whether it does no more with a name than read its items and the length."""
        return self._own_name(path) in self._read and not self.rebound(path)

    def anew(self, *, goes_on: bool) -> frozenset[str]:
        """Paths of names that an iteration binds before it reads them.

        Args:
            goes_on: Whether an iteration is sure to follow; else code behind the loop may read.
        """
        source, site = _source_of(self._site.path), self._site
        names = self._bound - carried(source, site.ordinal)
        names -= frozenset() if goes_on else read_after(source, site.ordinal)
        return frozenset(f"{site.module}:{n}" for n in names) if site.module_level else names

    def taken_along(self) -> frozenset[str]:
        """Paths of names that it binds, and may read before it binds them the next time."""
        names = self._bound & carried(_source_of(self._site.path), self._site.ordinal)
        module = f"{self._site.module}:" if self._site.module_level else ""
        return frozenset(module + name for name in names)

    def concerns(self, path: str) -> bool:
        """Whether the loop can have to do with what stands at this path."""
        module, colon, rest = path.partition(":")
        name = _PARTS.split(rest if colon else module)[0]
        return name in self._mentioned or (bool(colon) and name in self._changes.used)

    def _own_name(self, path: str) -> str:
        """The path as the loop's own code writes it."""
        own = f"{self._site.module}:"
        return path.removeprefix(own) if self._site.module_level else path

    def rebound(self, path: str) -> bool:
        """Whether any name on the way to a value, or the value's own, is bound to another."""
        if "[" in path or "(" in path:
            return True
        module, colon, rest = path.rpartition(":")
        first, *attributes = rest.split(".")
        # A private name has its class before it here, and none in the source.
        attributes += [_CLASS.sub("", name) for name in attributes]
        changes = self._changes
        if not (changes.attributes | changes.declared).isdisjoint(attributes):
            return True
        if first in changes.declared or ((attributes or colon) and changes.dynamic):
            return True
        if not colon:
            return first in self._bound
        own = self._site.module_level and module == self._site.module
        return first in changes.attributes or (own and first in self._bound)


def read_before(outer: table.Site, inner: table.Site | None) -> Callable[[str], bool]:
    """Tells whether a loop's body reads a name before a loop inside begins.

    Args:
        outer: The loop.
        inner: The loop inside, in the same function; None where it is in another one.
    """
    place, source = None if inner is None else inner.ordinal, _source_of(outer.path)
    read = _read_before(source, outer.ordinal, place) & carried(source, outer.ordinal)

    def needed(path: str) -> bool:
        module, colon, rest = path.partition(":")
        return bool(colon) or _PARTS.split(rest if colon else module)[0] in read

    return needed


def touched(files: Iterable[table.File]) -> Callable[[str], bool]:
    """Tells whether code of these files does more with an attribute of a name than read its items.

    Args:
        files: The project's.
    """
    changes = _changed_anywhere(tuple(sorted({file.source for file in files})))
    names = changes.attributes | changes.handled
    return lambda name: changes.dynamic or name in names


def assigned(files: Iterable[table.File]) -> frozenset[str]:
    """Attributes that code of these files assigns to, other than as an object is made."""
    return frozenset(_changed_anywhere(tuple(sorted({f.source for f in files}))).attributes)


def bound_in_loops(files: Iterable[table.File]) -> frozenset[str]:
    """Names that a loop of a file binds: what they lead to may have another name before it."""
    return _bound_anywhere(tuple(sorted({file.source for file in files})))


def immutable(value: Any) -> bool:
    """Whether nothing can change it in place."""
    if type(value) is tuple:
        return all(immutable(item) for item in value)
    return isinstance(value, _IMMUTABLE)


def _source_of(path: str) -> str:
    return next(file.source for file in table.rewritten() if file.path == path)


def _flat(value: Any) -> bool:
    """A table of plain values, of which a reader can change nothing."""
    if isinstance(value, (list, tuple)):
        return all(immutable(item) for item in value)
    if isinstance(value, dict):
        return all(immutable(item) for item in value.values())
    return type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 1


@lru_cache(maxsize=64)
def _names_in(
    source: str, ordinal: int
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names bound or deleted inside one loop, its head included; mentioned there; only read there.

    What a function around the loop only reads, as ``rates[epoch]``, stays as the script makes it.
    """
    tree = parse(source)
    loop = next(node for node, n in ordinals(tree).items() if n == ordinal)
    names = [node for node in ast.walk(loop) if isinstance(node, ast.Name)]
    outside = {id(node) for node in ast.walk(tree) if isinstance(node, _SCOPES)}
    outside -= {id(node) for node in ast.walk(loop)}
    shared = {
        node.id
        for scope in ast.walk(tree)
        if id(scope) in outside and loop not in ast.walk(scope)
        for node in ast.walk(scope)
        if isinstance(node, ast.Name)
    }
    reads = {id(node) for node in ast.walk(loop) for node in _reading(node)}
    changed = {node.id for node in names if id(node) not in reads}
    mentioned = frozenset(node.id for node in names)
    return frozenset(_stored(ast.walk(loop))), mentioned, mentioned - changed - shared


@lru_cache(maxsize=64)
def _read_before(source: str, outer: int, inner: int | None) -> frozenset[str]:
    places = {n: node for node, n in ordinals(parse(source)).items()}
    loop = places[outer]
    found: set[str] = set()
    for part in [*loop.body, *loop.orelse] if isinstance(loop, (ast.For, ast.While)) else [loop]:
        nodes = list(ast.walk(part))
        names = [n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
        if inner is not None and places[inner] in nodes:
            # Of the statement that holds the loop inside only what stands before that loop.
            found.update(n.id for n in names if n.lineno <= places[inner].lineno)
            break
        found.update(n.id for n in names)
    return frozenset(found)


def _reading(node: ast.AST) -> Iterable[ast.expr]:
    """Names that a node only reads an item or the length of."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        if not any(isinstance(part, ast.Slice) for part in ast.walk(node.slice)):
            yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        yield from node.args
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield node.iter
    elif isinstance(node, ast.Compare):
        tests = zip(node.ops, node.comparators, strict=True)
        yield from (part for test, part in tests if isinstance(test, (ast.In, ast.NotIn)))


@attrs.define
class _Changes:
    """What some sources change.

    Attributes:
        attributes: Attributes assigned, those that ``__init__`` gives its object apart.
        declared: Names declared global or nonlocal.
        handled: Attributes that are used otherwise than to read an item or the length.
        exposed: Names of tensors whose memory is handed out.
        used: Names that functions mention.
        dynamic: Whether anything is changed by a name in a string.
    """

    attributes: set[str] = attrs.field(factory=set)
    declared: set[str] = attrs.field(factory=set)
    handled: set[str] = attrs.field(factory=set)
    exposed: set[str] = attrs.field(factory=set)
    used: set[str] = attrs.field(factory=set)
    dynamic: bool = False

    def add(self, other: _Changes) -> None:
        self.attributes |= other.attributes
        self.declared |= other.declared
        self.handled |= other.handled
        self.exposed |= other.exposed
        self.used |= other.used
        self.dynamic = self.dynamic or other.dynamic

    def note(self, node: ast.AST, made: str | None) -> None:
        """What one node changes.

        Args:
            node: The node.
            made: In ``__init__``, the name of the object that it makes; else None.
        """
        if made is not None:
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                self.declared.update(node.names)
            elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                self.attributes.update(() if _is_part(node, made) else (node.attr,))
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self.declared.update(node.names)
        elif isinstance(node, ast.Attribute):
            if not isinstance(node.ctx, ast.Load):
                self.attributes.add(node.attr)
            elif node.attr in _PAST_TORCH:
                self.exposed.update(_last_name(node.value))
            self.dynamic = self.dynamic or node.attr == "__dict__"
        elif isinstance(node, ast.Assign) and _from_numpy(node.value):
            self.exposed.update(name for target in node.targets for name in _last_name(target))
        elif isinstance(node, _SCOPES):
            if any("cached_property" in _last_name(d) for d in getattr(node, "decorator_list", ())):
                self.attributes.add(node.name)  # type: ignore[union-attr] # what has one has a name
            body = node.body if isinstance(node.body, list) else [node.body]
            self.used.update(
                name.id for part in body for name in ast.walk(part) if isinstance(name, ast.Name)
            )
        elif isinstance(node, ast.Name):
            self.dynamic = self.dynamic or node.id in _DYNAMIC


@lru_cache(maxsize=8)
def _bound_anywhere(sources: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*map(_bound_in, sources))


@lru_cache(maxsize=4096)
def _bound_in(source: str) -> frozenset[str]:
    loops = [node for node in ast.walk(parse(source)) if isinstance(node, (ast.For, ast.While))]
    return frozenset(name for loop in loops for name in _stored(ast.walk(loop)))


@lru_cache(maxsize=8)
def _changed_anywhere(sources: tuple[str, ...]) -> _Changes:
    changes = _Changes()
    for source in sources:
        changes.add(_changed_in(source))
    return changes


@lru_cache(maxsize=4096)
def _changed_in(source: str) -> _Changes:
    """Of one file: a module that is imported later has the others read no second time."""
    changes = _Changes()
    waiting: list[tuple[ast.AST, str | None]] = [(parse(source), None)]
    reads: set[ast.expr] = set()
    while waiting:
        node, made = waiting.pop()
        changes.note(node, made)
        reads.update(_reading(node))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            changes.handled.update(() if node in reads else (node.attr,))
        if isinstance(node, _SCOPES):
            made = _made_by(node)  # a function inside __init__ is called later
        waiting.extend((part, made) for part in ast.iter_child_nodes(node))
    return changes


def _made_by(node: ast.AST) -> str | None:
    """The name by which ``__init__`` calls the object that it makes."""
    if not (isinstance(node, ast.FunctionDef) and node.name == "__init__"):
        return None
    arguments = [*node.args.posonlyargs, *node.args.args]
    return arguments[0].arg if arguments else None


def _is_part(node: ast.Attribute, made: str) -> bool:
    """Whether an attribute is one of an object that is being made, or further inside it."""
    inner: ast.expr = node.value
    while isinstance(inner, ast.Attribute) and inner.attr != "__class__":
        inner = inner.value
    return isinstance(inner, ast.Name) and inner.id == made


def _last_name(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    return (node.attr,) if isinstance(node, ast.Attribute) else ()


def _from_numpy(value: ast.expr) -> bool:
    calls = (node.func for node in ast.walk(value) if isinstance(node, ast.Call))
    return any(name in _SHARES for function in calls for name in _last_name(function))


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
