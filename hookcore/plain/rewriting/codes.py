"""Code objects of one file: finding a function's, and laying two compilations side by side."""

from __future__ import annotations

import keyword
from collections import Counter
from collections.abc import Iterator
from types import CodeType

from hookcore.plain.rewriting import syntax

_KEPT = (
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_freevars",
    "co_cellvars",
    "co_flags",
)


def children(code: CodeType) -> Iterator[CodeType]:
    """The code objects that a code object makes functions and classes of."""
    return (item for item in code.co_consts if isinstance(item, CodeType))


def within(code: CodeType) -> Iterator[CodeType]:
    """A code object and everything inside it."""
    stack = [code]
    while stack:
        item = stack.pop()
        yield item
        stack += children(item)


def pairs(plain: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of two compilations of one file, matched by their place in it.

    Args:
        plain: Python's own.
        new: The rewritten one; it may hold more, for a loop that never ended can be ended in it.
    """
    stack = [(plain, new)]
    while stack:
        left, right = stack.pop()
        yield left, right
        places = dict(_placed(right))
        stack += [(child, places[place]) for place, child in _placed(left) if place in places]


def _placed(code: CodeType) -> Iterator[tuple[tuple[str, int, int], CodeType]]:
    counts: Counter[tuple[str, int]] = Counter()
    for child in children(code):
        name, line = child.co_name, child.co_firstlineno
        counts[name, line] += 1
        yield (name, line, counts[name, line]), child


def difference(plain: CodeType, new: CodeType) -> str | None:
    """What would stop a function from taking over rewritten code, or None."""
    for left, right in pairs(plain, new):
        for name in _KEPT:
            if getattr(left, name) != getattr(right, name):
                return f"{name} of {left.co_name} (line {left.co_firstlineno})"
    return None


class Codes:
    """The functions' code objects of one file, found by name and line.

    Args:
        plain: Python's own compilation.
    """

    def __init__(self, plain: CodeType) -> None:
        self._by_place = {(code.co_name, code.co_firstlineno): code for code in within(plain)}

    def of(self, function: syntax.Definition) -> CodeType | None:
        """A function's code; None where Python has seen that it can never be defined."""
        return self._by_place.get((function.name, syntax.first_line(function)))


def is_variable(name: str) -> bool:
    """Whether a name of a code object can be written in a program."""
    return name.isidentifier() and not keyword.iskeyword(name) and not is_class_cell(name)


def is_class_cell(name: str) -> bool:
    """Whether a name is one of those that the compiler makes for classes."""
    return name in {"__class__", "__classdict__", "__conditional_annotations__"}
