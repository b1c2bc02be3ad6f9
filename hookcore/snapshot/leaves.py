"""Values without parts: how each becomes JSON, and comes back with its exact type and bits."""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import pathlib
import struct
import uuid
from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import torch

Json = Any

_WIDE = (
    2**63
)  # Python refuses to read longer decimal integers than it likes; these go in hexadecimal


class Leaf(NamedTuple):
    """One type without parts.

    Args:
        tag: The key under which the value stands in the document.
        type: The exact type; a subclass is another type.
        pack: The value as JSON.
        unpack: The value again.
    """

    tag: str
    type: type
    pack: Callable[[Any], Json]
    unpack: Callable[[Json], Any]


def is_bare(value: object) -> bool:
    """Whether JSON keeps this value as it is: ``None``, bool, text, usual int, finite float."""
    cls = type(value)
    if value is None or cls is bool:
        return True
    if cls is float:
        return isfinite(value)  # type: ignore[arg-type]  # `cls is float` narrows nothing
    if cls is int:
        return -_WIDE < value < _WIDE  # type: ignore[operator]
    return cls is str and _is_text(value)  # type: ignore[arg-type]


def _is_text(value: str) -> bool:
    # JSON joins two lone surrogates into one character, so a string that holds any goes as bytes.
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def pack_bytes(value: bytes | bytearray) -> str:
    """Bytes as base64."""
    return base64.b64encode(value).decode("ascii")


def unpack_bytes(text: str) -> bytes:
    """Bytes from base64."""
    return base64.b64decode(text, validate=True)


def _pack_str(value: str) -> str:
    return pack_bytes(value.encode("utf-8", "surrogatepass"))


def _unpack_str(text: str) -> str:
    return unpack_bytes(text).decode("utf-8", "surrogatepass")


def _pack_float(value: float) -> str:
    return struct.pack(">d", value).hex()


def _unpack_float(text: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(text))[0])


def _pack_complex(value: complex) -> list[str]:
    return [_pack_float(value.real), _pack_float(value.imag)]


def _unpack_complex(parts: list[str]) -> complex:
    real, imaginary = parts
    return complex(_unpack_float(real), _unpack_float(imaginary))


def _pack_fraction(value: fractions.Fraction) -> list[str]:
    return [hex(value.numerator), hex(value.denominator)]


def _unpack_fraction(parts: list[str]) -> fractions.Fraction:
    numerator, denominator = parts
    return fractions.Fraction(int(numerator, 16), int(denominator, 16))


def _pack_delta(value: datetime.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _unpack_delta(parts: list[int]) -> datetime.timedelta:
    days, seconds, microseconds = parts
    return datetime.timedelta(days, seconds, microseconds)


def _pack_zone(value: datetime.timezone) -> Json:
    if value is datetime.timezone.utc:
        return None
    return [_pack_delta(value.utcoffset(None)), value.tzname(None)]


def _unpack_zone(parts: Json) -> datetime.timezone:
    if parts is None:
        return datetime.timezone.utc
    offset, name = parts
    return datetime.timezone(_unpack_delta(offset), name)


def _pack_moment(value: datetime.datetime | datetime.time) -> Json:
    zone = value.tzinfo
    if zone is not None and type(zone) is not datetime.timezone:
        raise ValueError(f"a time in the zone {zone!r}; only fixed offsets are kept")
    return [
        value.replace(tzinfo=None, fold=0).isoformat(),
        value.fold,
        False if zone is None else _pack_zone(zone),
    ]


def _moment(cls: type[Any]) -> Callable[[Json], Any]:
    def unpack(parts: Json) -> Any:
        text, fold, zone = parts
        tzinfo = None if zone is False else _unpack_zone(zone)
        return cls.fromisoformat(text).replace(tzinfo=tzinfo, fold=fold)

    return unpack


def _range_parts(value: range) -> list[str]:
    return [hex(value.start), hex(value.stop), hex(value.step)]


def _path(name: str) -> Callable[[str], pathlib.PurePath]:
    def unpack(text: str) -> pathlib.PurePath:
        cls = getattr(pathlib, name)
        if issubclass(cls, pathlib.Path) and cls is not type(pathlib.Path()):
            cls = getattr(pathlib, f"Pure{name}")  # another system's path cannot be opened here
        return cls(_unpack_str(text))  # type: ignore[no-any-return]

    return unpack


def _path_leaf(name: str) -> Leaf:
    return Leaf(name, getattr(pathlib, name), lambda value: _pack_str(str(value)), _path(name))


def _torch_constant(tag: str, cls: type) -> Leaf:
    def unpack(name: str) -> Any:
        found = vars(torch).get(name)
        if type(found) is not cls:
            raise ValueError(f"torch {torch.__version__} has no {tag} {name}")
        return found

    return Leaf(tag, cls, lambda value: str(value).removeprefix("torch."), unpack)


LEAVES = (
    Leaf("int", int, hex, lambda text: int(text, 16)),
    Leaf("float", float, _pack_float, _unpack_float),
    Leaf("complex", complex, _pack_complex, _unpack_complex),
    Leaf("str", str, _pack_str, _unpack_str),
    Leaf("bytes", bytes, pack_bytes, unpack_bytes),
    Leaf("range", range, _range_parts, lambda parts: range(*(int(part, 16) for part in parts))),
    Leaf("Decimal", decimal.Decimal, str, decimal.Decimal),
    Leaf("Fraction", fractions.Fraction, _pack_fraction, _unpack_fraction),
    Leaf("date", datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    Leaf("time", datetime.time, _pack_moment, _moment(datetime.time)),
    Leaf("datetime", datetime.datetime, _pack_moment, _moment(datetime.datetime)),
    Leaf("timedelta", datetime.timedelta, _pack_delta, _unpack_delta),
    Leaf("timezone", datetime.timezone, _pack_zone, _unpack_zone),
    Leaf("UUID", uuid.UUID, str, uuid.UUID),
    *map(_path_leaf, ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    Leaf("device", torch.device, str, torch.device),
    _torch_constant("dtype", torch.dtype),
    _torch_constant("layout", torch.layout),
    _torch_constant("memory_format", torch.memory_format),
)
