"""What frames show of their names, and which loops are asked to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hookcore.plain import gate

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop


class Shown:
    """Names of frames, as generated code shows them.

    Attributes:
        seen: Names by the site or function that they were shown for. What a ``return`` computes
            runs in between, and shows names of its own.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.seen: dict[int, dict[str, Any]] = {}
        self._unheard: set[int] = set()  # asked for a checkpoint's sake alone: no metrics

    def take(self, owner: int) -> dict[str, Any]:
        """What was shown for a site or function; it is forgotten here."""
        return self.seen.pop(owner, {})

    def heard(self, loop: Loop, names: dict[str, Any]) -> dict[str, Any]:
        """Those of a loop's names that may be metrics."""
        return {} if loop.site.id in self._unheard else names

    def ask_every_loop(self) -> None:
        """Have every loop of the fit show its names at the end of its iteration."""
        for loop in self._host.stack:
            if loop.role is not None:
                gate.tails[loop.site.id] = None
        self._unheard.clear()

    def ask_batches(self) -> None:
        """Have the batch loop show its variables at the end of its current iteration."""
        roles = self._host.recognition.roles
        if roles is not None and (roles.batch.site.names or roles.batch.site.module_level):
            gate.tails[roles.batch.site.id] = None
            self._unheard.discard(roles.batch.site.id)
            self._host.unusual = True

    def awaited(self) -> bool:
        """Whether the batch loop's variables were asked for and have not been seen yet."""
        roles = self._host.recognition.roles
        if roles is None or (roles.epochs and roles.outer is roles.batch):
            return False
        return roles.batch.site.id in gate.tails

    def ask_for_checkpoints(self, loops: Iterable[Loop]) -> None:
        """Have loops show their names at the end of their iterations, for checkpoints alone."""
        roles = self._host.recognition.roles
        for loop in loops:
            site = loop.site.id
            if roles is not None and loop is not roles.outer and site not in gate.tails:
                self._unheard.add(site)
            gate.tails[site] = None

    def no_more(self, loop: Loop) -> None:
        """A loop has shown its names, and need not do so again."""
        gate.tails.pop(loop.site.id, None)
        self._unheard.discard(loop.site.id)

    def forget(self) -> None:
        """The fit is over: nobody asks, and nothing is kept alive."""
        self.seen.clear()
        self._unheard.clear()
        gate.tails.clear()
        gate.frames.clear()
