"""Weights in memory: a copy of the trained models, and back in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from hookcore.plain.buffers import make_room


@torch.no_grad()
def copy(models: Iterable[Any]) -> list[dict[str, torch.Tensor]]:
    """Copies of every parameter and buffer, the non-persistent ones included."""
    return [{name: tensor.detach().clone() for name, tensor in _tensors(m)} for m in models]


@torch.no_grad()
def load(models: Iterable[Any], copies: Iterable[dict[str, torch.Tensor]]) -> None:
    """Write copies back into the same models, in place: every alias sees them.

    Args:
        models: The models.
        copies: Of each what :func:`copy` gave, or its ``state_dict`` and its other buffers.
    """
    for model, kept in zip(models, copies, strict=False):
        make_room(model, kept)
        for name, tensor in _tensors(model):
            if name in kept:
                tensor.copy_(kept[name])
        if not any(name in kept for name, _ in model.named_parameters()):
            model.load_state_dict(kept, strict=False)  # its state_dict calls them otherwise


def _tensors(model: Any) -> Iterable[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
