"""What a directory holds too many of, taken away by hand rather than by the run that wrote it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from hookcore import SnapshotError
from hookcore.monitors import better
from hookcore_checkpoint.retention import kept, surplus
from hookcore_checkpoint.writer import labelled


def prune(
    place: Path, keep_last: int, keep_best: int, *, dry_run: bool = False
) -> tuple[list[Path], int]:
    """Take away what is too many of each series of checkpoints.

    Args:
        place: A directory with checkpoints.
        keep_last: How many to keep of each fit and kind.
        keep_best: How many to keep of each fit, by the metric that the newest was saved with.
        dry_run: Take nothing away.

    Returns:
        What went, and how many stay.

    Raises:
        SnapshotError: A run saves there, or one of them could not be taken away; or the best are
            asked for, and nothing tells which they are.
    """
    from hookcore.snapshot import Hold, clean_stale, remove

    try:
        hold = Hold(place)
    except BlockingIOError:
        raise SnapshotError(
            f"nothing was taken away from {place}",
            "a run saves there, and takes away what is too many itself",
            "wait for it to end",
        ) from None
    try:
        found = sorted(labelled(place), key=lambda one: _series(one[2]))
        gone: list[Path] = []
        for _, series in groupby(found, key=lambda one: _series(one[2])):
            gone += _surplus(list(series), keep_last, keep_best)
        if not dry_run:
            for folder in gone:
                remove(folder)
            clean_stale(place)
        return gone, len(found) - len(gone)
    finally:
        hold.let_go()


def _series(label: dict[str, Any]) -> str:
    return str(label.get("series", ""))


def _surplus(series: list[Any], keep_last: int, keep_best: int) -> list[Path]:
    newest = max((label for _, _, label in series), key=lambda label: label.get("number", 0))
    monitor, mode = newest.get("monitor"), newest.get("mode", "min")
    here = kept(series, monitor)
    if keep_best and all(one.value is None for one in here):
        raise SnapshotError(
            f"nothing was taken away from {series[0][0].parent}",
            "which are the best is not known there: the run was not asked to keep any",
            "leave out --keep-best     in a run:  -o checkpoint.keep_best=1",
        )
    over = surplus(here, keep_last, keep_best, lambda new, old: better(new, old, mode))
    return [one.key for one in over]
