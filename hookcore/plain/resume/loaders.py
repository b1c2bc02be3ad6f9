"""What a DataLoader is made of: its random generators, and where its order comes from."""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, dataloader, sampler

from hookcore.plain.resume import rng

_STOCK = {
    kind for kind in vars(sampler).values() if isinstance(kind, type)
} | {torch.utils.data.distributed.DistributedSampler, dataloader._InfiniteConstantSampler}

_OWNERS = ("torch.utils.data.", "torchdata.stateful_dataloader.")


def _generators_of(loader: Any) -> dict[str, torch.Generator]:
    """A loader's generators, each by where it stands."""
    inner = getattr(loader, "sampler", None)
    batches = getattr(loader, "batch_sampler", None)
    places = {
        "generator": loader.generator,
        "sampler.generator": getattr(inner, "generator", None),
        "batch_sampler.generator": getattr(batches, "generator", None),
        "batch_sampler.sampler.generator": getattr(
            getattr(batches, "sampler", None), "generator", None
        ),
    }
    return {name: found for name, found in places.items() if isinstance(found, torch.Generator)}


def states_of(loader: Any) -> dict[str, Any]:
    """States of a loader's own generators, by where they stand."""
    return {name: rng.take_generator(g) for name, g in _generators_of(loader).items()}


def put_states(loader: Any, states: Mapping[str, Any]) -> None:
    """Put them back."""
    for name, generator in _generators_of(loader).items():
        if name in states:
            rng.put_generator(generator, states[name])


def is_stream(loader: Any) -> bool:
    """Whether it reads a stream: a dataset without indices."""
    return isinstance(loader.dataset, IterableDataset)


def stateful_class() -> Any:
    """Torchdata's ``StatefulDataLoader``, where it is there."""
    torchdata = sys.modules.get("torchdata.stateful_dataloader")
    return getattr(torchdata, "StatefulDataLoader", None)


def is_stateful(loader: Any) -> bool:
    """Whether it is torchdata's, which tells and takes states of its own."""
    kind = stateful_class()
    return kind is not None and isinstance(loader, kind)


def iterates_as_torch_does(loader: Any) -> bool:
    """Whether its class leaves ``__iter__`` as torch or torchdata has it."""
    kind = stateful_class() if is_stateful(loader) else torch.utils.data.DataLoader
    return type(loader).__iter__ is kind.__iter__


def kept_iterator(loader: Any) -> Any:
    """The iterator whose workers the next pass will use, or None."""
    kept = loader.persistent_workers or getattr(loader, "_initial_iter_for_state_dict", False)
    return getattr(loader, "_iterator", None) if kept else None


def is_stock(found: Any) -> bool:
    """Whether a sampler, and the one inside it, are torch's own."""
    return type(found) in _STOCK and type(getattr(found, "sampler", found)) in _STOCK


def draws_in_turn(loader: Any) -> bool:
    """Whether its order may be drawn while the training draws: neither torch nor torchdata does."""
    found = loader._index_sampler
    parts = (found, getattr(found, "sampler", found))
    return any(not type(part).__module__.startswith(_OWNERS) for part in parts)


def draws_from_a_generator(found: Any) -> bool:
    """Whether a sampler draws from a generator of the user's."""
    inner = getattr(found, "sampler", found)
    return getattr(inner, "generator", None) is not None
