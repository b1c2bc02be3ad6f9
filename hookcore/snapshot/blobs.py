"""Memory behind tensors and arrays, as flat bytes: what ``tensors.pt`` holds.

A blob is the part of one storage that the saved tensors look at, so that a slice of a large data
set does not take the data set along. Tensors on one storage lie on one blob, and share memory again
when read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import torch

from .leaves import Json

_ALIGN = 16  # a multiple of each item size, so that offsets stay whole numbers of items


@attrs.define
class _Stretch:
    """The bytes of one storage that somebody looks at."""

    storage: torch.UntypedStorage
    low: int
    high: int
    records: list[dict[str, Json]] = attrs.field(factory=list)


class Memory:
    """What the bytes are copied into, kept from one time to the next.

    Fresh memory costs more than the copy: the system hands it out page by page. What is kept is
    one copy of what was last staged, and no more.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[torch.Tensor]] = {}

    def take(self, size: int) -> torch.Tensor:
        """So many bytes."""
        if fitting := self._free.get(size):
            return fitting.pop()
        return torch.empty(size, dtype=torch.uint8)

    def begin(self, blobs: Iterable[torch.Tensor]) -> None:
        """These may be written over from now on; what was free before is let go."""
        self._free = {}
        for blob in blobs:
            self._free.setdefault(blob.numel(), []).append(blob)


class BlobWriter:
    """Collects memory, once each.

    Args:
        into: Copy the bytes away from the live objects at ``finish``, into this.
    """

    def __init__(self, into: Memory | None = None) -> None:
        self._into = into
        self._stretches: dict[tuple[str, int], _Stretch] = {}

    def add(self, tensor: torch.Tensor) -> dict[str, Json]:
        """Where a strided tensor's items will lie; complete after ``finish``."""
        record: dict[str, Json] = {}
        size = tensor.element_size()
        low = int(tensor.storage_offset()) * size
        pairs = zip(tensor.shape, tensor.stride(), strict=True)
        high = low + (1 + sum((int(n) - 1) * int(step) for n, step in pairs)) * size
        if tensor.numel() == 0:
            return record
        storage = tensor.untyped_storage()
        key = str(tensor.device), storage.data_ptr()
        stretch = self._stretches.setdefault(key, _Stretch(storage, low, high))
        if storage.nbytes() > stretch.storage.nbytes():
            stretch.storage = storage  # the same address seen through a longer storage
        stretch.low, stretch.high = min(stretch.low, low), max(stretch.high, high)
        record["offset"] = low
        stretch.records.append(record)
        return record

    def finish(self) -> dict[str, torch.Tensor]:
        """Every blob on the CPU, and the records completed."""
        blobs = {}
        for number, stretch in enumerate(self._stretches.values()):
            low = stretch.low - stretch.low % _ALIGN
            for record in stretch.records:
                record["offset"] -= low
                record["blob"] = number
                if len(stretch.records) > 1:
                    record["shared"] = True
            blobs[str(number)] = self._take(stretch.storage, low, stretch.high)
        return blobs

    def _take(self, storage: torch.UntypedStorage, low: int, high: int) -> torch.Tensor:
        with torch.inference_mode(False), torch.no_grad():
            view = torch.empty(0, dtype=torch.uint8, device=storage.device)
            view.set_(storage, low, (high - low,), (1,))
            if self._into is not None:
                return self._into.take(high - low).copy_(view)
            if view.device.type != "cpu":
                return view.cpu()
            # torch.save writes whole storages: a part of one must leave it first.
            whole = low == 0 and high == storage.nbytes()
            return view if whole else view.clone()


class BlobReader:
    """Lays tensors over blobs again, each checked to stay inside.

    Args:
        blobs: What ``tensors.pt`` holds.
    """

    def __init__(self, blobs: dict[str, torch.Tensor]) -> None:
        self._blobs = blobs

    def lay(self, record: dict[str, Json], dtype: torch.dtype) -> torch.Tensor:
        """The strided tensor that a record of ``BlobWriter.add`` and its shape describe."""
        shape, strides = _counts(record["size"]), _counts(record["stride"])
        if len(shape) != len(strides):
            raise ValueError("a tensor with as many strides as dimensions was expected")
        with torch.inference_mode(False), torch.no_grad():
            if 0 in shape:
                return torch.empty_strided(shape, strides, dtype=dtype, device="cpu")
            blob = self._blobs[str(record["blob"])]
            (offset,) = _counts([record["offset"]])
            last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
            if offset % dtype.itemsize or offset + (last + 1) * dtype.itemsize > blob.numel():
                raise ValueError("a tensor reaches beyond its bytes")
            tensor = torch.empty(0, dtype=dtype, device="cpu")
            return tensor.set_(
                blob.untyped_storage(),
                blob.storage_offset() + offset // dtype.itemsize,
                shape,
                strides,
            )


def _counts(values: list[Any]) -> list[int]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f"whole numbers were expected, not {values!r}")
    return values


def check_blobs(loaded: object) -> dict[str, torch.Tensor]:
    """What ``torch.load`` gave, if it is a table of flat bytes and nothing else.

    Raises:
        ValueError: It is anything else.
    """
    if not isinstance(loaded, dict):
        raise ValueError(f"a {type(loaded).__name__} stands where the table of bytes should")
    for name, blob in loaded.items():
        flat = type(blob) is torch.Tensor and blob.dtype == torch.uint8 and blob.dim() == 1
        if not (type(name) is str and flat and blob.is_contiguous()) or blob.storage_offset():
            raise ValueError(f"the entry {name!r} is no row of bytes")
    return loaded
