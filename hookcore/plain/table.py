"""What is known of rewritten code: files, functions, sites and bindings, each by a number.

Rewritten code names a record by its id alone. Ids are unique in the process, over all kinds of
record; across processes a site is known by its file and its ordinal.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, Literal

import attrs

from hookcore.plain.loading.roots import is_cell, project_around
from hookcore.plain.rewriting.parsing import parse

Kind = Literal["for", "while", "comprehension"]

_Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.define(eq=False, kw_only=True)
class Site:
    """One loop of the user's source.

    Attributes:
        id: Its number in this process.
        kind: What it is written as.
        path: The file, as the code object names it.
        line: Line of its head, from 1.
        body: Lines that are its body's alone: none of a comprehension, or of one written in one
            line.
        ordinal: Place among all loops of the file, from 0; the same in every process.
        module: Name of the module whose globals it sees.
        scope: Qualified name of the function it stands in, or ``<module>``.
        function: Id of that function where it reports its return, else None.
        parent: Id of the innermost site around it in the same scope, or None.
        targets: Names of its loop variables; of ``self.epoch`` the name ``epoch``.
        shape: How its target takes an item apart: None, or a tuple with the shape of each part.
        mentions: Names in the iterable expression, or in a ``while``'s condition.
        names: Names that its tail shows and that a restore may bind; none at module level.
        free: Names of enclosing functions that its tail shows too; they cannot be bound.
        has_tail: Whether it has one: not in a comprehension, nor where code may be compiled.
        bindings: Ids of the assignments whose innermost loop it is.
        role_comment: ``epoch``, ``batch``, ``validation`` or ``ignore``, from a comment.
        breaks: Whether a ``break`` leaves it.
        endless: Whether it is a ``while`` whose condition is a true constant.
        follows: Whether code of its scope can run after it.
        may_step: Whether its own source calls a method named ``step``, ``backward`` or
            ``zero_grad``.
    """

    id: int
    kind: Kind
    path: str
    line: int
    ordinal: int
    module: str
    scope: str
    body: range = range(0)
    function: int | None = None
    parent: int | None = None
    targets: tuple[str, ...] = ()
    shape: Any = None
    mentions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    has_tail: bool = False
    bindings: tuple[int, ...] = ()
    role_comment: str | None = None
    breaks: bool = False
    endless: bool = False
    follows: bool = True
    may_step: bool = False

    @property
    def module_level(self) -> bool:
        """Whether its names are the module's globals."""
        return self.scope == "<module>"

    @property
    def shows(self) -> bool:
        """Whether there are names that its tail shows."""
        return bool(self.names or self.free)

    @property
    def where(self) -> str:
        """Its place as a user reads it: ``train.py:31``."""
        return f"{PurePath(self.path).name}:{self.line}"

    def key(self, folder: str) -> tuple[str, int]:
        """What identifies the site in every process.

        Args:
            folder: What the file's path is relative to; a file on another drive stays absolute.
        """
        try:
            return os.path.relpath(self.path, folder), self.ordinal
        except ValueError:
            return self.path, self.ordinal


@attrs.frozen(eq=False, kw_only=True)
class Function:
    """One function that reports its return.

    Attributes:
        id: Its number in this process.
        path: The file, as the code object names it.
        line: Line of its ``def``.
        module: Name of the module whose globals it sees.
        qualname: Its qualified name.
        names: Names that it shows at its return.
        free: Names of enclosing functions that it shows too.
        bindings: Ids of all assignments in it, those inside its loops included.
    """

    id: int
    path: str
    line: int
    module: str
    qualname: str
    names: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    bindings: tuple[int, ...] = ()


@attrs.frozen(eq=False)
class Binding:
    """A name that is assigned to, in one scope, inside one innermost loop.

    Attributes:
        id: Its number in this process.
        name: The name, as it stands in the source.
        function: Id of the function, or None at module level.
        site: Id of the innermost site around the assignment, or None.
    """

    id: int
    name: str
    function: int | None
    site: int | None


@attrs.frozen(eq=False)
class File:
    """One file as it was rewritten for one module.

    Attributes:
        path: The file, as the code objects name it.
        module: Name of the module.
        source: The text that was rewritten.
        sites: Ids of its sites.
        functions: Ids of its reporting functions.
        reason: Why it was left as it is, or None.
    """

    path: str
    module: str
    source: str = attrs.field(repr=False)
    sites: tuple[int, ...] = ()
    functions: tuple[int, ...] = ()
    reason: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what the file does: comments, docstrings and layout do not count."""
        return _digest_of(self.source)


SITES: dict[int, Site] = {}
FUNCTIONS: dict[int, Function] = {}
BINDINGS: dict[int, Binding] = {}
FILES: dict[tuple[str, str], File] = {}
"""By path and module name: a script is ``__main__`` here and may be ``train`` there."""

_paths: set[str] = set()
_modules: set[str] = set()
_ids = itertools.count(1)


def next_id() -> int:
    """A number that no record of this process has."""
    return next(_ids)


def record(
    file: File, sites: list[Site], functions: list[Function], bindings: list[Binding]
) -> None:
    """Enter what was found in one file; to be called before its code runs."""
    SITES.update((site.id, site) for site in sites)
    FUNCTIONS.update((function.id, function) for function in functions)
    BINDINGS.update((binding.id, binding) for binding in bindings)
    FILES[file.path, file.module] = file
    if file.reason is None:
        _paths.add(file.path)
        _modules.add(file.module)


def rewritten() -> list[File]:
    """The files that run with sites in them; those left as they are have a reason."""
    return [file for file in list(FILES.values()) if file.reason is None]


def is_rewritten(path: str) -> bool:
    """Whether a file runs with sites in it."""
    return path in _paths


def is_module_rewritten(name: str) -> bool:
    """Whether a module's file runs with sites in it: the user's own."""
    return name in _modules


def beside(path: str) -> list[File]:
    """The rewritten files of the project that one of them belongs to.

    Another project that runs in this process is none of its loops' business.

    Args:
        path: The file.
    """
    return _of_project(path, rewritten())


def left_alone(path: str) -> list[File]:
    """The files of the same project that were to be rewritten, and are as they were."""
    return _of_project(path, [file for file in list(FILES.values()) if file.reason is not None])


def _of_project(path: str, files: list[File]) -> list[File]:
    folder = Path.cwd() if is_cell(path) else None
    return list(_beside(path, folder, tuple(files)))


@lru_cache(maxsize=16)
def _beside(path: str, _folder: Path | None, files: tuple[File, ...]) -> tuple[File, ...]:
    project, cell = project_around(path), is_cell(path)
    return tuple(
        file
        for file in files
        if file.path == path or (cell and is_cell(file.path)) or project.own(file.path)
    )


def while_sites() -> Iterator[int]:
    """Ids of all ``while`` sites."""
    return (site.id for site in list(SITES.values()) if site.kind == "while")


def digest(tree: ast.Module) -> str:
    """SHA-256 (hex) of a syntax tree: comments, docstrings and positions do not count.

    Empty fields are left out, so that a Python version which adds one changes nothing.
    """
    sha = hashlib.sha256()
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            stack.append(")")
            for name, value in reversed(list(_fields(item))):
                stack += [value, f" {name}="]
            sha.update(f"({type(item).__name__}".encode())
        elif isinstance(item, list):
            stack.append("]")
            stack += reversed(item)
            sha.update(b"[")
        else:
            text = item if type(item) is str else f"{type(item).__name__}:{item!r}"
            sha.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return sha.hexdigest()


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    for name, value in ast.iter_fields(node):
        found = value
        if name == "body" and isinstance(node, _Documented) and ast.get_docstring(node, False):
            found = value[1:]
        if found is None or found == [] or isinstance(found, ast.expr_context):
            continue
        # A user's string must not look like this function's own brackets.
        yield name, ("str", found) if isinstance(found, str) else found


@lru_cache(maxsize=4096)
def _digest_of(source: str) -> str:
    return digest(parse(source))
