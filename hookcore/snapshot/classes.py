"""Enum members and instances of dataclasses and namedtuples, without running a line of their code.

A class is found only among the modules that the program has imported already, and only through the
modules' and classes' own dictionaries: a lazy module's ``__getattr__`` would run code.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from typing import Any

import attrs

_HEAP_TYPE = 1 << 9  # CPython's Py_TPFLAGS_HEAPTYPE: the class was made by a `class` statement


class NotFoundYet(Exception):
    """The class is not there, or is no longer what it was when the value was saved."""


@attrs.frozen(eq=False)
class Unresolved:
    """Stands for a value whose class the program has not imported yet, or no longer has.

    Args:
        class_name: ``module:qualname``.
        content: The member's name, or the fields' values.
        why: What is missing.
    """

    class_name: str
    content: Any
    why: str


def family(cls: type) -> str | None:
    """``"enum"``, ``"dataclass"``, ``"namedtuple"``, or ``None`` for every other class."""
    if issubclass(cls, enum.Enum):
        return "enum"
    if issubclass(cls, tuple):
        return "namedtuple" if isinstance(vars_of(cls).get("_fields"), tuple) else None
    return "dataclass" if dataclasses.is_dataclass(cls) else None


def vars_of(cls: type) -> dict[str, Any]:
    """Everything a class and its bases define."""
    merged: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        merged.update(vars(base))
    return merged


def name_of(cls: type) -> str:
    """``module:qualname`` of a class that can be found again by it.

    Raises:
        NotFoundYet: Nothing, or another class, stands under that name.
    """
    name = f"{cls.__module__}:{cls.__qualname__}"
    if find(name) is not cls:
        raise NotFoundYet(f"another class stands under the name {name} now")
    return name


def find(name: str) -> type:
    """The imported class with this ``module:qualname``; imports and runs nothing."""
    module_name, _, qualname = name.partition(":")
    module = sys.modules.get(module_name)
    if not isinstance(module, types.ModuleType):
        raise NotFoundYet(f"the module {module_name} is not imported")
    # Plain object access, because a lazily loaded module imports itself when it is looked at.
    space: Any = object.__getattribute__(module, "__dict__")
    found: Any = None
    for part in qualname.split("."):
        found = space.get(part)
        if not isinstance(found, type):
            raise NotFoundYet(f"the module {module_name} defines no class {qualname}")
        space = vars(found)
    return typing.cast(type, found)


def find_class(name: str) -> type | None:
    """The same, or None where there is none."""
    try:
        return find(name)
    except NotFoundYet:
        return None


def _need(name: str, kind: str) -> type:
    cls = find(name)
    if family(cls) != kind:
        raise NotFoundYet(f"{name} is no {kind} any more")
    return cls


# -- enum -------------------------------------------------------------------------------------


def member_name(member: enum.Enum) -> str | int:
    """A member's name; for a union of flags its number."""
    name: str | None = member._name_  # a union of flags has none on Python 3.10
    if name is not None and type(member).__members__.get(name) is member:
        return name
    if isinstance(member, enum.Flag) and type(member._value_) is int and _plain_flag(type(member)):
        return member._value_
    raise ValueError(f"{member!r} is no named member of its class")


def _plain_flag(cls: type[enum.Flag]) -> bool:
    """Whether the standard library alone makes a union of this class's flags."""
    own = vars_of(cls).get("_missing_")
    return own in [vars(base).get("_missing_") for base in (enum.Enum, enum.Flag, enum.IntFlag)]


def member(class_name: str, content: str | int) -> enum.Enum:
    """The member again, by a look-up that runs no code of its class."""
    cls = typing.cast(type[enum.Enum], _need(class_name, "enum"))
    if isinstance(content, str):
        found = cls.__members__.get(content)
        if found is None:
            raise NotFoundYet(f"{class_name} has no member {content} any more")
        return found
    if not (issubclass(cls, enum.Flag) and _plain_flag(cls)):
        raise NotFoundYet(f"{class_name} is no plain Flag any more")
    try:
        return cls(content)
    except ValueError as error:
        raise NotFoundYet(str(error)) from None


# -- dataclass --------------------------------------------------------------------------------


def attributes(instance: object) -> dict[str, Any]:
    """Every attribute an instance holds, in its dictionary and in its slots."""
    values = {}
    for name, slot in _slots(type(instance)).items():
        try:
            values[name] = slot.__get__(instance)
        except AttributeError:
            continue  # a slot that was never filled
    values.update(getattr(instance, "__dict__", {}))
    return values


def _slots(cls: type) -> dict[str, Any]:
    found = vars_of(cls).items()
    return {name: slot for name, slot in found if isinstance(slot, types.MemberDescriptorType)}


def is_rebuildable(cls: type) -> bool:
    """Whether an instance is nothing but its attributes (no list, dict or exception beneath)."""
    return all(base is object or base.__flags__ & _HEAP_TYPE for base in cls.__mro__)


def shell(class_name: str, names: list[str]) -> object:
    """An empty instance of a dataclass; ``__init__`` and ``__post_init__`` do not run."""
    cls = _need(class_name, "dataclass")
    if not is_rebuildable(cls):
        raise NotFoundYet(f"{class_name} has a built-in type beneath it now")
    slots = _slots(cls)
    if "__dict__" not in vars_of(cls) and (strange := [n for n in names if n not in slots]):
        raise NotFoundYet(f"{class_name} has no slot {strange[0]} any more")
    for field in dataclasses.fields(cls):
        # A default stands on the class; without one the instance would lack the attribute.
        if field.name not in names and (field.name in slots or field.name not in vars_of(cls)):
            raise NotFoundYet(f"{class_name} has a field {field.name} now that was not saved")
    return object.__new__(cls)


def fill(instance: object, values: dict[str, Any]) -> None:
    """Puts the attributes back, past any ``__setattr__`` and any property of the class."""
    slots = _slots(type(instance))
    for name, value in values.items():
        if name in slots:
            slots[name].__set__(instance, value)
        else:
            instance.__dict__[name] = value


# -- namedtuple -------------------------------------------------------------------------------


def named_tuple(class_name: str, names: list[str], values: list[Any]) -> Any:
    """The namedtuple again; its ``__new__`` does not run."""
    cls = _need(class_name, "namedtuple")
    if list(vars_of(cls)["_fields"]) != names:
        raise NotFoundYet(f"{class_name} has other fields now")
    return tuple.__new__(cls, values)
