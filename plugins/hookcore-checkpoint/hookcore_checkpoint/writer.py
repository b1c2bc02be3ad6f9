"""One run's checkpoints on disk: written under numbers of its own, and taken away again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import SnapshotError, UsageError
from hookcore_checkpoint import places
from hookcore_checkpoint.mirror import Mirror
from hookcore_checkpoint.retention import Better, Kept, best, kept, surplus

if TYPE_CHECKING:
    from hookcore.snapshot import Hold, Job, Manifest, Memory, Snapshot, Staged

LABEL = "checkpoint"
"""Where a snapshot's position says which run wrote it, as which, and how good it was."""


@attrs.frozen
class Written:
    """What became of a checkpoint that is on disk.

    Args:
        path: Its folder.
        best: The best of each fit that is there now.
        left: Why something that was too much could not be taken away.
        numbers: Of the run's checkpoints that are there now.
        lost: Why it is not at the URL where a copy of it should be, or None.
    """

    path: Path
    best: dict[int, Kept]
    left: list[str]
    numbers: frozenset[int] = frozenset()
    lost: str | None = None


@attrs.define(eq=False)
class Writer:
    """Knows what it wrote, and touches nothing else.

    Every checkpoint carries the series it belongs to: a run and those that continue it. Runs that
    share a directory, even at the same time, never take each other's checkpoints away. Numbers
    rather than dates tell the order: clocks differ between the machines of a cluster.

    Writing happens in a thread of its own, from a copy that is made before :meth:`begin` returns.
    There is one copy, and one thread: :meth:`collect` comes before the next :meth:`begin`.

    Args:
        base: The directory that was named.
        keep_last: How many to keep of each fit and kind; 0 keeps all.
        keep_best: How many to keep of each fit, by value.
        mirror: Where copies go, or None.
        place: The folder in ``base`` that the run saves in; None until the first checkpoint.
        series: Of the run.
        written: How many were written.
        last: The last one.
        number: Of the one that was begun last, or is continued from.
        best: The best one of each fit that is there.
    """

    base: Path
    keep_last: int
    keep_best: int
    mirror: Mirror | None = None
    place: Path | None = None
    series: str = attrs.field(factory=lambda: uuid.uuid4().hex[:12])
    written: int = 0
    last: Path | None = None
    number: int | None = None
    best: dict[int, Kept] = attrs.field(factory=dict)
    _highest: int | None = None
    _hold: Hold | None = None
    _memory: Memory | None = None
    _staged: Staged | None = None
    _job: Job[Written] | None = None
    _pid: int = attrs.field(factory=os.getpid)

    def join(self, path: Path, snapshot: Snapshot) -> None:
        """Go on with the series of a checkpoint, where it lies.

        Raises:
            UsageError: Another run saves there.
        """
        from hookcore.snapshot import Hold

        try:
            self._hold = Hold(path.parent)
        except BlockingIOError:
            raise UsageError(
                f"the run in {path.parent} cannot be continued",
                "another process saves there: it has not ended",
                "wait for it to end, or end it     start another run:  leave out --resume",
            ) from None
        self.place = path.parent
        label = snapshot.position.get(LABEL, {})
        self.series = label.get("series", self.series)
        self.number = label.get("number")
        self.clean()

    def look(self, monitor: str | None, better: Better) -> None:
        """Find the best ones of the run that is continued."""
        assert self.place is not None
        mine = [one for one in self._labelled(self.place) if self._is_mine(one[2])]
        self.best = self._tops(kept(mine, monitor), better)

    @property
    def underway(self) -> bool:
        """Whether a checkpoint is being written; a forked child has no part in it."""
        return self._job is not None and os.getpid() == self._pid

    def begin(
        self,
        snapshot: Snapshot,
        name: str,
        label: dict[str, Any],
        better: Better,
        done: Callable[[], object],
    ) -> None:
        """Begin to write a checkpoint; from here on the training may go on.

        Args:
            snapshot: What to write.
            name: What its folder is to be called; a taken name gets a number.
            label: What else is to be known of it: ``monitor``, and its ``value``, where one has
                arrived since the last checkpoint.
            better: Whether a value of the monitor improves on another.
            done: Called in the writer's thread when all is done.

        Raises:
            SnapshotError: A value cannot be kept.
            OSError: The file system refuses.
        """
        from hookcore.snapshot import Job, Memory, stage

        assert not self.underway
        if self.place is None:
            taken = () if self.mirror is None else self.mirror.runs()
            self.place, self._hold = places.claim(self.base, taken)
        if self._highest is None:
            self._highest = self._last_number(self.place)
        if self._memory is None:
            self._memory = Memory()
        number = self._highest + 1
        label = {"series": self.series, "number": number, **label}
        labelled = attrs.evolve(snapshot, position={**snapshot.position, LABEL: label})
        self._staged = staged = stage(labelled, self._memory)
        self._highest = self.number = number
        folder = self.place / name
        resumable = snapshot.header.kind in places.RESUMABLE
        monitor = label["monitor"]
        self._job = Job(lambda: self._write(staged, folder, resumable, monitor, better), done)

    def collect(self) -> Written | None:
        """What became of the checkpoint that was begun; waits for it.

        Raises:
            SnapshotError: It could not be written; what was there is untouched.
            OSError: The same.
        """
        if not self.underway:
            return None
        job, staged, self._job, self._staged = self._job, self._staged, None, None
        assert job is not None and staged is not None and self._memory is not None
        try:
            done = job.result()
        finally:
            self._memory.begin(staged.inner.blobs.values())
        self.written += 1
        self.last, self.best = done.path, done.best
        return done

    def let_go(self) -> None:
        """The run is over: others may save where it did."""
        if self._hold is not None:
            self._hold.let_go()
        self._memory = None

    def summary(self, folder: Path, monitor: str | None, better: Better) -> list[str]:
        """What was written, for the closing lines."""
        lines = []
        if self.last is not None:
            count = "one checkpoint" if self.written == 1 else f"{self.written} checkpoints"
            lines.append(f"wrote {count}, the last:  {places.shown(self.last, folder)}")
        for one in best(self.best.values(), 1, better):
            where = places.shown(one.key, folder)
            lines.append(f"the best ({monitor} {one.value:.6g}):  {where}")
        return lines

    # -- in the writer's thread ------------------------------------------------------------

    def _write(
        self, staged: Staged, folder: Path, resumable: bool, monitor: str | None, better: Better
    ) -> Written:
        from hookcore.snapshot import mark_latest, write

        path = write(staged, places.unused(folder))
        if resumable:
            mark_latest(path)
        lost = None
        if self.mirror is not None:
            try:
                self.mirror.send(path, self.base)
            except SnapshotError as error:
                lost = str(error)
        written = Written(path, {}, [], lost=lost)
        return self._tidy(written, monitor, better)

    def _tidy(self, written: Written, monitor: str | None, better: Better) -> Written:
        """Take away what the user does not want kept, out of what this series has written."""
        if self.keep_last == 0 and not self.keep_best:
            return written
        from hookcore.snapshot import remove

        mine = [one for one in self._labelled(written.path.parent) if self._is_mine(one[2])]
        found = kept(mine, monitor)
        gone = surplus(found, self.keep_last, self.keep_best, better)
        left = []
        for one in gone:
            try:
                if one.key.exists():
                    remove(one.key)
                if self.mirror is not None:
                    self.mirror.remove(one.key, self.base)
            except SnapshotError as error:
                left.append(str(error))
        there = {one.number for one in found} - {one.number for one in gone}
        tops = self._tops(found, better) if self.keep_best else {}
        return attrs.evolve(written, best=tops, left=left, numbers=frozenset(there))

    def _tops(self, found: list[Kept], better: Better) -> dict[int, Kept]:
        """The best one of each fit."""
        fits = {one.fit for one in found}
        tops = {fit: best([o for o in found if o.fit == fit], 1, better) for fit in fits}
        return {fit: top[0] for fit, top in tops.items() if top}

    def _is_mine(self, label: dict[str, Any]) -> bool:
        return bool(label.get("series") == self.series)

    def _labelled(self, place: Path) -> list[tuple[Path, Manifest, dict[str, Any]]]:
        """Those here, and those that another machine has copied to the URL and are not here."""
        there = [] if self.mirror is None else self.mirror.beyond(self.base)
        more = [one for one in there if one[0].parent == place]
        return [*labelled(place), *((p, a, a.position.get(LABEL, {})) for p, a in more)]

    def clean(self) -> None:
        """What a process left that was killed while it wrote, this run's or another's."""
        from hookcore.snapshot import clean_stale

        for place in places.runs(self.base):
            clean_stale(place)

    def _last_number(self, place: Path) -> int:
        self.clean()
        labels = (label for _, _, label in self._labelled(place))
        return max((label["number"] for label in labels if self._is_mine(label)), default=0)


def labelled(place: Path) -> list[tuple[Path, Manifest, dict[str, Any]]]:
    """The checkpoints in a folder that look whole, with their labels."""
    from hookcore.snapshot import list_checkpoints

    return [
        (entry.path, entry.manifest, entry.manifest.position.get(LABEL, {}))
        for entry in list_checkpoints(place)
        if entry.manifest is not None and entry.why is None
    ]
