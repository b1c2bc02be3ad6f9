"""From whatever a user calls a loop to the plain function that holds it."""

from __future__ import annotations

import functools
import types
from typing import Any

from hookcore.errors import NotRewritable

WAY_OUT = (
    "open the run by hand and declare the loops:\n"
    "    with hookcore.run():\n"
    "        for epoch in hookcore.epochs(range(n)):\n"
    "            for batch in hookcore.batches(loader): ..."
)
"""What works where code cannot be rewritten."""


class Unswappable(NotRewritable):
    """The code of a loop cannot be replaced, though calling it trains: it can be observed."""


_WRAPPED = ("_torchdynamo_orig_callable", "__wrapped__")


def unwrap(loop: Any) -> types.FunctionType:
    """The function behind a loop: behind bound methods, decorators, partials, callable objects.

    Follows ``__wrapped__``, click's ``callback``, ``functools.partial``, ``torch.compile`` and
    an object's ``__call__``.

    Args:
        loop: What is called to train.

    Raises:
        NotRewritable: There is no Python function behind it.
    """
    item, seen = loop, set[int]()
    while id(item) not in seen:
        seen.add(id(item))
        inner = _inside(item)
        if inner is None:
            break
        item = inner
    if isinstance(item, types.FunctionType):
        return item
    kind = Unswappable if callable(item) and not isinstance(item, type) else NotRewritable
    raise kind(f"{loop!r} cannot be instrumented", _why(item), WAY_OUT)


def _inside(item: Any) -> Any:
    """What a wrapper wraps, or None for a plain function or what is no wrapper."""
    if isinstance(item, (functools.partial, functools.partialmethod)):
        return item.func
    if isinstance(item, (types.MethodType, staticmethod, classmethod)):
        return item.__func__
    if isinstance(item, (type, types.BuiltinFunctionType)):
        return None
    for name in _WRAPPED:
        inner = getattr(item, name, None)
        if callable(inner):
            return inner
    if isinstance(item, types.FunctionType):
        return None
    if any(kind.__module__.partition(".")[0] == "click" for kind in type(item).__mro__):
        return getattr(item, "callback", None)
    call = getattr(type(item), "__call__", None)  # noqa: B004  the function itself is wanted
    return call if isinstance(call, types.FunctionType) else None


def _why(item: Any) -> str:
    if isinstance(item, type):
        return "it is a class; pass the method that holds the loop"
    if callable(item):
        return f"{getattr(item, '__qualname__', item)!s} is not written in Python"
    return f"a {type(item).__name__} cannot be called"
