"""What comes of a loop that is stopped: the code after it, and what its function returns."""

from __future__ import annotations

import ast
from typing import Any

from hookcore.plain import table
from hookcore.plain.rewriting.parsing import parse
from hookcore.plain.rewriting.syntax import DEFINITIONS, Definition, own
from hookcore.plain.table import Site


def stopping(site: Site) -> dict[str, Any]:
    """Say what runs after the fit's outermost loop has been ended as if it were exhausted.

    Args:
        site: That loop.
    """
    return {"follows": site.follows, "intended": _is_intended(site), "says": _says(site)}


def _is_intended(site: Site) -> bool:
    """Whether the loop's own code ever comes past the loop's end."""
    return not site.endless or site.breaks


def _says(site: Site) -> str:
    if site.module_level:
        if not site.follows:
            return "nothing stands after the loop: the script ends"
        rest = "the code after the loop runs"
        return rest if _is_intended(site) else f"{rest}, which no break of this loop ever reached"
    name = site.scope.rpartition(".")[2]
    function = _function_of(site)
    inside = function is not None and _returns_inside(function, site)
    if site.follows:
        rest = f"the code after the loop runs, and {name}() returns what it returns there"
        return rest if _is_intended(site) else f"{rest}, though no break of this loop leads to it"
    rest = f"nothing stands after the loop: {name}() returns None"
    return f"{rest}, where its own code returns a value from inside the loop" if inside else rest


def _function_of(site: Site) -> Definition | None:
    for file in table.rewritten():
        if file.path != site.path or file.module != site.module:
            continue
        for node in ast.walk(parse(file.source)):
            if isinstance(node, DEFINITIONS) and any(
                getattr(inner, "lineno", 0) == site.line and isinstance(inner, (ast.For, ast.While))
                for inner in own(node)
            ):
                return node
    return None


def _returns_inside(function: Definition, site: Site) -> bool:
    return any(
        isinstance(node, ast.Return) and node.value is not None and node.lineno > site.line
        for node in own(function)
    )
