"""Options: the fields of a plugin's class, and what the user gave, converted and checked."""

from __future__ import annotations

import collections.abc
import enum
import functools
import inspect
import numbers
import operator
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import attrs

from hookcore.errors import UsageError
from hookcore.layers import Given, nearest

if TYPE_CHECKING:
    import cattrs

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_FACTORY: Any = attrs.Factory  # a class, which its stub calls a function
_LISTS: Any = (list, tuple, set, frozenset, collections.abc.Sequence)


@attrs.frozen
class OptionRecord:
    """One option of a plugin.

    Attributes:
        name: As typed after the plugin's name and a dot.
        type: What it takes, readable.
        default: Its default; ``attrs.NOTHING`` where it must be given.
        value: Its value in the active plugin, else None.
        help: ``metadata={"help": ...}`` of the field.
    """

    name: str
    type: str
    default: Any
    value: Any
    help: str


def fields(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """The options that a class declares: its public fields that ``__init__`` takes."""
    if not attrs.has(cls):
        return {}
    public = (field for field in attrs.fields(cls) if field.init and not field.name.startswith("_"))
    return {str(field.alias): field for field in public}


def describe(plugin: Any) -> tuple[OptionRecord, ...]:
    """The options of a plugin's class, with their values where an instance is given."""
    cls, is_instance = _class_of(plugin)
    records = []
    for name, field in fields(cls).items():
        default = field.default
        if isinstance(default, _FACTORY):
            default = None if default.takes_self else default.factory()
        value = getattr(plugin, field.name) if is_instance else None
        if not field.repr:  # a token; attrs does not print it either
            default = value = "(hidden)"
        text = str(field.metadata.get("help", ""))
        records.append(OptionRecord(name, spell(_type_of(cls, field)), default, value, text))
    return tuple(records)


def build(plugin: Any, given: Mapping[str, Given], name: str) -> Any:
    """Make the plugin with its options.

    Args:
        plugin: Its class, or an instance or module that stands for itself.
        given: What the user gave.
        name: The plugin's.

    Raises:
        UsageError: An option is unknown, missing or has a wrong value.
    """
    cls, is_instance = _class_of(plugin)
    known = fields(cls)
    values = {}
    for option, typed in given.items():
        field = known.get(option) or known.get(option.lower())
        if field is None:
            raise UsageError(
                f"plugin {name!r} has no option {option!r} ({typed.origin})",
                f"its options are: {', '.join(known)}" if known else "it has no options",
                nearest(option, known) or "what each takes:  hookcore plugins",
            )
        try:
            values[str(field.alias)] = convert(typed.value, _type_of(cls, field), typed.is_text)
        except (ValueError, TypeError) as error:
            raise _refusal(name, {option: typed}, cls, error) from error
    for option, field in known.items():
        if field.default is attrs.NOTHING and option not in values and not is_instance:
            raise UsageError(
                f"plugin {name!r} needs its option {option!r}",
                "it has no default",
                f"give it:  -o {name}.{option}=...     switch it off:  -p no:{name}",
            )
    if is_instance:
        return attrs.evolve(plugin, **values) if values else plugin
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        if not given:
            raise
        # The class's own checks name the field, as a rule.
        culprits = {o: g for o, g in given.items() if o in str(error.args[0] if error.args else "")}
        raise _refusal(name, culprits or given, cls, error) from error


def _refusal(name: str, given: Mapping[str, Given], cls: type, error: Exception) -> UsageError:
    """Of attrs' errors only the message is for people; the rest is the field's definition."""
    values = ", ".join(f"{option} = {typed.value!r}" for option, typed in given.items())
    origins = ", ".join(str(typed.origin) for typed in given.values())
    known, lines = fields(cls), []
    for option in given:
        field = known.get(option) or known[option.lower()]
        default = "" if field.default is attrs.NOTHING else f", default {_short(field.default)}"
        lines.append(f"allowed for {name}.{field.alias}: {spell(_type_of(cls, field))}{default}")
    why = str(error.args[0]) if error.args else type(error).__name__
    return UsageError(f"plugin {name!r} cannot take {values} ({origins})", why, "\n".join(lines))


def _short(default: Any) -> str:
    if isinstance(default, _FACTORY):
        return "made anew"
    return str(default.value if isinstance(default, enum.Enum) else default)


def _class_of(plugin: Any) -> tuple[type, bool]:
    return (plugin, False) if inspect.isclass(plugin) else (type(plugin), True)


def _type_of(cls: type, field: attrs.Attribute[Any]) -> Any:
    """The field's type; text is evaluated where its class, or a base of it, was written.

    ``attrs.resolve_types`` does all fields or none, and fails on a private field whose type is
    imported for type checkers alone.
    """
    kind: Any = field.type  # text under `from __future__ import annotations`
    if not isinstance(kind, str):
        return Any if kind is None else kind

    def annotated() -> None: ...

    annotated.__annotations__ = {"type": kind}
    for base in cls.__mro__:
        module = sys.modules.get(base.__module__)
        try:
            return typing.get_type_hints(annotated, vars(module) if module else {})["type"]
        except NameError:
            continue
    raise TypeError(f"the type {kind!r} of option {field.alias!r} is not importable")


def spell(kind: Any) -> str:
    """A type in words: ``int``, ``auto | min | max``, ``list of float``."""
    origin: Any = get_origin(kind)
    arguments = get_args(kind)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if _is_union(kind):
        return " | ".join(map(spell, arguments))
    if origin is typing.Annotated:
        return spell(arguments[0])
    if origin in _LISTS:
        items = dict.fromkeys(spell(item) for item in arguments if item is not ...)
        return f"{origin.__name__.lower()} of {', '.join(items)}"
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        return " | ".join(str(member.value) for member in kind)
    special = {type(None): "none", Path: "path", Any: "any", None: "any"}
    if kind in special:
        return special[kind]
    return kind.__name__ if inspect.isclass(kind) and not arguments else str(kind)


def convert(value: Any, kind: Any, is_text: bool) -> Any:
    """One value as the type of its field, or ValueError.

    Strict: ``"three"`` is no int, ``2.5`` neither, and ``1`` is no bool. Text is read as people
    write it: yes and no, items with commas between them, ``none``.
    """
    converter = _converter(is_text)  # outside: a missing cattrs is no wrong value
    try:
        return converter.structure(value, kind)
    except (ValueError, TypeError):
        raise
    except Exception as error:  # cattrs' own, of a mapping or a nested class
        raise ValueError(f"{value!r} is no {spell(kind)}") from error


@functools.cache
def _converter(is_text: bool) -> cattrs.Converter:
    import cattrs

    def scalar(value: Any, kind: type) -> Any:
        return _scalar(value, kind, is_text)

    def one_of(value: Any, kind: Any) -> Any:
        return _one_of(value, kind, lambda member: converter.structure(value, member), is_text)

    def items(value: Any, kind: Any) -> Any:
        return _items(value, kind, converter.structure, is_text)

    def instance(kind: Any) -> Callable[[Any, Any], Any]:
        return lambda value, _: _instance(value, kind)

    converter = cattrs.Converter(
        detailed_validation=False, forbid_extra_keys=True, structure_fallback_factory=instance
    )
    for kind in (bool, int, float, str, Path, enum.Enum):
        converter.register_structure_hook(kind, scalar)
    converter.register_structure_hook_func(_is_union, one_of)
    converter.register_structure_hook_func(
        _is_literal,
        lambda value, kind: _member(value, {a: a for a in get_args(kind)}, is_text),
    )
    converter.register_structure_hook_func(
        lambda kind: kind in _LISTS or get_origin(kind) in _LISTS, items
    )
    return converter


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_literal(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _scalar(value: Any, kind: type, is_text: bool) -> Any:
    if issubclass(kind, enum.Enum):
        if isinstance(value, kind):
            return value
        return _member(value, {m.value: m for m in kind} | {m.name: m for m in kind}, is_text)
    if kind is bool:
        word = _WORDS.get(value.strip().lower()) if is_text else value
        if isinstance(word, bool):
            return word
        raise ValueError(f"{value!r} is neither true nor false")
    try:
        if kind is str:
            return operator.add("", os.fspath(value) if isinstance(value, Path) else value)
        if issubclass(kind, Path) and value != "":
            return Path(value).expanduser()
        return _number(value, kind, is_text)
    except (ValueError, TypeError):
        raise ValueError(f"{value!r} is no {spell(kind)}") from None


def _number(value: Any, kind: type, is_text: bool) -> Any:
    if is_text:
        return int(value) if kind is int else float(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError
    return operator.index(value) if kind is int else float(value)  # type: ignore[arg-type]


def _member(value: Any, members: Mapping[Any, Any], is_text: bool) -> Any:
    for name, member in members.items():
        same = str(name).lower() == value.strip().lower() if is_text else name == value
        if same and (is_text or type(name) is type(value)):
            return member
    near = nearest(str(value), [str(name) for name in members])
    allowed = ", ".join(str(name) for name in members)
    raise ValueError(f"{value!r} is none of: {allowed}" + (f"; {near}" if near else ""))


def _one_of(value: Any, kind: Any, structure: Callable[[Any], Any], is_text: bool) -> Any:
    members = [member for member in get_args(kind) if member is not type(None)]
    if len(members) < len(get_args(kind)) and (
        value is None or (isinstance(value, str) and value.strip().lower() == "none")
    ):
        return None
    if not is_text and type(value) in members:
        return value
    for member in sorted(members, key=lambda member: member is str):  # every text is a str
        try:
            return structure(member)
        except (ValueError, TypeError):
            if len(members) == 1:
                raise
    raise ValueError(f"{value!r} is none of: {spell(kind)}")


def _items(value: Any, kind: Any, structure: Callable[[Any, Any], Any], is_text: bool) -> Any:
    if is_text and isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value.strip() else []
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError(f"{value!r} is no {spell(kind)}")
    origin: Any = get_origin(kind) or kind
    arguments = get_args(kind)
    if origin is tuple and arguments and arguments[-1] is not ...:
        if len(value) != len(arguments):
            raise ValueError(f"{value!r} has not {len(arguments)} items")
        return tuple(map(structure, value, arguments))
    made = [structure(item, arguments[0] if arguments else Any) for item in value]
    return made if origin is collections.abc.Sequence else origin(made)


def _instance(value: Any, kind: Any) -> Any:
    origin = get_origin(kind) or kind
    if kind is not object and not (inspect.isclass(origin) and isinstance(value, origin)):
        raise ValueError(f"{value!r} is no {spell(kind)}")
    return value
