"""What lies in a folder, and what of it is no business of a trial."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

LEFT_OUT = frozenset({
    ".cache", ".eggs", ".git", ".hg", ".ipynb_checkpoints", ".mypy_cache", ".nox", ".pytest_cache",
    ".ruff_cache", ".svn", ".tox", "__pycache__", "node_modules",
})  # fmt: skip
"""Folders that are not copied: version control, caches."""
EMPTIED = frozenset({"checkpoints", "ckpt", "ckpts"})
"""Folders of which the copy holds only the folder itself: scripts write into them."""

Kind = Literal["file", "folder", "link"]


@attrs.frozen
class Entry:
    """One thing in a folder.

    Attributes:
        path: Where it lies, relative to the folder.
        kind: What it is; sockets and pipes are not listed.
        size: Bytes of a file.
        stamp: What changes when it is written to.
    """

    path: str
    kind: Kind
    size: int = 0
    stamp: tuple[int, ...] = ()


@attrs.define
class Listing:
    """Walks over a folder, as often as it is iterated.

    Attributes:
        folder: The folder.
        whole: Whether folders of checkpoints are entered too.
        left_out: Folders that were not entered, relative to the folder; known after a walk.
    """

    folder: Path
    whole: bool = False
    left_out: list[str] = attrs.field(factory=list)

    def __iter__(self) -> Iterator[Entry]:
        self.left_out.clear()
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            try:
                found = sorted(os.scandir(self.folder / inside), key=lambda entry: entry.name)
            except OSError:  # it went away, or is not ours to read; the copy lacks it too
                continue
            for entry in found:
                path = os.path.join(inside, entry.name)  # noqa: PTH118 - relative, as text
                one = _entry(entry, path)
                if one is None:
                    continue
                if one.kind != "folder":
                    yield one
                elif entry.name in LEFT_OUT or _is_environment(entry):
                    self.left_out.append(path)
                elif entry.name in EMPTIED and not self.whole:
                    self.left_out.append(path)
                    yield one
                else:
                    waiting.append(path)
                    yield one


def _entry(entry: os.DirEntry[str], path: str) -> Entry | None:
    try:
        if entry.is_symlink():
            return Entry(path, "link")
        if entry.is_dir(follow_symlinks=False):
            return Entry(path, "folder")
        state = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return Entry(path, "file", state.st_size, (state.st_size, state.st_mtime_ns))


def _is_environment(entry: os.DirEntry[str]) -> bool:
    return (Path(entry.path) / "pyvenv.cfg").is_file()
