"""Where to continue from, and whether there is room to save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hookcore import Fit, Run, UsageError
from hookcore_checkpoint import places

if TYPE_CHECKING:
    from hookcore.snapshot import Snapshot


def find(run: Run, base: Path) -> tuple[Path, Snapshot] | None:
    """Read the checkpoint that the user asked to continue from, and have the run continue.

    Args:
        run: The run, at its start.
        base: Where its checkpoints lie.

    Returns:
        The checkpoint's folder and what it holds; None where the run starts fresh.

    Raises:
        UsageError: There is none, and there must be; or it cannot be continued from.
    """
    if run.resume is None:
        return None
    weights_only = run.resume == "weights"
    kinds = ("epoch", "mid-epoch", "emergency") if weights_only else ("epoch",)
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
