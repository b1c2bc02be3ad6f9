"""Loops that say themselves what they are: ``hookcore.epochs`` and ``hookcore.batches``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Generic, Literal, TypeVar

from hookcore.plain import gate, table

Item = TypeVar("Item")


class Declared(Generic[Item]):
    """An iterable with a role. Outside a run it is its iterable, and nothing else.

    Args:
        role: What an iteration is.
        iterable: Anything a ``for`` takes.
        place: File and line of the call, for messages.
        frame: ``id`` of the frame of the call.
    """

    __slots__ = ("frame", "iterable", "place", "role")

    def __init__(
        self,
        role: Literal["epoch", "batch"],
        iterable: Iterable[Item],
        place: tuple[str, int],
        frame: int,
    ) -> None:
        self.role = role
        self.iterable = iterable
        self.place = place
        self.frame = frame

    def __iter__(self) -> Iterator[Item]:
        host = gate.live()
        if host is None:
            return iter(self.iterable)
        return iter(host.declared(self, _site_at(*self.place)))

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type] # as the iterable itself would raise


def declare(role: Literal["epoch", "batch"], iterable: Iterable[Item]) -> Declared[Item]:
    """Mark ``iterable`` with a role; the caller's caller is the loop's place."""
    frame = sys._getframe(2)
    place = (frame.f_code.co_filename, frame.f_lineno)
    return Declared(role, iterable, place, id(frame))




@lru_cache(maxsize=1024)
def _site_at(path: str, line: int) -> table.Site:
    """A site of its own for a loop that is not rewritten, known by where it was declared."""
    site = table.Site(
        id=table.next_id(), kind="for", path=path, line=line, ordinal=-line, module="", scope=""
    )
    table.SITES[site.id] = site
    return site
