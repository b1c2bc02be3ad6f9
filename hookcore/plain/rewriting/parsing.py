"""Source to a syntax tree once more, without Python's warnings: they have been given."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN = "<read again by hookcore>"


def parse(source: str) -> ast.Module:
    """The tree of a text that Python has compiled before.

    Args:
        source: The text.
    """
    with unwarned(_AGAIN):
        return ast.parse(source, _AGAIN)


@contextmanager
def unwarned(path: str) -> Iterator[None]:
    """Drop Python's warnings about one file, though a filter turns them into errors.

    ``warnings.catch_warnings`` would also make Python forget which warnings it has shown.

    Args:
        path: The file, as it is named to the compiler.
    """
    # The compiler asks the filters for each warning, under the file's name without its ending.
    module = re.compile(re.escape(path.removesuffix(".py")) + r"\Z")
    ours = ("ignore", None, Warning, module, 0)
    filters: Any = warnings.filters
    filters.insert(0, ours)
    try:
        yield
    finally:
        if ours in filters:
            filters.remove(ours)
