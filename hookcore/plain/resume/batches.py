"""What must be as it was in a run that goes on: the size of batches, the length of loops."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from hookcore.plain import table
from hookcore.plain.sites import loaders_in
from hookcore.plain.sizes import size_of

if TYPE_CHECKING:
    from hookcore.plain.resume.constants import Constants
    from hookcore.plain.resume.reach import Reach
    from hookcore.plain.sites import Loop

ITERATORS = ("range_iterator", "list_iterator", "tuple_iterator", "longrange_iterator")

Sizes = list[int | None]

_BEGAN = time.time()
_SETTINGS = (".json", ".yaml", ".yml", ".toml", ".ini", ".cfg")
_TEXT = re.compile(r"""["']([^"'\n]{1,80})["']""")


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
    for size, size_now in _other_sizes(then, loop):
        return f"batches of the loop at {loop.site.where} were of {size}, now of {size_now}"
    before, now = then.get("total"), loop.total
    if None not in (before, now) and before != now:
        return f"the loop at {loop.site.where} had {before} iterations, now {now}"
    return None


def _other_sizes(then: Mapping[str, Any], loop: Loop) -> list[tuple[int, int]]:
    pairs = zip(then.get("sizes") or (), sizes_of(loop), strict=False)
    return [(a, b) for a, b in pairs if a is not None and b is not None and a != b]


def origin(loop: Loop, reach: Reach, constants: Constants, folder: str) -> dict[str, Any]:
    """What a change of the batches' size by the user would show in: plain values.

    Args:
        loop: The fit's outermost loop.
        reach: What its names lead to.
        constants: Tells what it cannot have changed.
        folder: What paths are relative to.
    """
    files = tuple(table.beside(loop.site.path))
    mentioned = _mentioned_in(files)
    numbers = {f"${n}": int(v) for n, v in os.environ.items() if n in mentioned and v.isdecimal()}
    numbers |= reach.numbers
    for path, slot in reach.slots.items():
        if constants.holds(path, slot.value):
            numbers.update(numbers_in(path, slot.value))
    settings = _settings(mentioned | set(loop.host.run.argv), folder)
    return {"files": {**_digests_of(files, folder), **settings}, "numbers": numbers}


def telling(numbers: Mapping[str, int], sizes: Iterable[int | None] | None) -> dict[str, int]:
    """Those numbers that batches of these sizes may be made of, or that are made of them.

    Args:
        numbers: What :func:`origin` found.
        sizes: The sizes; None where they are not known.
    """
    return {
        path: number
        for size in set(filter(None, sizes or ()))
        for path, number in numbers.items()
        if number > 1 and (number % size == 0 or size % number == 0)
    }


@lru_cache(maxsize=8)
def _mentioned_in(files: tuple[table.File, ...]) -> frozenset[str]:
    """Short texts in the project's sources: names of variables and of files may be among them."""
    return frozenset(text for file in files for text in _TEXT.findall(file.source))


def _settings(texts: Iterable[str], folder: str) -> dict[str, str]:
    """Digests of files of settings: those that a text names, unless this run has written them."""
    found = {}
    for text in texts:
        path = Path(folder, text)
        with contextlib.suppress(OSError):
            if path.suffix in _SETTINGS and path.stat().st_mtime < _BEGAN:
                found[text] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_own_change(then: Mapping[str, Any], now: Mapping[str, Any], sizes: Any, loop: Loop) -> bool:
    """Whether the loop itself has come to batches of another size, and the user asks for no other.

    Args:
        then: What :func:`origin` gave as the checkpoint was taken.
        now: What it gives.
        sizes: The sizes that the checkpoint knows.
        loop: The loop over batches, at its first head.
    """
    files = [(digest, now["files"].get(path)) for path, digest in then["files"].items()]
    if any(other is not None and digest != other for digest, other in files):
        return False
    others = [size for size, _ in _other_sizes({"sizes": sizes}, loop)]
    numbers = telling(then["numbers"], others)
    return all(now["numbers"].get(path, number) == number for path, number in numbers.items())


def numbers_in(path: str, value: Any) -> dict[str, int]:
    """A value that is a whole number, or such numbers in a dictionary or a namespace, by path."""
    found = {path: value}
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        found = {f"{path}[{name!r}]": item for name, item in value.items()}
    return {place: number for place, number in found.items() if type(number) is int}


@lru_cache(maxsize=8)
def _digests_of(files: tuple[table.File, ...], folder: str) -> Mapping[str, str]:
    """Digests of files, by their path from a folder."""
    return {os.path.relpath(file.path, folder): file.digest for file in files}


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
