"""What must be as it was in a run that goes on: the size of batches, the length of loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from hookcore.plain.sites import loaders_in
from hookcore.plain.sizes import size_of

if TYPE_CHECKING:
    from hookcore.plain.sites import Loop

ITERATORS = ("range_iterator", "list_iterator", "tuple_iterator", "longrange_iterator")

Sizes = list[int | None]


def sizes_of(loop: Loop) -> Sizes:
    """How large a batch is of each thing that a loop draws from; None where it does not tell.

    Nothing is drawn for it.
    """
    taps, sizes = loop.host.taps, []
    for part in () if loop.site.kind == "while" else parts_of(loop.iterable):
        found = [] if taps is None else taps.loaders(loaders_in(part))
        sizes.append(_size_of(found[0] if found else part))
    return sizes


def changed(then: Mapping[str, Any], loop: Loop) -> str | None:
    """How a loop differs from what a checkpoint knows of it, in words; None where it does not.

    Args:
        then: What the checkpoint has of it: ``sizes``, and ``total`` where it counts.
        loop: The loop, at its first head.
    """
    for before, now in zip(then.get("sizes") or (), sizes_of(loop), strict=False):
        if None not in (before, now) and before != now:
            return f"batches of the loop at {loop.site.where} were of {before}, now of {now}"
    before, now = then.get("total"), loop.total
    if None not in (before, now) and before != now:
        return f"the loop at {loop.site.where} had {before} iterations, now {now}"
    return None


def parts_of(iterable: Any) -> Iterator[Any]:
    """What an iterable takes its items from."""
    kind = type(iterable)
    if kind in (enumerate, zip, reversed):
        parts = iterable.__reduce__()[1]
        for part in parts if kind is zip else parts[:1]:
            yield from parts_of(part)
    elif kind.__module__.startswith("tqdm"):
        yield from parts_of(getattr(iterable, "iterable", None))
    else:
        yield iterable


def _size_of(part: Any) -> int | None:
    if type(part).__name__ in ITERATORS:  # its sequence, whatever of it has been taken
        part = (part.__reduce__()[1] or ((),))[0]
    if isinstance(part, DataLoader):
        if part.batch_size is not None or part.batch_sampler is None:
            return part.batch_size
        size = getattr(part.batch_sampler, "batch_size", None)
        return size if isinstance(size, int) else None
    if isinstance(part, range):
        return abs(part.step)
    return size_of(part[0]) if isinstance(part, (list, tuple)) and part else None
