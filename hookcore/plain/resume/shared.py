"""Memory that workers share with the training: a ``multiprocessing.Value``, a tensor in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import torch

from hookcore.plain import table
from hookcore.plain.buffers import is_shared
from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import MANY
from hookcore.plain.resume.reading import Reading, at, changed


class Shared:
    """What a loader's workers share with this process, as it was when a pass over it began.

    Args:
        loader: The loader.
    """

    def __init__(self, loader: Any) -> None:
        modules = dict.fromkeys(file.module for file in table.rewritten())
        roots = (loader.dataset, loader.collate_fn, loader.worker_init_fn)
        written = [at(loader.dataset, path) for path in changed(loader.dataset)]
        self._parts = tuple(_shared_in(Reading(roots, modules), written))
        self._begun = [_content(part) for part in self._parts]

    def begin(self) -> None:
        """Another pass begins."""
        self._begun = [_content(part) for part in self._parts]

    def changed(self) -> Any:
        """What has changed since, or None."""
        pairs = zip(self._parts, self._begun, strict=True)
        return next((part for part, begun in pairs if _content(part) != begun), None)


def _shared_in(reading: Reading, written: list[Any]) -> Iterator[Any]:
    for value in reading.objects():
        if isinstance(value, torch.Tensor):
            small = value.numel() <= MANY or any(value is part for part in written)
            if small and is_shared(value):
                yield value
        elif type(value).__module__ == "multiprocessing.sharedctypes":
            yield value


def _content(part: Any) -> bytes:
    """Its bytes; no lock is taken for them, which a worker may hold."""
    if isinstance(part, torch.Tensor):
        return rng.bytes_of(part.detach().contiguous().flatten().view(torch.uint8))
    inner = part.get_obj() if hasattr(part, "get_obj") else part
    return ctypes.string_at(ctypes.addressof(inner), ctypes.sizeof(inner))
