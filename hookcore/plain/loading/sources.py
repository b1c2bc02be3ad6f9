"""Where a live function's source is, and whether its code can be replaced."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import zipfile
from pathlib import Path
from types import CodeType, FunctionType

from hookcore.errors import NotRewritable
from hookcore.plain.loading.roots import is_cell, is_standard_library, never
from hookcore.plain.loading.unwrap import WAY_OUT, Unswappable
from hookcore.plain.rewriting.codes import children
from hookcore.plain.rewriting.parsing import unwarned

_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag


SUSPENDED = {
    inspect.CO_GENERATOR: "a generator function, whose loop is suspended at each yield",
    inspect.CO_COROUTINE: "a coroutine function",
    inspect.CO_ASYNC_GENERATOR: "an asynchronous generator function",
}
"""Functions whose loops are not followed, by the flag of their code."""


def require(function: FunctionType) -> None:
    """See that a loop's function is of a kind that can be rewritten.

    Raises:
        NotRewritable: It is not; says why.
    """
    code = function.__code__
    reason = next((text for flag, text in SUSPENDED.items() if code.co_flags & flag), None)
    if reason is not None:
        why = f"it is {reason}"
    elif code.co_name == "<lambda>":
        why = "it is a lambda, which has no loop of its own; pass the function that has"
    elif never(function.__module__ or ""):
        why = f"it belongs to {function.__module__.partition('.')[0]}, which is never rewritten"
    elif is_standard_library(code.co_filename):
        why = "it belongs to Python's standard library, which is never rewritten"
    else:
        return
    raise NotRewritable(_what(function), why, WAY_OUT)


def refusal(function: FunctionType, why: str) -> Unswappable:
    """The error that says why a loop's code cannot be replaced."""
    return Unswappable(_what(function), why, WAY_OUT)


def _what(function: FunctionType) -> str:
    place = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    return f"{function.__module__}.{function.__qualname__} ({place}) cannot be instrumented"


def source_of(path: str) -> str | bytes:
    """The source that a code object's file name leads to.

    Args:
        path: ``co_filename``.

    Raises:
        LookupError: There is none; says why.
    """
    file = Path(path)
    try:
        if file.is_file():
            return file.read_bytes()
    except (OSError, ValueError) as error:
        raise LookupError(f"its source cannot be read: {error}") from error
    # Since Python 3.13 the text of ``python -c`` goes by the name that exec gives, too.
    lines = [] if path == "<string>" else linecache.getlines(path)
    if lines:
        return "".join(lines)
    if path.startswith("<frozen"):
        raise LookupError("it is frozen into the interpreter, without its source")
    if any(part.is_file() and zipfile.is_zipfile(part) for part in file.parents):
        raise LookupError("its source is inside a zip archive")
    if path.startswith("<"):
        raise LookupError(f"it was made by exec or eval, as {path}: there is no source")
    raise LookupError(f"there is no file {path}")


def flags_of(code: CodeType) -> int:
    """The flags that input at a prompt was compiled with: its cells share their ``__future__``."""
    future = code.co_flags & _FUTURE
    return future | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if is_cell(code.co_filename) else 0


def compiled_apart(source: str | bytes, path: str, flags: int) -> CodeType:
    """What a prompt or a notebook makes of a cell, which it compiles statement by statement.

    Calls of what a module imports are compiled otherwise than calls of what another statement has
    imported. It is to be laid beside the functions that are alive; nobody runs it.

    Args:
        source: The cell.
        path: Its name.
        flags: The compiler's.
    """
    with unwarned(path):
        whole: CodeType = compile(source, path, "exec", flags, dont_inherit=True)
        statements = ast.parse(source, path).body
        parts: list[CodeType] = [
            compile(ast.Module([node], []), path, "exec", flags, dont_inherit=True)
            for node in statements
        ]
    apart = [code for part in parts for code in children(part)]
    if len(apart) != len(list(children(whole))):
        return whole
    rest = iter(apart)
    consts = tuple(next(rest) if isinstance(one, CodeType) else one for one in whole.co_consts)
    return whole.replace(co_consts=consts)
