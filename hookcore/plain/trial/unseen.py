"""Training loops that stand where hookcore rewrites nothing: read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import attrs

from hookcore.plain import table
from hookcore.plain.rewriting import syntax
from hookcore.plain.rewriting.parsing import parse


@attrs.frozen
class Unseen:
    """A function whose loops nobody watches, though they train.

    Attributes:
        path: The file.
        line: Line of its ``def``.
        name: Its name.
        kind: Why it is left as it is.
        loops: Its loops that call a method named ``step``, ``backward`` or ``zero_grad``.
    """

    path: str
    line: int
    name: str
    kind: str
    loops: tuple[ast.For | ast.AsyncFor | ast.While, ...]


def unseen() -> Iterator[Unseen]:
    """Generator and async functions of the rewritten files that hold a loop which trains."""
    for file in table.rewritten():
        for node in ast.walk(parse(file.source)):
            if not isinstance(node, syntax.DEFINITIONS):
                continue
            scope = syntax.scope_of(node)
            suspended = scope.suspends or isinstance(node, ast.AsyncFunctionDef)
            loops = tuple(
                inner
                for inner in ast.walk(node)
                if isinstance(inner, (ast.For, ast.AsyncFor, ast.While))
                and any(map(syntax.is_training_call, ast.walk(inner)))
            )
            if suspended and loops:
                kind = "generator function" if scope.suspends else "async function"
                yield Unseen(file.path, node.lineno, node.name, kind, loops)
