"""A directory of checkpoints: which are there, which is the newest good one, what may go."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import attrs

from hookcore.errors import HookcoreWarning, SnapshotError, three_parts

from . import forks
from .draft import erase, hidden_name, hold, is_abandoned, is_abandoned_link, sync_folder
from .manifests import MANIFEST, PARTS, Manifest, NewerFormat, manifest
from .model import Kind
from .store import verify


@attrs.frozen(eq=False)
class Entry:
    """One checkpoint of a directory.

    Args:
        path: Its folder.
        manifest: What it is, or ``None`` where that cannot be read.
        why: Why it cannot be read, or ``None``.
        newer: Whether that is because a newer hookcore has written it.
    """

    path: Path
    manifest: Manifest | None
    why: str | None
    newer: bool = False


def list_checkpoints(directory: str | Path) -> list[Entry]:
    """The checkpoints in a directory, newest first, by their manifests alone.

    A bad one comes with the reason, and by its folder's own time where its manifest cannot be read.
    Folders that are not hookcore's, hidden ones and links are passed over; a directory that does
    not exist holds none.
    """
    try:
        found = [path for path in Path(directory).iterdir() if _looks_ours(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    entries = [_entry(path) for path in sorted(found)]
    return sorted(entries, key=_age, reverse=True)


def _looks_ours(path: Path) -> bool:
    if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
        return False
    there = [name for name in (MANIFEST, *PARTS) if (path / name).is_file()]
    return len(there) > 1 or (there == [MANIFEST] and _entry(path).manifest is not None)


def _entry(path: Path) -> Entry:
    try:
        about = manifest(path)
    except SnapshotError as error:
        return Entry(path, None, error.why, newer=isinstance(error, NewerFormat))
    for name, expected in about.files.items():
        try:
            size = (path / name).stat().st_size
        except OSError:
            return Entry(path, about, f"{name} is missing")
        if size != expected.size:
            return Entry(path, about, f"{name} has {size} bytes instead of {expected.size}")
    return Entry(path, about, None)


def _age(entry: Entry) -> tuple[str, str]:
    if entry.manifest:
        return entry.manifest.header.created, entry.path.name
    changed = datetime.datetime.fromtimestamp(entry.path.stat().st_mtime, datetime.timezone.utc)
    return changed.isoformat(), entry.path.name


def latest(directory: str | Path, kinds: Iterable[Kind] = ("epoch",)) -> Path | None:
    """The newest checkpoint that is whole, each byte verified; warns of each that is passed over.

    Args:
        directory: Where they lie.
        kinds: Which will do; others are passed over without a word.
    """
    wanted = frozenset(kinds)
    for entry in list_checkpoints(directory):
        if entry.manifest is not None and entry.manifest.header.kind not in wanted:
            continue
        why = entry.why or _fault(entry.path)
        if why is None:
            return entry.path
        text = three_parts(f"the checkpoint {entry.path} is passed over", why)
        warnings.warn(text, HookcoreWarning, stacklevel=2)
    return None


def _fault(path: Path) -> str | None:
    try:
        verify(path)
    except SnapshotError as error:
        return error.why
    return None


def remove(folder: str | Path) -> None:
    """Deletes a checkpoint, if its manifest says that it is one and nothing else lies in it.

    Raises:
        SnapshotError: It is not provably hookcore's, or holds more; nothing is deleted then.
    """
    path = Path(folder)
    if path.is_symlink():
        raise _kept(path, "it is a link")
    about = _entry(path)
    if about.manifest is None:
        raise _kept(path, about.why or "")
    if strangers := sorted({each.name for each in path.iterdir()} - {MANIFEST, *PARTS}):
        raise _kept(path, f"it holds {strangers[0]}, which hookcore did not write")
    # Out of sight first, so that nobody ever sees half of it.
    hidden = path.absolute().parent / hidden_name(path.absolute().name)
    try:
        path.rename(hidden)
        erase(hidden)
        sync_folder(hidden.parent)
    except OSError as error:
        raise _kept(path, str(error)) from error


def _kept(path: Path, why: str) -> SnapshotError:
    return SnapshotError(f"{path} was not removed", why, "look into it and remove it by hand")


def clean_stale(directory: str | Path, age: float = 60.0) -> list[Path]:
    """Removes what processes that died while writing left behind; returns what it removed.

    A folder goes only if its name is a draft's of this machine, the process of that name is gone or
    it was quiet for ``age`` seconds, no process holds its lock and nothing but a checkpoint's files
    lies in it. Where the file system has no locks, and on Windows, nothing is provable and nothing
    goes.
    """
    try:
        found = sorted(Path(directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    abandoned = [path for path in found if is_abandoned(path, age)]
    for path in abandoned:
        erase(path)
    links = [path for path in found if is_abandoned_link(path)]
    for path in links:
        path.unlink(missing_ok=True)
    return abandoned + links


LATEST = "latest"
"""The link beside a run's checkpoints that names the newest to resume from."""


def mark_latest(folder: str | Path) -> None:
    """Has the link ``latest`` beside a checkpoint lead to it, in one step.

    It is for people and other programs: nothing here goes by it. Something else of that name is
    left alone, and so is a file system without links.
    """
    target = Path(folder)
    link = target.with_name(LATEST)
    if os.path.lexists(link) and not link.is_symlink():
        return
    draft = target.parent / hidden_name(LATEST)
    try:
        draft.symlink_to(target.name, target_is_directory=True)
        draft.replace(link)
    except (OSError, NotImplementedError):
        draft.unlink(missing_ok=True)


class Hold:
    """Marks a directory as in use by this process, until it is let go or the process ends.

    Where the file system has no locks, nothing is marked and every directory is free.

    Args:
        directory: It exists.

    Raises:
        BlockingIOError: Another process, or another run of this one, has it.
    """

    def __init__(self, directory: str | Path) -> None:
        self._handle = hold(Path(directory))

    def let_go(self) -> None:
        """Others may have it."""
        if self._handle is not None:
            forks.close(self._handle)
            self._handle = None


def check_directory(directory: str | Path, needed: int = 0) -> str | None:
    """Why saving into a directory will fail, or ``None``; leaves nothing behind.

    Args:
        directory: It may not exist yet.
        needed: How many bytes one checkpoint takes.
    """
    place = Path(directory).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return f"{place} is not a directory"
    try:
        with tempfile.TemporaryFile(dir=place) as probe:  # without a name where the system can
            probe.write(b"probe")
        free = shutil.disk_usage(place).free
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    if free < needed:
        return f"{place} has {free} bytes free; {needed} are needed"
    return None
