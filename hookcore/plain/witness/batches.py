"""What the DataLoaders have delivered: index lists, and the batches themselves."""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

from hookcore.plain.witness.digests import Token
from hookcore.plain.witness.variables import Variables


class Batches:
    """Knows the last batch of every place in the user's code that takes batches.

    Torch has no public hook for it: two methods of the iterators' base class are wrapped.

    Args:
        variables: Finds the place, and makes digests.
        heard: Whether the caller is the training that is watched.
    """

    def __init__(self, variables: Variables, heard: Callable[[], bool]) -> None:
        self._variables = variables
        self._heard = heard
        self._drawn: weakref.WeakKeyDictionary[Any, deque[Any]] = weakref.WeakKeyDictionary()
        self._last: dict[str, Token] = {}

    def last(self) -> dict[str, Token]:
        """The last batch of each place, its indices before its content."""
        return dict(self._last)

    def arm(self) -> None:
        """Begin to listen."""
        base: Any = _BaseDataLoaderIter
        following, drawing = base.__next__, base._next_index  # noqa: SLF001 - as said above

        def next_index(iterator: Any) -> Any:
            indices = drawing(iterator)
            self._drawn.setdefault(iterator, deque()).append(indices)
            return indices

        def next_batch(iterator: Any) -> Any:
            batch = following(iterator)
            if self._heard():
                self._delivered(iterator, batch)
            return batch

        base._next_index, base.__next__ = next_index, next_batch  # noqa: SLF001

    def _delivered(self, iterator: Any, batch: Any) -> None:
        frames = self._variables.frames(sys._getframe(2))
        if not frames:
            return
        place = self._variables.place(frames[0])
        drawn = self._drawn.get(iterator)
        if drawn and not iterator._num_workers:  # noqa: SLF001 - as said above
            # Nothing is drawn ahead: before the last ones are those that a resume has passed over.
            drawn = self._drawn[iterator] = deque([drawn[-1]])
        indices = drawn.popleft() if drawn else None
        for name, value in (("indices", indices), ("content", batch)):
            token = None if value is None else self._variables.token(value)
            if token is not None:
                self._last[f"{name} of the batch taken at {place}"] = token
