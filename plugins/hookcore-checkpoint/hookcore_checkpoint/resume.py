"""Where to continue from, and whether there is room to save."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hookcore import Fit, Run, SnapshotError, UsageError
from hookcore_checkpoint import places
from hookcore_checkpoint.mirror import Mirror
from hookcore_checkpoint.retention import Kept
from hookcore_checkpoint.writer import LABEL

if TYPE_CHECKING:
    from hookcore.snapshot import Snapshot

_FRESH = "start afresh:  leave out --resume     take the weights alone:  --resume-mode weights"


def find(run: Run, base: Path, mirror: Mirror | None) -> tuple[Path, Snapshot] | None:
    """Read the checkpoint that the user asked to continue from, and have the run continue.

    Args:
        run: The run, at its start.
        base: Where its checkpoints lie.
        mirror: Where copies of them lie, or None.

    Returns:
        The checkpoint's folder and what it holds; None where the run starts fresh.

    Raises:
        UsageError: There is none, and there must be; or it cannot be continued from.
    """
    if run.resume is None:
        return None
    weights_only = run.resume == "weights"
    kinds = ("epoch", "mid-epoch", "partial", "emergency") if weights_only else places.RESUMABLE
    if mirror is not None:
        mirror.fetch(base, kinds, run.warn)
    found = places.newest(base, kinds, run.warn)
    where = places.shown(base, run.folder)
    if found is None:
        if run.resume == "must":
            raise UsageError(
                "there is no checkpoint to continue from",
                f"none that is whole lies in {where}",
                "start fresh where there is none:  --resume     "
                "look elsewhere:  -o checkpoint.directory=...",
            )
        run.warn(f"there is no checkpoint in {where}: the run starts fresh")
        return None
    path, snapshot = found
    if not weights_only:
        _check_processes(run, snapshot)
    run.restore(snapshot, path)
    verb = "takes the weights of" if weights_only else "continues from"
    at = snapshot.header.created[:19].replace("T", " ")
    run.say(f"{verb} {places.shown(path, run.folder)} (of {at} UTC)")
    return path, snapshot


def too_little_room(place: Path, fit: Fit) -> str | None:
    """Why a checkpoint will not fit: the weights, and twice as much again for an optimizer."""
    from hookcore.snapshot import check_directory

    tensors = [t for model in fit.models for t in model.state_dict().values()]
    size = sum(t.numel() * t.element_size() for t in tensors if hasattr(t, "element_size"))
    return check_directory(place, 3 * size)


def _check_processes(run: Run, snapshot: Snapshot) -> None:
    then = snapshot.position.get(LABEL, {}).get("world_size", run.world_size)
    if then != run.world_size:
        raise UsageError(
            "this checkpoint belongs to a run of another size",
            f"{_processes(then)} trained together then, now {_processes(run.world_size)}",
            _FRESH,
        )


def load_best(run: Run, fit: Fit, best: Kept | None, monitor: str | None) -> None:
    """Put the weights of the best checkpoint back, as early stopping does from memory."""
    if best is None:
        run.say(
            "no best weights are put back: no checkpoint has a value of the monitored metric "
            "that is a number"
        )
        return
    from hookcore.snapshot import read

    where = places.shown(best.key, run.folder)
    try:
        weights = read(best.key).weights()
    except SnapshotError as error:
        run.fail(
            f"the weights of the best {monitor} were not put back, the last ones stay\n"
            f"    {where}: {error.why}\n"
            f"  look at the others:  hookcore checkpoint verify {shlex.quote(str(best.key.parent))}"
        )
        return
    fit.load_weights(weights)
    text = f"the weights of the best {monitor}, {best.value:.6g}, of {where}"
    run.say(f"checkpoint puts back {text}")
    run.note(f"checkpoint put back {text}")


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"
