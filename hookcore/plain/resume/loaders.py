"""What a DataLoader is made of: its random generators, and where its order comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, dataloader, sampler

from hookcore.plain.resume import rng

_STOCK = {
    kind for kind in vars(sampler).values() if isinstance(kind, type)
} | {torch.utils.data.distributed.DistributedSampler, dataloader._InfiniteConstantSampler}  # noqa: SLF001 - torch names it nowhere else


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


def is_stock(found: Any) -> bool:
    """Whether a sampler, and the one inside it, are torch's own."""
    return type(found) in _STOCK and type(getattr(found, "sampler", found)) in _STOCK


def draws_from_a_generator(found: Any) -> bool:
    """Whether a sampler draws from a generator of the user's."""
    inner = getattr(found, "sampler", found)
    return getattr(inner, "generator", None) is not None


def generators_inside(dataset: Any) -> list[str]:
    """Names of a dataset's own random generators."""
    return [name for name, value in vars(dataset).items() if rng.is_generator(value)]
