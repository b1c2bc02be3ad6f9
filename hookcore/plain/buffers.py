"""A module's buffers, made such that they can hold what they held at another time.

A buffer is no parameter: a model may bind it anew as it trains, to a tensor of another size or
type, to one of a single item that is seen many times, or to None. What is there now is written into
where that gives what was saved; else another tensor stands for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from hookcore.snapshot import home


def empty_ones(module: torch.nn.Module) -> list[str]:
    """Names of the buffers that are None."""
    return [name for name, _, _, buffer in _buffers(module) if buffer is None]


def names_of(module: torch.nn.Module) -> list[str]:
    """Names of all buffers, those that are None among them."""
    return [name for name, _, _, _ in _buffers(module)]


def make_room(
    module: torch.nn.Module, saved: Mapping[str, Any], empty: Collection[str] = ()
) -> None:
    """Have each buffer be one that takes its saved value by a copy in place.

    Args:
        module: The module.
        saved: Tensors by name; other names are left as they are.
        empty: Names of the buffers that were None.
    """
    made: dict[Any, torch.Tensor] = {}  # what was one memory becomes one again
    for name, part, key, now in _buffers(module):
        wanted = saved.get(name)
        if name in empty:
            part._buffers[key] = None  # noqa: SLF001 - as below
        elif isinstance(wanted, torch.Tensor) and not _takes(now, wanted):
            place = (address(wanted) if wanted.numel() else None) or name
            if place not in made:
                device = home(wanted) if now is None or now.is_meta else now.device
                made[place] = wanted.detach().to(device).clone()
            part._buffers[key] = made[place]  # noqa: SLF001 - an assignment may be the user's own


def spread(module: torch.nn.Module) -> None:
    """Give each buffer that sees an item more than once memory that can be written to."""
    for _, part, key, now in _buffers(module):
        if now is not None and not is_lazy(now) and _overlaps(now):
            part._buffers[key] = now.clone()  # noqa: SLF001 - as above


def address(tensor: torch.Tensor) -> tuple[int, Any] | None:
    """Where a tensor's items lie, and their shape; None of one that lies in several memories."""
    return (tensor.data_ptr(), tensor.shape) if tensor.layout == torch.strided else None


def memory(tensor: torch.Tensor) -> int | None:
    """The memory that a tensor is a part of; None of one that lies in several."""
    strided = tensor.layout == torch.strided
    return tensor.untyped_storage().data_ptr() if strided else None


def is_shared(tensor: torch.Tensor) -> bool:
    """Whether other processes may write to a tensor's memory, of which torch counts nothing."""
    plain = tensor.device.type == "cpu" and tensor.layout == torch.strided
    return plain and bool(tensor.is_shared())  # type: ignore[no-untyped-call] # torch's


def _buffers(
    module: torch.nn.Module,
) -> Iterator[tuple[str, torch.nn.Module, str, torch.Tensor | None]]:
    for prefix, part in module.named_modules():
        for key, buffer in list(part._buffers.items()):  # noqa: SLF001 - torch names none that are None
            yield f"{prefix}.{key}" if prefix else key, part, key, buffer


def _takes(now: torch.Tensor | None, wanted: torch.Tensor) -> bool:
    if now is not None and is_lazy(now):
        return True  # it takes whatever comes
    return (
        now is not None
        and now.shape == wanted.shape
        and now.dtype == wanted.dtype
        and now.layout == wanted.layout == torch.strided
        and not now.is_meta
        and not _overlaps(now)
    )


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether several of its items lie at one place."""
    if tensor.layout != torch.strided:
        return False
    return any(n > 1 and not step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
