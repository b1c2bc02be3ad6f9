"""Objects and containers that a loop makes: what there was, and how it is made again.

An object of a class of the user's own is made without a line of its code: empty, and then given its
attributes, as a dataclass is.
"""

from __future__ import annotations

import ast
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hookcore.plain.resume.slots import of_user
from hookcore.snapshot import find_class, is_rebuildable

if TYPE_CHECKING:
    from hookcore.plain.resume.constants import Constants
    from hookcore.plain.resume.putback import PutBack
    from hookcore.plain.resume.reach import Reach

_FACTORIES: dict[str, Any] = {
    f"builtins:{kind.__name__}": kind for kind in (int, float, str, bool, list, dict, set)
}


def made_by(reach: Reach, constants: Constants) -> dict[str, Any]:
    """What the loop may have made of all that it reaches: plain values.

    Args:
        reach: What it reaches.
        constants: Tells what it cannot have changed.
    """
    found: dict[str, Any] = {}
    for path, value in reach.owners.items():
        grows = isinstance(value, (list, deque, dict)) and not constants.only_reads(path)
        shape = _shape_of(value) if grows or constants.rebound(path) else None
        if shape is not None:
            found[path] = shape
    same = {
        path: there
        for path, there in reach.same.items()
        if _owner_of(path) in found
    }
    return {"shapes": found, "same": same} if found else {}


def make(back: PutBack, reach: Reach, made: Mapping[str, Any]) -> None:
    """Make what is not there, have containers hold as much as they held.

    Args:
        back: Binds it.
        reach: What the loop's names lead to now.
        made: What :func:`made_by` gave.
    """
    here = set()
    for path, shape in made.get("shapes", {}).items():
        live = reach.owners.get(path)
        if live is None or _kind_of(live) != shape["kind"]:
            live = _made(shape)
            if live is None or not back.bind(path, live):
                continue
            reach.owners[path] = live
            here.add(path)
        _resize(live, shape)
    for path, there in made.get("same", {}).items():
        thing = reach.owners.get(there, reach.objects.get(there))
        if thing is not None and _owner_of(path) in here:
            back.bind(path, thing)


def _shape_of(value: Any) -> dict[str, Any] | None:
    kind = _kind_of(value)
    if isinstance(value, (list, deque)):
        return {"kind": kind, "size": len(value)}
    if isinstance(value, dict):
        keys = list(value)
        plain = all(type(key) in (str, int, float, bool, tuple) for key in keys)
        factory = getattr(value, "default_factory", None)
        name = "" if factory is None else _kind_of_class(factory)
        return {"kind": kind, "keys": keys, "factory": name} if plain else None
    if of_user(type(value)) and is_rebuildable(type(value)) and "<locals>" not in kind:
        return {"kind": kind}
    return None


def _kind_of(value: Any) -> str:
    return _kind_of_class(type(value))


def _kind_of_class(kind: Any) -> str:
    return f"{kind.__module__}:{kind.__qualname__}" if isinstance(kind, type) else "?"


def _made(shape: Mapping[str, Any]) -> Any:
    """An empty one; None where that cannot be."""
    kind = shape["kind"]
    if kind in ("builtins:list", "collections:deque", "builtins:dict"):
        return {"builtins:list": list, "builtins:dict": dict}.get(kind, deque)()
    if kind == "collections:defaultdict":
        factory = shape["factory"]
        found = _FACTORIES.get(factory) or (find_class(factory) if factory else None)
        return defaultdict(found) if found is not None or not factory else None
    found = find_class(kind)
    own = found is not None and of_user(found) and is_rebuildable(found)
    return object.__new__(found) if own else None  # type: ignore[arg-type] # it is not None here


def _resize(live: Any, shape: Mapping[str, Any]) -> None:
    if isinstance(live, (list, deque)):
        while len(live) > shape["size"]:
            live.pop()
        live.extend([None] * (shape["size"] - len(live)))
    elif isinstance(live, dict):
        for key in [key for key in live if key not in shape["keys"]]:
            del live[key]


def _owner_of(path: str) -> str:
    """The path of what has an attribute or an item."""
    if path.endswith("]"):
        return path[: path.rindex("[")]
    return path.rpartition(".")[0]


def place_in(path: str) -> tuple[str, Any] | None:
    """An item's container and its key or index; None of any other path."""
    if not path.endswith("]"):
        return None
    at = path.rindex("[")
    while at > 0:
        try:
            return path[:at], ast.literal_eval(path[at + 1 : -1])
        except (SyntaxError, ValueError):
            at = path.rfind("[", 0, at)  # a bracket inside a key
    return None
