"""The place a trial runs in: a copy of some folders, or the folders themselves."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import attrs

from hookcore.errors import UsageError
from hookcore.scratch.listing import Entry, Listing

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_FILES = 20_000
_MEGABYTE = 1_000_000
_FICLONE = 0x40049409


@attrs.frozen
class Written:
    """A file that is not as it was before the trial.

    Attributes:
        path: Where it lies, or would lie without the copy.
        change: What happened to it.
    """

    path: Path
    change: Literal["new", "changed", "gone"]


class Workplace:
    """Some folders that a script may write to, and what it wrote there.

    Args:
        folders: The working folder, then others that the script's code lies in.

    Attributes:
        places: Folder as the user knows it, to where the script finds it.
        left_out: Folders of theirs that the script finds empty, or not at all.
    """

    copied = False

    def __init__(self, folders: Sequence[Path]) -> None:
        self.places: dict[Path, Path] = {folder: folder for folder in _outermost(folders)}
        self.left_out: list[Path] = []
        self._before: dict[Path, Mapping[str, Entry]] = {}

    def __enter__(self) -> Self:
        self._before = {place: self._entries(place) for place in self.places.values()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the folders as they are."""

    def inside(self, path: str | Path) -> Path:
        """Where the script finds what the user knows by this absolute path."""
        for folder, place in self.places.items():
            if folder == Path(path) or folder in Path(path).parents:
                return place / Path(path).relative_to(folder)
        return Path(path)

    def typed(self, argument: str) -> str:
        """An argument that names one of the folders, as the script must be given it."""
        return _replaced(argument, {str(f): str(p) for f, p in self.places.items()})

    def shown(self, text: str) -> str:
        """A text of the script's, with the paths that the user knows."""
        return _replaced(text, {str(p): str(f) for f, p in self.places.items()})

    def written(self) -> list[Written]:
        """What differs from before the script ran."""
        found = []
        for folder, place in self.places.items():
            before, after = self._before[place], self._entries(place)
            for path in sorted({*before, *after}):
                change = _change(before.get(path), after.get(path))
                if change is not None and not _implied(path, before, after):
                    found.append(Written(folder / path, change))
        return found

    @staticmethod
    def _entries(place: Path) -> dict[str, Entry]:
        return {entry.path: entry for entry in Listing(place, whole=True)}


class InPlace(Workplace):
    """The folders themselves."""


class Copy(Workplace):
    """A copy of the folders, below one temporary folder and gone after the trial.

    Each lies there under its own absolute path, so that ``../data`` finds its neighbour.

    Args:
        folders: As for :class:`Workplace`.
        limit: Megabytes that may be copied.
        root: The folder to make and to copy below; a new temporary one by default. Trials that
            are compared find themselves under the same paths.

    Raises:
        UsageError: On entry, where there is more than that to copy.
    """

    copied = True

    def __init__(self, folders: Sequence[Path], limit: int, root: Path | None = None) -> None:
        super().__init__(folders)
        self._limit = limit
        self._wanted = root
        self._root: Path | None = None

    def __enter__(self) -> Self:
        listings = {folder: Listing(folder) for folder in self.places}
        entries = {folder: self._counted(listing) for folder, listing in listings.items()}
        self._root = self._made_root()
        try:
            for folder, listing in listings.items():
                self.left_out += [folder / path for path in listing.left_out]
                self.places[folder] = self._copy(folder, entries[folder])
            return super().__enter__()
        except BaseException:
            self._remove()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the copy."""
        self._remove()

    def _made_root(self) -> Path:
        if self._wanted is None:
            return Path(tempfile.mkdtemp(prefix="hookcore-")).resolve()
        self._wanted.mkdir()
        return self._wanted.resolve()

    def _remove(self) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def _counted(self, listing: Listing) -> list[Entry]:
        """The entries; the walk ends as soon as there are too many."""
        entries, size = [], 0
        for entry in listing:
            entries.append(entry)
            size += entry.size
            if size > self._limit * _MEGABYTE:
                raise _too_large(listing.folder, f"it holds more than {self._limit} MB")
            if len(entries) > MOST_FILES:
                raise _too_large(listing.folder, f"it holds more than {MOST_FILES:,} files")
        return entries

    def _copy(self, folder: Path, entries: Sequence[Entry]) -> Path:
        assert self._root is not None
        drive = folder.drive.strip(":\\/").replace("\\", "_")
        target = self._root.joinpath(*filter(None, [drive]), *folder.parts[1:])
        target.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            source, copy = folder / entry.path, target / entry.path
            with contextlib.suppress(OSError):  # it went away, or is not ours to read
                if entry.kind == "folder":
                    copy.mkdir(exist_ok=True)
                elif entry.kind == "link":
                    copy.symlink_to(_link(source, folder))
                else:
                    _copy_file(source, copy)
        return target


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """The folders that lie in none of the others."""
    resolved = list(dict.fromkeys(folder.resolve() for folder in folders))
    return [one for one in resolved if not any(other in one.parents for other in resolved)]


def _link(source: Path, folder: Path) -> str:
    """Where a link of the copy leads: to the copy where it stays inside, else to the real thing."""
    target = source.readlink()
    inside = folder in (source.parent / target).resolve().parents
    if target.is_absolute() or inside:
        return str(target)
    return str((source.parent / target).resolve())


def _copy_file(source: Path, copy: Path) -> None:
    if sys.platform == "linux" and _cloned(source, copy):
        shutil.copystat(source, copy)
    else:
        shutil.copy2(source, copy)


def _cloned(source: Path, copy: Path) -> bool:
    """Share the file's blocks until one side is written to, where the file system can."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        with source.open("rb") as original, copy.open("wb") as clone:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
    except OSError:
        return False
    return True


def _too_large(folder: Path, why: str) -> UsageError:
    return UsageError(
        f"{folder} is too large to be copied for a trial",
        f"{why}, and the script may write anywhere in it",
        "let the script run and write in the folder itself:  --in-place\n"
        "or allow a larger copy:  --max-copy MEGABYTES",
    )


def _replaced(text: str, paths: Mapping[str, str]) -> str:
    """Replace paths at the front of longer ones; the longest first."""
    for old in sorted(paths, key=len, reverse=True):
        new = paths[old]
        if old == new or old not in text:
            continue
        head, *rest = text.split(old)
        parts = [head]
        for part in rest:
            ends = not part or part[0] in "/\\\"' \t\n:;,)>]"
            parts += [new if ends else old, part]
        text = "".join(parts)
    return text


def _change(before: Entry | None, after: Entry | None) -> Literal["new", "changed", "gone"] | None:
    if before is None:
        return "new"
    if after is None:
        return "gone"
    return None if before == after else "changed"


def _implied(path: str, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> bool:
    """Whether it is a folder that other changes tell of."""
    entry = after.get(path) or before[path]
    if entry.kind != "folder":
        return False
    inside = path + os.sep
    return any(other.startswith(inside) for other in (*before, *after))
