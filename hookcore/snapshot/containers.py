"""Values with parts: how each is taken apart, and put together again.

Whatever can be changed is registered with the decoder before its parts are read (``keep``), so that
a list may hold itself.
"""

from __future__ import annotations

import argparse
import collections
import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from . import classes
from .leaves import Json, pack_bytes, unpack_bytes

if TYPE_CHECKING:
    from .codec import Decoder, Encoder

Keep = Callable[[Any], None]


class Branch(NamedTuple):
    """One type with parts.

    Args:
        tag: The first key of the value's object in the document.
        type: The exact type.
        pack: The value's object, without the tag: its parts stand under ``tag``.
        unpack: The value again.
        fixed: Its parts are needed before it can be made, so it cannot hold itself.
    """

    tag: str
    type: type
    pack: Callable[[Encoder, Any], dict[str, Json]]
    unpack: Callable[[Decoder, dict[str, Json], Keep], Any]
    fixed: bool = False


# -- mappings ---------------------------------------------------------------------------------


def _pack_pairs(encoder: Encoder, value: dict[Any, Any]) -> Json:
    """A JSON object where all keys are text, else a list of pairs."""
    if all(type(key) is str and key.isascii() for key in value):
        return {key: encoder.child(item, (key,)) for key, item in value.items()}
    return [[encoder.key(key), encoder.child(item, (key,))] for key, item in value.items()]


def _fill_pairs(decoder: Decoder, pairs: Json, into: dict[Any, Any]) -> None:
    if isinstance(pairs, dict):
        for key, item in pairs.items():
            dict.__setitem__(into, key, decoder.value(item))
    else:
        for key, item in pairs:
            made = decoder.value(key)  # the key first: it was counted first
            dict.__setitem__(into, made, decoder.value(item))


def _mapping(cls: type[dict[Any, Any]]) -> Branch:
    tag = cls.__name__

    def pack(encoder: Encoder, value: dict[Any, Any]) -> dict[str, Json]:
        return {tag: _pack_pairs(encoder, value)}

    def unpack(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
        made = cls()
        keep(made)
        _fill_pairs(decoder, body[tag], made)
        return made

    return Branch(tag, cls, pack, unpack)


def _pack_ordered(encoder: Encoder, value: collections.OrderedDict[Any, Any]) -> dict[str, Json]:
    body = {"OrderedDict": _pack_pairs(encoder, value)}
    if attributes := vars(value):  # a module's state_dict keeps its versions in `_metadata`
        body["vars"] = _pack_pairs(encoder, attributes)
    return body


def _unpack_ordered(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
    made: collections.OrderedDict[Any, Any] = collections.OrderedDict()
    keep(made)
    pairs = body["OrderedDict"]
    for key, item in pairs.items() if isinstance(pairs, dict) else pairs:
        name = key if isinstance(pairs, dict) else decoder.value(key)
        made[name] = decoder.value(item)
    if "vars" in body:
        _fill_pairs(decoder, body["vars"], vars(made))
    return made


_FACTORIES: dict[str, Any] = {
    factory.__name__: factory
    for factory in (int, float, bool, str, bytes, list, tuple, dict, set, collections.Counter)
}


def _pack_default(encoder: Encoder, value: collections.defaultdict[Any, Any]) -> dict[str, Json]:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and _FACTORIES.get(name) is not factory:
        raise ValueError(f"a defaultdict that makes its values with {factory!r}")
    return {"defaultdict": _pack_pairs(encoder, value), "factory": name}


def _unpack_default(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
    name = body["factory"]
    made: collections.defaultdict[Any, Any] = collections.defaultdict(
        None if name is None else _FACTORIES[name]
    )
    keep(made)
    _fill_pairs(decoder, body["defaultdict"], made)
    return made


# -- sequences and sets -----------------------------------------------------------------------


def _pack_deque(encoder: Encoder, value: collections.deque[Any]) -> dict[str, Json]:
    return {"deque": encoder.items(value), "maxlen": value.maxlen}


def _unpack_deque(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
    made: collections.deque[Any] = collections.deque(maxlen=body["maxlen"])
    keep(made)
    made.extend(decoder.items(body["deque"]))
    return made


def _unpack_set(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
    made: set[Any] = set()
    keep(made)
    made.update(decoder.items(body["set"]))
    return made


def _fixed(
    tag: str,
    cls: type,
    parts: Callable[[Any], Iterable[Any]] = iter,
    make: Callable[[Iterable[Any]], Any] | None = None,
) -> Branch:
    build = make or cls

    def pack(encoder: Encoder, value: Any) -> dict[str, Json]:
        return {tag: encoder.items(parts(value))}

    def unpack(decoder: Decoder, body: dict[str, Json], _keep: Keep) -> Any:
        return build(decoder.items(body[tag]))

    return Branch(tag, cls, pack, unpack, fixed=True)


def _unpack_bytearray(_decoder: Decoder, body: dict[str, Json], _keep: Keep) -> bytearray:
    return bytearray(unpack_bytes(body["bytearray"]))


# -- objects that are their attributes --------------------------------------------------------


def _namespace(cls: type) -> Branch:
    tag = cls.__name__

    def pack(encoder: Encoder, value: Any) -> dict[str, Json]:
        return {tag: _pack_pairs(encoder, vars(value))}

    def unpack(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
        made = cls()
        keep(made)
        _fill_pairs(decoder, body[tag], vars(made))
        return made

    return Branch(tag, cls, pack, unpack)


def _pack_dataclass(encoder: Encoder, value: Any) -> dict[str, Json]:
    cls = type(value)
    if not classes.is_rebuildable(cls):
        raise ValueError(f"{cls} has a built-in type beneath its fields")
    name = classes.name_of(cls)
    fields = classes.attributes(value).items()
    return {"dataclass": name, "fields": {n: encoder.child(v, f".{n}") for n, v in fields}}


def _unpack_dataclass(decoder: Decoder, body: dict[str, Json], keep: Keep) -> Any:
    name, fields = body["dataclass"], body["fields"]
    try:
        made = classes.shell(name, list(fields))
    except classes.NotFoundYet as error:
        content: dict[str, Any] = {}
        stand_in = decoder.unresolved(name, content, error)
        keep(stand_in)
        content.update((field, decoder.value(item)) for field, item in fields.items())
        return stand_in
    keep(made)
    classes.fill(made, {field: decoder.value(item) for field, item in fields.items()})
    return made


def _pack_named(encoder: Encoder, value: Any) -> dict[str, Json]:
    if getattr(value, "__dict__", None):
        raise ValueError(f"a {type(value)} with attributes beside its fields")
    name = classes.name_of(type(value))
    return {"namedtuple": name, "fields": list(value._fields), "values": encoder.items(value)}


def _unpack_named(decoder: Decoder, body: dict[str, Json], _keep: Keep) -> Any:
    name, fields, values = body["namedtuple"], body["fields"], decoder.items(body["values"])
    try:
        return classes.named_tuple(name, fields, values)
    except classes.NotFoundYet as error:
        return decoder.unresolved(name, dict(zip(fields, values, strict=True)), error)


def _pack_enum(_encoder: Encoder, value: Any) -> dict[str, Json]:
    return {"enum": classes.name_of(type(value)), "member": classes.member_name(value)}


def _unpack_enum(decoder: Decoder, body: dict[str, Json], _keep: Keep) -> Any:
    try:
        return classes.member(body["enum"], body["member"])
    except classes.NotFoundYet as error:
        return decoder.unresolved(body["enum"], body["member"], error)


FAMILIES = {
    "enum": Branch("enum", object, _pack_enum, _unpack_enum, fixed=True),
    "dataclass": Branch("dataclass", object, _pack_dataclass, _unpack_dataclass),
    "namedtuple": Branch("namedtuple", object, _pack_named, _unpack_named, fixed=True),
}

BRANCHES = (
    _mapping(dict),
    _mapping(collections.Counter),
    Branch("OrderedDict", collections.OrderedDict, _pack_ordered, _unpack_ordered),
    Branch("defaultdict", collections.defaultdict, _pack_default, _unpack_default),
    Branch("deque", collections.deque, _pack_deque, _unpack_deque),
    Branch("set", set, lambda encoder, value: {"set": encoder.items(value)}, _unpack_set),
    _fixed("frozenset", frozenset),
    _fixed("tuple", tuple),
    _fixed("Size", torch.Size),
    _fixed(
        "slice", slice, lambda value: (value.start, value.stop, value.step), lambda p: slice(*p)
    ),
    Branch(
        "bytearray",
        bytearray,
        lambda _encoder, value: {"bytearray": pack_bytes(value)},
        _unpack_bytearray,
    ),
    _namespace(argparse.Namespace),
    _namespace(types.SimpleNamespace),
)
