"""Tensors and arrays: their shape goes into the document, their bytes into a blob."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import torch

from .leaves import Json

if TYPE_CHECKING:
    from .codec import Decoder, Encoder

_HOME = "_hookcore_home"
_PLAIN_ARRAY = re.compile(r"[<>|=][biufcSUMm]\d+(\[\w+\])?")  # numpy's own names of plain dtypes
_COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}


def home(tensor: torch.Tensor) -> torch.device:
    """The device a tensor of a staged or read snapshot lived on when it was captured."""
    return torch.device(getattr(tensor, _HOME, tensor.device))


def why_not(tensor: torch.Tensor) -> str | None:
    """The reason why a tensor cannot be kept, or ``None``."""
    cls = type(tensor)
    if cls not in (torch.Tensor, torch.nn.Parameter):
        return f"{cls} is a tensor subclass with its own state"
    if tensor.is_meta:
        return "a tensor on the meta device has no values"
    if tensor.is_quantized:
        return "a quantized tensor's scales are not kept"
    if tensor.is_nested:
        return "nested tensors are not kept"
    if tensor.layout not in (torch.strided, torch.sparse_coo, *_COMPRESSED):
        return f"a tensor of the layout {tensor.layout}"
    if tensor.layout == torch.strided:
        try:
            tensor.untyped_storage().data_ptr()
        except RuntimeError as error:  # a tensor inside torch.func, or one that only pretends
            return f"a tensor without memory of its own: {str(error).splitlines()[0]}"
    return None


def pack_tensor(encoder: Encoder, tensor: torch.Tensor) -> Json:
    """A tensor by its layout; its autograd graph stays behind."""
    if reason := why_not(tensor):
        raise ValueError(reason)
    body: dict[str, Json] = {}
    if type(tensor) is torch.nn.Parameter:
        body["parameter"] = True
    if tensor.requires_grad and tensor.is_leaf:
        body["requires_grad"] = True
    where = home(tensor)
    if where.type != "cpu":
        body["device"] = str(where)
    plain = tensor.detach().resolve_conj().resolve_neg()
    body["dtype"] = str(plain.dtype).removeprefix("torch.")
    body["size"] = list(plain.shape)
    if plain.layout == torch.strided:
        body["stride"] = list(plain.stride())
        # The record is filled at the end, when it is known which bytes of the storage are needed.
        body["bytes"] = encoder.blobs.add(plain)
    elif plain.layout == torch.sparse_coo:
        body["coalesced"] = plain.is_coalesced()
        # The public names exist for coalesced tensors only.
        body["indices"] = encoder.child(plain._indices(), ".indices")  # noqa: SLF001
        body["values"] = encoder.child(plain._values(), ".values")  # noqa: SLF001
    else:
        outer, inner = _COMPRESSED[plain.layout]
        body["layout"] = str(plain.layout).removeprefix("torch.")
        body["outer"] = encoder.child(getattr(plain, outer)(), f".{outer}")
        body["inner"] = encoder.child(getattr(plain, inner)(), f".{inner}")
        body["values"] = encoder.child(plain.values(), ".values")
    return body


def unpack_tensor(decoder: Decoder, body: dict[str, Json]) -> torch.Tensor:
    """The tensor again, on the CPU; ``home`` tells where it was."""
    with torch.inference_mode(False), torch.no_grad():
        tensor = _lay(decoder, body)
        if body.get("parameter"):
            tensor = torch.nn.Parameter(tensor, requires_grad=bool(body.get("requires_grad")))
        elif body.get("requires_grad"):
            tensor.requires_grad_()
    if "device" in body:
        setattr(tensor, _HOME, str(torch.device(body["device"])))
    return tensor


def _lay(decoder: Decoder, body: dict[str, Json]) -> torch.Tensor:
    dtype, size = vars(torch).get(body["dtype"]), body["size"]
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch {torch.__version__} has no dtype {body['dtype']}")
    if "bytes" in body:
        return decoder.blobs.lay({**body["bytes"], "size": size, "stride": body["stride"]}, dtype)
    if "indices" in body:
        indices, values = decoder.value(body["indices"]), decoder.value(body["values"])
        coalesced = bool(body["coalesced"])
        return torch.sparse_coo_tensor(
            indices, values, size, is_coalesced=coalesced, check_invariants=True
        )
    outer, inner = decoder.value(body["outer"]), decoder.value(body["inner"])
    values, layout = decoder.value(body["values"]), vars(torch)[body["layout"]]
    return torch.sparse_compressed_tensor(
        outer, inner, values, size, layout=layout, check_invariants=True
    )


# -- numpy ------------------------------------------------------------------------------------


def numpy_kind(cls: type) -> str | None:
    """``"ndarray"`` or ``"scalar"`` where numpy is imported and the type is numpy's."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if cls is numpy.ndarray:
        return "ndarray"
    return "scalar" if issubclass(cls, numpy.generic) else None


def _plain(dtype: Any) -> str:
    name = str(dtype.str)
    widest = {"f": 8, "c": 16}.get(dtype.kind, dtype.itemsize)  # wider floats differ by platform
    if not _PLAIN_ARRAY.fullmatch(name) or dtype.itemsize > widest:
        raise ValueError(f"numpy data of the type {dtype}")
    return name


def pack_scalar(_encoder: Encoder, scalar: Any) -> Json:
    """A numpy scalar as its bytes."""
    if scalar.dtype.kind in "SU" and scalar.endswith(b"\0" if scalar.dtype.kind == "S" else "\0"):
        raise ValueError(f"{scalar!r}: numpy drops the zeros at its end")
    return [_plain(scalar.dtype), scalar.tobytes().hex()]


def unpack_scalar(_decoder: Decoder, body: Json) -> Any:
    """The scalar again."""
    name, content = body
    return _numpy().ndarray((), _dtype(name), bytes.fromhex(content))[()]


def pack_array(encoder: Encoder, array: Any) -> Json:
    """An array's shape and order; the bytes go beside the tensors'."""
    body: dict[str, Json] = {"dtype": _plain(array.dtype), "size": list(array.shape)}
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        body["order"] = "F"
    if not array.flags.writeable:
        body["readonly"] = True
    if array.nbytes:
        body["bytes"] = encoder.blobs.add(_flat(array))
        body["count"] = array.nbytes
    return body


def _flat(array: Any) -> torch.Tensor:
    """An array's bytes in the order of its items, without a copy where that can be."""
    whole = array.flags.c_contiguous or array.flags.f_contiguous
    flat = array.ravel(order="K" if whole else "C")
    if not flat.flags.writeable:
        flat = flat.copy()  # torch warns of memory that it must not write to
    base = flat.base
    if type(base) is type(flat) and base.flags.c_contiguous and base.flags.writeable:
        # As a part of what it is a view of, with which it shares its memory when it is read.
        start = flat.ctypes.data - base.ctypes.data
        return torch.from_numpy(base.reshape(-1).view("u1"))[start : start + flat.nbytes]
    return torch.from_numpy(flat.view("u1"))


def unpack_array(decoder: Decoder, body: dict[str, Json]) -> Any:
    """The array again; its memory is another's only where it was."""
    numpy, dtype, shape = _numpy(), _dtype(body["dtype"]), tuple(body["size"])
    order = "F" if body.get("order") == "F" else "C"
    if "bytes" in body:
        where = {**body["bytes"], "size": [body["count"]], "stride": [1]}
        flat = decoder.blobs.lay(where, torch.uint8).numpy()
        array = numpy.ndarray(shape, dtype, buffer=flat, order=order)
        if not body["bytes"].get("shared"):
            array = array.copy(order=order)
    else:
        array = numpy.zeros(shape, dtype, order=order)
    array.flags.writeable = not body.get("readonly", False)
    return array


def _numpy() -> Any:
    import numpy

    return numpy


def _dtype(name: str) -> Any:
    if not _PLAIN_ARRAY.fullmatch(name):
        raise ValueError(f"numpy data of the type {name!r}")
    return _numpy().dtype(name)
