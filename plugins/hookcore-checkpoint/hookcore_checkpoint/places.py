"""Folders: where a run's checkpoints lie, what they are called, which one is the newest.

Nothing here loads torch before it reads or writes a checkpoint: a script may still have to set the
variables that torch reads when it is first imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcore import SnapshotError, UsageError

if TYPE_CHECKING:
    from hookcore import Run
    from hookcore.snapshot import Entry, Hold, Snapshot

FILES = ("manifest.json", "state.json", "tensors.pt")
"""What a checkpoint's folder holds."""

RESUMABLE = ("epoch", "mid-epoch")
"""Kinds of checkpoints that a run can be continued from."""

_RUN = re.compile(r"run-(\d+)")
_SUFFIX = {"epoch": "", "mid-epoch": "", "partial": "-partial", "emergency": "-emergency"}


def default_directory(run: Run) -> Path:
    """``checkpoints/<name of the script or function>`` under the working folder at start."""
    name = re.sub(r"[^\w.-]+", "_", run.name).strip(".") or "run"
    return run.folder / "checkpoints" / name


def shown(path: Path, folder: Path) -> str:
    """A path as people read it: relative to the working folder where it lies below."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(folder))
    return str(path)


def obstacle(directory: Path) -> str | None:
    """Why nothing can be saved in a directory, or None; leaves nothing behind."""
    place = directory.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return f"{place} is not a directory"
    try:
        with tempfile.TemporaryFile(dir=place) as probe:  # without a name where the system can
            probe.write(b"probe")
    except OSError as error:
        return f"{place} cannot be written to: {error.strerror or error}"
    return None


def runs(base: Path) -> list[Path]:
    """The folders that hold, or may hold, a run's checkpoints: the base, then run-2, run-3, ..."""
    with contextlib.suppress(OSError):
        numbered = {int(m[1]): p for p in base.iterdir() if (m := _RUN.fullmatch(p.name))}
        return [base, *(numbered[n] for n in sorted(numbered) if numbered[n].is_dir())]
    return [base]


def fresh(base: Path, taken: Collection[str] = ()) -> Path:
    """Where a run that continues nothing will save: the base, or the next ``run-N`` in it.

    Args:
        base: The directory.
        taken: Names of runs that lie elsewhere; ``""`` is the base.
    """
    if len(runs(base)) == 1 and not holds_checkpoints(base) and not taken:
        return base
    return _beside(base, taken)


def _beside(base: Path, taken: Collection[str]) -> Path:
    names = (*taken, *(place.name for place in runs(base)[1:]))
    numbers = [int(match[1]) for name in names if (match := _RUN.fullmatch(name))]
    return base / f"run-{max(numbers, default=1) + 1}"


def claim(base: Path, taken: Collection[str] = ()) -> tuple[Path, Hold]:
    """Make that folder and hold it; of two runs that start together each gets one of its own.

    Args:
        base: The directory.
        taken: Names of runs that lie elsewhere.

    Raises:
        OSError: The file system refuses.
    """
    from hookcore.snapshot import Hold

    place = fresh(base, taken)
    while True:
        try:
            place.mkdir(parents=True, exist_ok=place == base)
            return place, Hold(place)
        except BlockingIOError:
            pass
        except FileExistsError:
            if not place.is_dir():
                raise
        place = _beside(base, taken)


def holds_checkpoints(directory: Path) -> bool:
    """Whether something that looks like a checkpoint lies in a directory."""
    with contextlib.suppress(OSError):
        found = (path for path in directory.iterdir() if not path.name.startswith("."))
        return any((path / FILES[0]).is_file() for path in found)
    return False


def name_of(position: Mapping[str, Any], kind: str, *, has_epochs: bool) -> str:
    """What a checkpoint's folder is called: ``epoch-0003-step-001200``.

    Args:
        position: Where the run stood.
        kind: What kind of checkpoint it is.
        has_epochs: Whether the loop has epochs.
    """
    fit = f"fit-{position['fit']}-" if position.get("fit") else ""
    epoch = f"epoch-{position['epoch']:04d}-" if has_epochs else ""
    return f"{fit}{epoch}step-{position['step']:06d}{_SUFFIX[kind]}"


def unused(path: Path) -> Path:
    """The path, or the first of ``path-2``, ``path-3`` ... that nothing stands under."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def newest(
    base: Path, kinds: Collection[str], tell: Callable[[str], None]
) -> tuple[Path, Snapshot] | None:
    """The newest checkpoint that is whole, and what it holds.

    Args:
        base: The directory; its ``run-N`` count too.
        kinds: Which will do.
        tell: Hears of each one that is passed over because it is damaged.

    Raises:
        UsageError: A newer hookcore has written the newest.
    """
    from hookcore.snapshot import list_checkpoints, read

    listed = [list_checkpoints(place) for place in runs(base)]
    for entries in sorted(listed, key=lambda entries: _newest_date(entries, kinds), reverse=True):
        for entry in entries:
            if entry.newer:
                raise UsageError(
                    f"{entry.path} cannot be continued from",
                    entry.why or "",
                    "pip install --upgrade hookcore     start afresh:  leave out --resume",
                )
            if entry.manifest is not None and entry.manifest.header.kind not in kinds:
                continue
            try:
                if entry.why is None:
                    return entry.path, read(entry.path)
                why = entry.why
            except SnapshotError as error:
                why = error.why
            tell(f"the checkpoint {entry.path} is damaged and passed over\n    {why}")
    return None


def _newest_date(entries: list[Entry], kinds: Collection[str]) -> str:
    dates = (e.manifest.header for e in entries if e.manifest is not None and e.why is None)
    return max((header.created for header in dates if header.kind in kinds), default="")
