"""A value's digest: equal where, and only where, two values are equal bit for bit."""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import enum
import hashlib
import pathlib
import struct
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch

from hookcore.plain.resume import rng

_LENGTH = 32
_SHOWN = 60
_DEEPEST = 20
_TEXTS = (torch.dtype, torch.device, torch.layout, pathlib.PurePath, range, slice, complex)
_IN_ORDER = (list, tuple, torch.Size, collections.deque)
_NAMESPACES = (argparse.Namespace, types.SimpleNamespace)
_BY_KEY = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)

Token = list[str]
"""A digest, and the value as people read it where that is short."""


@attrs.define(eq=False)
class Digests:
    """Makes digests of the values of one moment; what is met twice is read once.

    Args:
        own: Whether an object's class is the user's own, so that its attributes are its value.
    """

    own: Callable[[type], bool]
    _tensors: dict[int, tuple[torch.Tensor, bytes]] = attrs.field(factory=dict)

    def of(self, value: Any) -> Token | None:
        """The digest of a value; None where nothing of it can be read."""
        hasher = hashlib.sha256()
        if not self._feed(hasher.update, value, ()):
            return None
        return [hasher.hexdigest()[:_LENGTH], shown(value)]

    # -- inside ----------------------------------------------------------------------------

    def _feed(self, feed: Callable[[Any], None], value: Any, inside: tuple[int, ...]) -> bool:
        """Feed type and content; False where nothing but the type could be told."""
        kind = type(value)
        feed(f"<{kind.__module__}.{kind.__qualname__}>".encode())
        leaf = _leaf(value)
        if leaf is not None:
            feed(leaf)
            return True
        if isinstance(value, torch.Tensor):
            feed(self._tensor(value))
            return True
        if id(value) in inside or len(inside) > _DEEPEST:
            feed(b"again")
            return True
        inside = (*inside, id(value))
        parts = self._parts(value)
        if parts is None:
            return False
        for part in parts:
            self._feed(feed, part, inside)
        feed(b"end")
        return True

    def _parts(self, value: Any) -> Iterable[Any] | None:
        """What a value is made of, in order, or None."""
        kind = type(value)
        if kind in _IN_ORDER or (isinstance(value, tuple) and hasattr(kind, "_fields")):
            return list(tuple.__iter__(value)) if isinstance(value, tuple) else list(value)
        if kind in _BY_KEY:
            return [part for item in dict.items(value) for part in item]
        if kind in (set, frozenset):
            return sorted((self.of(part) or [""])[0] for part in value)
        if isinstance(value, torch.nn.Module):
            return [part for item in members_of(value) for part in item]
        if rng.is_generator(value):
            return [rng.take_generator(value)]
        if hasattr(kind, "state_dict"):
            return [value.state_dict()]
        if self.own(kind) or kind in _NAMESPACES:
            return [part for item in sorted(attributes(value).items()) for part in item]
        return None

    def _tensor(self, tensor: torch.Tensor) -> bytes:
        known = self._tensors.get(id(tensor))
        if known is None:  # the tensor is kept with it, so that no other one gets its id
            known = self._tensors[id(tensor)] = tensor, _content(tensor)
        return known[1]


def shown(value: Any) -> str:
    """A short plain value as people read it; of others what they are."""
    if value is None or type(value) in (bool, int, float, str):
        text = repr(value)
    elif isinstance(value, torch.Tensor):
        if value.numel() == 1 and not value.is_meta:
            text = f"{value.detach().flatten()[0].item()!r}"
        else:
            text = f"a tensor of {'x'.join(map(str, value.shape)) or 'no'} numbers"
    elif type(value) in (list, tuple) and all(type(part) in (bool, int, float) for part in value):
        text = repr(value[-3:]) if len(value) <= 3 else f"[..., {repr(list(value[-3:]))[1:]}"
    else:
        text = ""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def members_of(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers, gradients and modes of a module, by their paths in it."""
    for name, parameter in module.named_parameters():
        yield name, parameter
        if parameter.grad is not None:
            yield f"{name}.grad", parameter.grad
    yield from module.named_buffers()
    modes = "".join("t" if inner.training else "e" for inner in module.modules())
    yield "training", modes


def attributes(value: Any) -> Mapping[str, Any]:
    """The attributes of an object of the user's, read without running code of theirs."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()):
            slot = kind.__dict__.get(name)
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # nothing has been put there yet
                    found[name] = slot.__get__(value, type(value))
    with contextlib.suppress(AttributeError):
        found.update(object.__getattribute__(value, "__dict__"))
    return found


def _leaf(value: Any) -> bytes | None:
    """The content of a value without parts, or None."""
    kind = type(value)
    if kind is float:
        return struct.pack("<d", value)
    if value is None or kind in (bool, int):
        return repr(value).encode()
    if kind is str:
        return str(value).encode("utf-8", "surrogatepass") + b"\0"
    if kind in (bytes, bytearray):
        return bytes(value)
    if isinstance(value, enum.Enum):
        return value.name.encode()
    if isinstance(value, _TEXTS):
        return str(value).encode()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        if value.dtype.hasobject:
            return repr(value).encode()
        return f"{value.dtype}{value.shape}".encode() + bytes(value.tobytes())
    return None


def _content(tensor: torch.Tensor) -> bytes:
    """Shape, type and bytes, or the text of a kind of tensor that has none to read."""
    hasher = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    try:
        if tensor.layout is torch.sparse_coo:
            whole = tensor.detach().coalesce()
            return hasher.digest() + _content(whole.indices()) + _content(whole.values())
        here = tensor.detach().cpu().contiguous()
        size = here.numel() * here.element_size()
        if size:
            hasher.update((ctypes.c_char * size).from_address(here.data_ptr()))
    except (RuntimeError, NotImplementedError, TypeError):  # of no place, quantized, compressed
        hasher.update(repr(tensor).encode())
    return hasher.digest()
