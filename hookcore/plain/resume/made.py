"""Objects and containers that a loop makes: what there was, and how it is made again.

An object of a class of the user's own is made without a line of its code: empty, and then given its
attributes, as a dataclass is.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from hookcore.errors import Concern
from hookcore.plain.buffers import names_of
from hookcore.plain.resume.homes import find_definition, home_of
from hookcore.plain.resume.paths import Known, is_literal, name_of, owner_of, spelled
from hookcore.plain.resume.sealed import SEALED, Parts, sealed_kind
from hookcore.plain.resume.slots import of_user
from hookcore.plain.resume.stateful import has_state
from hookcore.snapshot import find_class, is_rebuildable

if TYPE_CHECKING:
    from hookcore.plain.resume.constants import Constants
    from hookcore.plain.resume.putback import PutBack
    from hookcore.plain.resume.reach import Reach

_EMPTY: dict[str, Any] = {f"builtins:{kind.__name__}": kind for kind in (list, dict, set)}
_EMPTY["collections:OrderedDict"] = OrderedDict
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
        grows = isinstance(value, (list, deque, dict, set)) and not constants.only_reads(path)
        changes = grows or constants.rebound(path)
        shape = _shape_of(value, reach.known) if changes else None
        if shape is not None:
            found[path] = shape
    named = reach.homes | {
        path: home
        for path, value in reach.definitions.items()
        if ".__bases__[" not in path
        and constants.rebound(path)
        and (home := home_of(value)) is not None
    }
    same = {
        path: there
        for path, there in reach.same.items()
        if (owner_of(path) in found or constants.rebound(path)) and _is_shared(reach, there)
    }
    every = {"shapes": found, "same": same, "named": named}
    return every if any(every.values()) else {}


def _is_shared(reach: Reach, path: str) -> bool:
    """Whether an object or a container stands there, and no definition or data."""
    whole = path in reach.objects or path in reach.parts
    return whole or _shape_of(reach.owners.get(path), reach.known) is not None


def make(back: PutBack, reach: Reach, made: Mapping[str, Any]) -> None:
    """Make what is not there, have containers hold as much as they held.

    Args:
        back: Binds it.
        reach: What the loop's names lead to now.
        made: What :func:`made_by` gave.
    """
    for path, shape in made.get("shapes", {}).items():
        live = _holder(reach, path)
        if live is None or _kind_of(live) != shape["kind"]:
            reach.forget(path)
            live = _made(shape)
            if live is None or not back.bind(path, live):
                continue
        reach.owners[path] = live
        kind = sealed_kind(shape["kind"])
        if kind is not None:
            _open(back, reach, path, Parts(kind, live, shape["size"]))
        else:
            _resize(reach, live, shape)
    for path, home in made.get("named", {}).items():
        definition = find_definition(home)
        if definition is not None and reach.definitions.get(path) is not definition:
            back.bind(path, definition)
    for path, there in made.get("same", {}).items():
        thing = reach.standing(there)
        if thing is not None and reach.standing(reach.same.get(path, path)) is not thing:
            back.bind(path, thing)
            if isinstance(thing, Parts):
                thing.places.append(path)


def finish(back: PutBack, reach: Reach, made: Mapping[str, Any]) -> None:
    """What could not be done before everything was back: tuples, sets, the order of keys.

    Args:
        back: Binds it.
        reach: What the loop's names lead to.
        made: What :func:`made_by` gave.
    """
    for parts in [owner for owner in reach.owners.values() if isinstance(owner, Parts)]:
        for place in parts.places:
            back.bind(place, parts.whole())
    for path, shape in made.get("shapes", {}).items():
        live = reach.owners.get(path)
        if isinstance(live, dict) and "keys" in shape:
            keys = spelled(live, reach.known)
            wanted = [keys[text] for text in _spelled_in(shape) if text in keys]
            if len(wanted) == len(live) and wanted != list(live):
                items = [(key, live[key]) for key in wanted]
                live.clear()
                live.update(items)


def _open(back: PutBack, reach: Reach, path: str, parts: Parts) -> None:
    """Have the parts of a tuple or a set be bound one by one."""
    if len(parts) != len(reach.owners[path]):
        reach.forget(path)
    parts.places.append(path)
    back.bind(path, parts)
    reach.owners[path] = parts
    reach.open(path, parts)


def _holder(reach: Reach, path: str) -> Any:
    """What stands at a path; a list that is empty yet is as plain as a number."""
    slot = reach.slots.get(path)
    return reach.owners.get(path) if slot is None else slot.value


def unmade(reach: Reach, constants: Constants) -> Concern | None:
    """Why a name cannot be brought back that the loop binds, and takes along to where it goes on.

    Args:
        reach: What the loop's names lead to.
        constants: Tells which names it takes along.
    """
    for path in sorted(constants.taken_along()):
        definition, data = reach.definitions.get(path), reach.owners.get(path)
        is_data = isinstance(data, (DataLoader, Dataset)) and _shape_of(data, reach.known) is None
        if is_data or (definition is not None and home_of(definition) is None):
            kind = type(data if definition is None else definition).__name__
            return Concern(
                f"the loop binds {path} to a {kind}, which no checkpoint can make again",
                "make it before the loop, or anew in each epoch; a function at a module's top",
            )
    return None


def rebuilt(
    reach: Reach, known: dict[Any, Any], scope: str, anew: Collection[str]
) -> Concern | None:
    """Why an object cannot be brought back that is another than the script makes, or None.

    Args:
        reach: What the loop's names lead to.
        known: What each object was made of when it was first seen in the fit; filled here.
        scope: The function that the names belong to.
        anew: Names that the loop binds before it reads them.
    """
    for path, thing in reach.objects.items():
        parts = _parts_of(thing)
        if known.setdefault((scope, path), parts) != parts and name_of(path) not in anew:
            return Concern(
                f"the loop has made {path} anew, or of other parts; the script makes it as it was",
                "make all parts and optimizers before the loop; freeze, unfreeze and choose in it",
            )
    return None


def _parts_of(thing: Any) -> Any:
    kind = _kind_of(thing)
    if isinstance(thing, torch.nn.Module):
        parameters = [(name, _form_of(tensor)) for name, tensor in thing.named_parameters()]
        return kind, parameters, names_of(thing)
    if isinstance(thing, torch.optim.Optimizer):
        return kind, [len(group["params"]) for group in thing.param_groups]
    return kind


def _form_of(tensor: torch.Tensor) -> Any:
    return None if is_lazy(tensor) else (tensor.shape, tensor.dtype)


def _shape_of(value: Any, known: Known) -> dict[str, Any] | None:
    kind = _kind_of(value)
    if isinstance(value, deque):
        return {"kind": kind, "size": len(value), "maxlen": value.maxlen}
    if isinstance(value, SEALED):
        return {"kind": kind, "size": len(value)} if sealed_kind(kind) is not None else None
    if isinstance(value, list):
        return {"kind": kind, "size": len(value)}
    if isinstance(value, dict):
        factory = value.default_factory if isinstance(value, defaultdict) else None
        name = "" if factory is None else _kind_of_class(factory)
        keys = list(value)
        names = {} if all(map(is_literal, keys)) else {"spelled": list(spelled(keys, known))}
        return {"kind": kind, "keys": [] if names else keys, "factory": name, **names}
    if has_state(value):
        return None
    if of_user(type(value)) and is_rebuildable(type(value)) and "<locals>" not in kind:
        return {"kind": kind}
    return None


def _spelled_in(shape: Mapping[str, Any]) -> list[str]:
    """How the keys of a dictionary are spelled."""
    names: list[str] = shape.get("spelled") or list(map(repr, shape["keys"]))
    return names


def _kind_of(value: Any) -> str:
    return _kind_of_class(type(value))


def _kind_of_class(kind: Any) -> str:
    return f"{kind.__module__}:{kind.__qualname__}" if isinstance(kind, type) else "?"


def _made(shape: Mapping[str, Any]) -> Any:
    """An empty one; None where that cannot be."""
    kind = shape["kind"]
    if kind == "collections:deque":
        return deque(maxlen=shape.get("maxlen"))  # which older checkpoints lack
    if kind in _EMPTY:
        return _EMPTY[kind]()
    if kind == "collections:defaultdict":
        factory = shape["factory"]
        found = _FACTORIES.get(factory) or (find_class(factory) if factory else None)
        return defaultdict(found) if found is not None or not factory else None
    if sealed_kind(kind) is not None:
        return ()  # its parts are to come
    found = find_class(kind)
    own = found is not None and of_user(found) and is_rebuildable(found)
    return object.__new__(found) if own else None  # type: ignore[arg-type] # it is not None here


def _resize(reach: Reach, live: Any, shape: Mapping[str, Any]) -> None:
    if isinstance(live, (list, deque)):
        while len(live) > shape["size"]:
            live.pop()
        live.extend([None] * (shape["size"] - len(live)))
    elif isinstance(live, dict):
        kept = set(_spelled_in(shape))
        for text, key in spelled(tuple(live), reach.known).items():
            if text not in kept:
                del live[key]
