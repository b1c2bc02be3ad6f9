"""In a DataLoader's workers: what they draw and change is told along with their batches."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.data import get_worker_info

from hookcore.plain.resume import copies, rng

_last: dict[str, Any] = {}
"""What this worker's random streams were when it last told of them."""


class Ship:
    """A batch with the states that its worker had after it.

    Attributes:
        data: The batch.
        worker: The worker's number.
        states: Its random states, and what its copy of the dataset has changed of itself.
    """

    __slots__ = ("data", "states", "worker")

    def __init__(self, data: Any, worker: int, states: dict[str, Any]) -> None:
        self.data, self.worker, self.states = data, worker, states

    def pin_memory(self, device: Any = None) -> Ship:
        """What torch asks of a class of a user's own."""
        from torch.utils.data._utils.pin_memory import pin_memory

        self.data = pin_memory(self.data, device)  # type: ignore[no-untyped-call] # torch's
        return self


class Collate:
    """A loader's ``collate_fn``; tells along what the worker has drawn and changed.

    Args:
        inner: The user's own.
    """

    def __init__(self, inner: Callable[[Any], Any]) -> None:
        self._inner = inner

    def __call__(self, items: Any) -> Any:
        """What the user's own makes of the items."""
        data, info = self._inner(items), get_worker_info()
        if info is None:
            return data
        states = {**_drawn(), **_last["copies"].changes()}
        if states == _last["states"]:
            return data
        _last["states"] = states
        return Ship(data, info.id, states)


class Begin:
    """A loader's ``worker_init_fn``; a worker goes on as the one whose number it has.

    Args:
        loader: The loader, whose ``worker_init_fn`` and ``collate_fn`` are still the user's own.
        record: What a checkpoint knows of the workers, or None.

    Attributes:
        known: Of that record what concerns the workers.
    """

    def __init__(self, loader: Any, record: Mapping[str, Any] | None = None) -> None:
        self._inner, self._collate = loader.worker_init_fn, loader.collate_fn
        self._copies = copies.Sought(loader)
        known = {} if record is None else record
        self.known = {key: known[key] for key in ("base_seed", "states") if key in known}

    def __call__(self, worker: int) -> None:
        """A worker begins."""
        info = get_worker_info()
        assert info is not None
        seed, states = self.known.get("base_seed"), self.known.get("states", {})
        if seed is not None and info.seed != seed + worker:
            object.__setattr__(info, "seed", seed + worker)  # it is frozen
            _seed(seed, worker)
        if self._inner is not None:
            self._inner(worker)
        _last["copies"] = copies.Copies(info.dataset, self._collate, self._copies)
        if worker in states:
            _last["copies"].put(states[worker].get("dataset", {}).get("values", {}))
            _put_drawn(states[worker])
        changes = _last["copies"].changes()
        lost = changes.get("dataset", {}).get("lost")  # it is told along with the first batch
        _last["states"] = None if lost else {**_drawn(), **changes}


def _seed(base: int, worker: int) -> None:
    """Seed a worker's streams as torch does."""
    random.seed(base + worker)
    torch.manual_seed(base + worker)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        from torch.utils.data._utils.worker import _generate_state

        numpy.random.seed(_generate_state(base, worker))  # type: ignore[no-untyped-call] # torch's


def _drawn() -> dict[str, Any]:
    """The worker's random states, small and plain: they travel with each batch that draws."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "torch": rng.bytes_of(torch.get_rng_state()),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        states["numpy"] = (name, keys.tobytes(), *rest)
    return states


def _put_drawn(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    torch.set_rng_state(torch.frombuffer(bytearray(states["torch"]), dtype=torch.uint8))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in states:
        name, keys, *rest = states["numpy"]
        numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *rest))
