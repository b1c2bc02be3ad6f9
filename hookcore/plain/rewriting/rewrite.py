"""Source to code with sites: the whole file's syntax tree, compiled by Python itself.

What is put in says where loops begin, iterate and end, which names an iteration bound, and what
a function returns. It reaches hookcore through one global, ``@hookcore``; it adds no variable,
no closure and no argument, and what it puts in has the place of the user's own code.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import decode_source
from types import CodeType

import attrs

from hookcore.errors import NotRewritable, UsageError
from hookcore.plain import table
from hookcore.plain.rewriting.codes import difference, within
from hookcore.plain.rewriting.parsing import unwarned
from hookcore.plain.rewriting.snippets import GATE
from hookcore.plain.rewriting.transform import Transformer

WAY_OUT = "call hookcore.epochs(...) and hookcore.batches(...) in the loop's own code"

_Found = tuple[list[table.Site], list[table.Function], list[table.Binding]]


@attrs.frozen(eq=False)
class Rewritten:
    """One file, rewritten.

    Attributes:
        code: What to run.
        plain: What Python makes of the same source.
        file: Its record.
    """

    code: CodeType
    plain: CodeType
    file: table.File


def rewrite(source: str | bytes, path: str, module_name: str) -> CodeType:
    """Compile a file with sites. To be called whenever its code is about to be loaded.

    Args:
        source: The file's text, or its bytes.
        path: What its code objects are to be called.
        module_name: Name of the module whose globals the code will see.

    Raises:
        SyntaxError: The file is no Python; as Python would have raised it.
        UsageError: A ``# hookcore:`` comment at a loop names no role.
        NotRewritable: It cannot be rewritten; Python can still run it as it is.
    """
    return rewritten(source, path, module_name).code


def rewritten(
    source: str | bytes,
    path: str,
    module_name: str,
    plain: CodeType | None = None,
    flags: int = 0,
    *,
    quiet: bool = False,
) -> Rewritten:
    """The same as :func:`rewrite`, with the file's record.

    Args:
        source: As for :func:`rewrite`.
        path: As for :func:`rewrite`.
        module_name: As for :func:`rewrite`.
        plain: What Python makes of the source, where that is at hand.
        flags: The compiler's, such as those that a notebook's cells are compiled with.
        quiet: Drop Python's warnings about the source altogether: they have been shown before.
    """
    if plain is None:
        with unwarned(path) if quiet else nullcontext():
            plain = compile(source, path, "exec", flags, dont_inherit=True)
    text = source if isinstance(source, str) else decode_source(source)
    with unwarned(path), _no_collection():
        try:
            code, found = _compiled(text, path, module_name, plain, flags)
        except UsageError:
            raise
        except Exception as error:  # whatever it is: Python can still run the file as it is
            raise NotRewritable(
                f"{path} cannot be rewritten", f"{type(error).__name__}: {error}", WAY_OUT
            ) from error
    wrong = difference(plain, code)
    if wrong is not None:
        raise NotRewritable(f"{path} cannot be rewritten", f"{wrong} would change", WAY_OUT)
    file = table.File(
        path,
        module_name,
        text,
        tuple(site.id for site in found[0]),
        tuple(function.id for function in found[1]),
    )
    table.record(file, *found)
    return Rewritten(code, plain, file)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector still.

    A tree's nodes hold no cycles, but so many of them make Python look through all objects of
    the process several times, which takes longer than the work itself once torch is loaded.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_rewritten(code: CodeType) -> bool:
    """Whether a code object, or one inside it, has sites already; in whatever process they came."""
    return any(GATE in item.co_names for item in within(code))


def _compiled(
    text: str, path: str, module: str, plain: CodeType, flags: int
) -> tuple[CodeType, _Found]:
    """Rewrite and compile; with sites on the outer loops alone where blocks nest too deep.

    Returns:
        The code and what is in it. The tree dies here, while nothing looks for garbage.
    """
    deepest = None
    while True:
        tree = ast.parse(text, path)
        walk = Transformer(tree, text, path, module, plain, deepest)
        walk.run()
        found = (walk.sites, walk.functions, walk.bindings)
        if not walk.changed:
            return plain, found
        try:
            return compile(tree, path, "exec", flags, dont_inherit=True), found
        except SyntaxError as error:
            # Python allows 20 nested blocks, and a site takes two more than its loop.
            if deepest == 0 or "nested" not in str(error):
                raise
            deepest = 4 if deepest is None else 0
