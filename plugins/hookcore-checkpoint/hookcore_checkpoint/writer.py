"""One run's checkpoints on disk: written under numbers of its own, and taken away again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import SnapshotError
from hookcore_checkpoint import places
from hookcore_checkpoint.retention import Better, Kept, best, surplus

if TYPE_CHECKING:
    from hookcore.snapshot import Manifest, Snapshot

_LABEL = "checkpoint"
"""Where a snapshot's position says which run wrote it, as which, and how good it was."""


@attrs.define(eq=False)
class Writer:
    """Knows what it wrote, and touches nothing else.

    Every checkpoint carries the series it belongs to: a run and those that continue it. Runs that
    share a directory, even at the same time, never take each other's checkpoints away. Numbers
    rather than dates tell the order: clocks differ between the machines of a cluster.

    Args:
        base: The directory that was named.
        keep_last: How many to keep of each fit and kind; 0 keeps all.
        keep_best: How many to keep of each fit, by value.
        place: The folder in ``base`` that the run saves in; None until the first checkpoint.
        series: Of the run.
        written: How many were written.
        last: The last one.
        best: The best one that is there.
    """

    base: Path
    keep_last: int
    keep_best: int
    place: Path | None = None
    series: str = attrs.field(factory=lambda: uuid.uuid4().hex[:12])
    written: int = 0
    last: Path | None = None
    best: Kept | None = None
    _number: int | None = None

    def join(self, path: Path, snapshot: Snapshot) -> None:
        """Go on with the series of a checkpoint, where it lies."""
        self.place = path.parent
        self.series = snapshot.position.get(_LABEL, {}).get("series", self.series)

    def write(
        self, snapshot: Snapshot, name: str, monitor: str | None, value: float | None
    ) -> Path:
        """Write a checkpoint, whole and verified.

        Args:
            snapshot: What to write.
            name: What its folder is to be called; a taken name gets a number.
            monitor: Name of the monitored metric.
            value: Its value, where one has arrived since the last checkpoint.

        Raises:
            SnapshotError: It could not be written; what was there is untouched.
            OSError: The same.
        """
        from hookcore.snapshot import write

        if self.place is None:
            self.place = places.claim(self.base)
        if self._number is None:
            self._number = self._last_number(self.place)
        number = self._number + 1
        label = {"series": self.series, "number": number, "monitor": monitor, "value": value}
        labelled = attrs.evolve(snapshot, position={**snapshot.position, _LABEL: label})
        path = write(labelled, places.unused(self.place / name))
        self._number = number
        self.written += 1
        self.last = path
        return path

    def tidy(self, monitor: str | None, better: Better, tell: Callable[[str], None]) -> None:
        """Take away what the user does not want kept, out of what this series has written.

        Args:
            monitor: Name of the monitored metric.
            better: Whether a value of it improves on another.
            tell: Hears why one could not be taken away.
        """
        if self.place is None or (self.keep_last == 0 and not self.keep_best):
            return
        from hookcore.snapshot import remove

        found = []
        for path, about, label in _labelled(self.place):
            if label.get("series") == self.series:
                value = label["value"] if label["monitor"] == monitor else None
                kind, fit = about.header.kind, about.position["fit"]
                found.append(Kept(path, label["number"], kind, fit, value))
        if self.keep_best:
            self.best = next(iter(best(found, 1, better)), None)
        for one in surplus(found, self.keep_last, self.keep_best, better):
            try:
                remove(one.key)
            except SnapshotError as error:
                tell(str(error))

    def summary(self, folder: Path, monitor: str | None) -> list[str]:
        """What was written, for the closing lines."""
        lines = []
        if self.last is not None:
            count = "one checkpoint" if self.written == 1 else f"{self.written} checkpoints"
            lines.append(f"wrote {count}, the last:  {places.shown(self.last, folder)}")
        if self.best is not None:
            where = places.shown(self.best.key, folder)
            lines.append(f"the best ({monitor} {self.best.value:.6g}):  {where}")
        return lines

    def _last_number(self, place: Path) -> int:
        from hookcore.snapshot import clean_stale

        clean_stale(place)
        labels = (label for _, _, label in _labelled(place))
        return max((n["number"] for n in labels if n.get("series") == self.series), default=0)


def _labelled(place: Path) -> list[tuple[Path, Manifest, dict[str, Any]]]:
    """The checkpoints in a folder that look whole, with their labels."""
    from hookcore.snapshot import list_checkpoints

    return [
        (entry.path, entry.manifest, entry.manifest.position.get(_LABEL, {}))
        for entry in list_checkpoints(place)
        if entry.manifest is not None and entry.why is None
    ]
