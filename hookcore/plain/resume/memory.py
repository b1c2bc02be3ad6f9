"""Memory that tensors and arrays share: what was one piece in a snapshot is one piece again."""

from __future__ import annotations

import sys
from typing import Any

import torch


class Memory:
    """Knows which live memory stands for a snapshot's."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def note(self, wanted: Any, live: Any) -> None:
        """A live tensor or array has been made equal to one of the snapshot."""
        then, now = _storage(wanted), _storage(live)
        if then is not None and now is not None and then.data_ptr() not in self._known:
            self._known[then.data_ptr()] = _address(live) - _address(wanted), now

    def is_elsewhere(self, wanted: Any, live: Any) -> bool:
        """Whether what shares memory with ``wanted`` shares none with ``live``."""
        found = self._place(wanted)
        return found is not None and _address(live) != found[0].data_ptr() + found[1]

    def view(self, wanted: Any) -> Any:
        """A tensor or an array there, equal to ``wanted``; None where nothing else is there."""
        found = self._place(wanted)
        if found is None:
            return None
        storage, start = found
        with torch.no_grad():
            if isinstance(wanted, torch.Tensor):
                view = torch.empty(0, dtype=wanted.dtype, device=storage.device)
                view.set_(storage, start // wanted.element_size(), wanted.shape, wanted.stride())
                return view.copy_(wanted)
            flat = torch.empty(0, dtype=torch.uint8).set_(storage, start, (wanted.nbytes,), (1,))
        array = type(wanted)(wanted.shape, wanted.dtype, flat.numpy(), strides=wanted.strides)
        array[...] = wanted
        return array

    def _place(self, wanted: Any) -> tuple[torch.UntypedStorage, int] | None:
        """The live memory, and how far behind its beginning; None where that cannot be."""
        then = _storage(wanted)
        if then is None or then.data_ptr() not in self._known:
            return None
        moved, storage = self._known[then.data_ptr()]
        start = _address(wanted) + moved - storage.data_ptr()
        step = wanted.element_size() if isinstance(wanted, torch.Tensor) else 1
        inside = 0 <= start <= storage.nbytes() - _extent(wanted)
        return (storage, start) if inside and start % step == 0 else None


def _address(value: Any) -> int:
    return int(value.data_ptr() if isinstance(value, torch.Tensor) else value.ctypes.data)


def _extent(value: Any) -> int:
    """Bytes from its first to its last."""
    if not isinstance(value, torch.Tensor):
        return int(value.nbytes)
    pairs = zip(value.shape, value.stride(), strict=True)
    return value.element_size() * (1 + sum((n - 1) * step for n, step in pairs))


def _storage(value: Any) -> torch.UntypedStorage | None:
    """The piece of memory that it lies in; of arrays the one that views of it share."""
    if isinstance(value, torch.Tensor):
        own = value.layout == torch.strided and value.numel() and not value.requires_grad
        return value.untyped_storage() if own else None
    numpy: Any = sys.modules["numpy"]
    if not (value.size and value.flags.c_contiguous and value.flags.writeable):
        return None
    base = value
    while isinstance(base.base, numpy.ndarray):
        base = base.base
    if isinstance(base.base, torch.Tensor):
        return base.base.untyped_storage()
    if not (base.flags.c_contiguous and base.flags.writeable) or base.dtype.hasobject:
        return None
    return torch.from_numpy(base.reshape(-1).view("u1")).untyped_storage()
