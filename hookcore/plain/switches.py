"""Where a project switches gradients off, and no ``eval()`` tells of an evaluation there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from hookcore.plain import table
from hookcore.plain.rewriting.parsing import parse
from hookcore.plain.rewriting.syntax import first_line

if TYPE_CHECKING:
    from hookcore.plain.sites import Loop

_MODE = re.compile(r"\b(no_grad|inference_mode|set_grad_enabled)\b(\s+as\b)?")
_EVAL = re.compile(r"\.\s*eval\b")
_NEWLINE = re.compile(r"\r\n|\r|\n")  # a form feed is none to Python

_ALL = frozenset({"no_grad", "inference_mode", "set_grad_enabled"})


def untold(loop: Loop) -> frozenset[str]:
    """Gradient modes by which a loop's project may evaluate without ``eval()``.

    Args:
        loop: The loop; of one that is declared the project is not known.
    """
    if loop.declared:
        return _ALL
    found: set[str] = set()
    for file in table.beside(loop.site.path):
        found |= _untold_in(file.source)
    for file in table.left_alone(loop.site.path):
        found.update(name for _, name, _ in _mentioned(file.source))
    return frozenset(found)


@lru_cache(maxsize=256)
def _untold_in(source: str) -> frozenset[str]:
    """Those that one file mentions in a loop or function which mentions no ``eval()``."""
    mentions = list(_mentioned(source))
    if not mentions:
        return frozenset()
    told = [number for number, line in _lines(source) if _EVAL.search(line)]
    blocks = [(1, len(source)), *_blocks(parse(source))]

    def is_told(line: int) -> bool:
        around = (block for block in blocks if block[0] <= line <= block[1])
        first, last = min(around, key=lambda block: block[1] - block[0])
        return any(first <= other <= last for other in told)

    return frozenset(name for line, name, renamed in mentions if renamed or not is_told(line))


def _mentioned(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line and name of each mention, and whether it gives another name."""
    if _MODE.search(source) is None:
        return
    for number, line in _lines(source):
        for match in _MODE.finditer(line):
            yield number, match[1], match[2] is not None


def _blocks(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of each loop and function."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield first_line(node), node.end_lineno or node.lineno
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            yield node.lineno, node.end_lineno or node.lineno


def _lines(source: str) -> Iterator[tuple[int, str]]:
    return enumerate(_NEWLINE.split(source), 1)
