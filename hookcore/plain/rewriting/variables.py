"""Which variables of a function inserted code reads, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType

from hookcore.plain.rewriting import syntax
from hookcore.plain.rewriting.codes import is_variable
from hookcore.plain.rewriting.snippets import Variable


def variables(
    function: syntax.Definition, scope: syntax.Scope, code: CodeType, owner: str
) -> Iterator[Variable]:
    """The variables of a function: its own in the order of ``co_varnames``, then the others.

    Every insertion mentions all of them in this order. Whatever the compiler has met before is
    the beginning of it, so the order stays what it is without the insertion.

    Args:
        function: The function.
        scope: What it binds.
        code: What Python makes of it.
        owner: Name of the class around it, for private names.
    """
    early = syntax.early_declarations(function)
    for name in code.co_varnames:
        source = _as_written(name, owner)
        if source in scope.first:
            # A nested function may bind or unbind what it shares.
            own = name not in code.co_cellvars
            steady = own and source not in scope.deleted
            yield Variable(source, name, steady=steady, line=scope.first[source] if own else 0)
        elif is_variable(name):
            yield Variable(source, name, shown=False, hidden=source not in scope.definitions)
    for name in code.co_cellvars:
        source = _as_written(name, owner)
        if source in scope.first and name not in code.co_varnames:
            yield Variable(source, name)
    for source in sorted(early.intersection(scope.first)):
        yield Variable(source, source)
    for name in code.co_freevars:
        source = _as_written(name, owner)
        if is_variable(name) and source not in scope.declared:
            yield Variable(source, name, settable=False)


def _as_written(name: str, owner: str) -> str:
    """A private name without the class name that the compiler puts before it."""
    prefix = f"_{owner.lstrip('_')}"
    private = owner and name.startswith(f"{prefix}__") and not name.endswith("__")
    return name[len(prefix) :] if private else name
