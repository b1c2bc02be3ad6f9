"""The observer, as soon as there is a torch to observe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hookcore.plain.resume.pending import Pending
    from hookcore.plain.witness.observer import Observer


class Watch:
    """Stands in for the observer until the script has imported torch.

    Args:
        make: Makes the observer; it may import torch.
    """

    def __init__(self, make: Callable[[], Observer]) -> None:
        self._make = make
        self.observer: Observer | None = None
        self._pending: Pending | None = None

    def begin(self) -> None:
        """Torch is there."""
        self.observer = self._make()
        self.observer.pending = self._pending
        self.observer.arm()

    def expect(self, pending: Pending) -> None:
        """The run will go on from a checkpoint."""
        self._pending = pending
        if self.observer is not None:
            self.observer.pending = pending

    @property
    def place(self) -> tuple[int, int]:
        """Moments and steps so far, as the uninterrupted run numbers them."""
        return (0, 0) if self.observer is None else (self.observer.moments, self.observer.steps)

    def position_key(self, position: Any) -> str:
        """What tells the checkpoints of one run apart."""
        from hookcore.plain.witness.observer import position_key

        return position_key(position)
