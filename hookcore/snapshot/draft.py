"""Writing that is either whole or not there: a hidden folder beside the target, then one rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from . import forks
from .manifests import MANIFEST, PARTS, FileSum

_OURS = re.compile(r"\..+\.hookcore-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")
_PIECE = 4 << 20  # so much lies between two breaks of a thread that writes


class Sink:
    """A file that knows the sum of what was meant to go into it.

    Args:
        file: Takes the bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Writes all of ``data``; keeps an error, which torch.save would replace by its own."""
        whole = memoryview(data).cast("B")
        try:
            for start in range(0, len(whole), _PIECE):
                piece = whole[start : start + _PIECE]
                self._file.write(piece)
                self._hash.update(piece)
                forks.breathe()
        except BaseException as error:
            self.error = error
            raise
        self._size += len(whole)
        return len(whole)

    def flush(self) -> None:
        """Does nothing: the draft flushes at the end."""

    def sum(self) -> FileSum:
        """Size and digest so far."""
        return FileSum(self._size, self._hash.hexdigest())


class Draft:
    """A folder in the making.

    Args:
        target: Where it goes.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.parent / hidden_name(target.name)

    def write(self, name: str, fill: Callable[[Sink], object]) -> FileSum:
        """Writes one file through to the disk.

        Args:
            name: One of a checkpoint's files.
            fill: Writes into the sink it is given.
        """
        with (self.folder / name).open("xb") as file:
            sink = Sink(file)
            try:
                fill(sink)
            except BaseException:
                if sink.error is not None:
                    raise sink.error from None
                raise
            file.flush()
            with forks.at_rest():
                os.fsync(file.fileno())
        return sink.sum()

    def publish(self) -> None:
        """Gives the folder its name, in one step."""
        sync_folder(self.folder)
        if os.path.lexists(self.target):
            raise FileExistsError(f"{self.target} exists")  # rename replaces an empty folder
        self.folder.rename(self.target)
        sync_folder(self.target.parent)


@contextlib.contextmanager
def drafted(target: Path) -> Iterator[Draft]:
    """A draft for a target; whatever goes wrong before it is published, nothing of it stays."""
    draft, handle = Draft(target), None
    try:
        draft.folder.mkdir(parents=True)
        handle = lock(draft.folder)
        yield draft
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more than one from tidying up
            erase(draft.folder)
        raise
    finally:
        if handle is not None:
            forks.close(handle)


def hidden_name(name: str) -> str:
    """A name for a folder that belongs to this process, on this machine."""
    return f".{name}.hookcore-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def lock(folder: Path) -> int | None:
    """Holds a folder until the handle is closed or the process ends; ``None`` if it cannot be."""
    with contextlib.suppress(BlockingIOError):
        return hold(folder)
    return None


def hold(folder: Path) -> int | None:
    """The same; ``None`` where the file system has no locks.

    Children do not hold it: close it with ``forks.close``.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    forks.keep(handle)
    return handle


def is_abandoned(folder: Path, age: float) -> bool:
    """Whether a folder is a draft, of this machine, whose process has ended.

    Args:
        folder: Any.
        age: Seconds for which it must have been quiet, where a process has the number of the one
            that made it.
    """
    match = _OURS.fullmatch(folder.name)
    if not match or match[1] != _machine() or folder.is_symlink() or not folder.is_dir():
        return False
    if _lives(int(match[2])) and time.time() - folder.stat().st_mtime < age:
        return False
    if {path.name for path in folder.iterdir()} - {MANIFEST, *PARTS}:
        return False
    handle = lock(folder)
    if handle is None:
        return False
    forks.close(handle)
    return True


def is_abandoned_link(path: Path) -> bool:
    """Whether a link was about to get its name when its process, of this machine, ended."""
    match = _OURS.fullmatch(path.name)
    if not match or match[1] != _machine() or not path.is_symlink():
        return False
    return not _lives(int(match[2]))


def _lives(pid: int) -> bool:
    if sys.platform == "win32":  # the question would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def erase(folder: Path) -> None:
    """Removes a checkpoint's files and their folder; a folder that holds anything else stays."""
    for name in (*reversed(PARTS), MANIFEST):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder last through a power cut, where the system can."""
    with _opened(folder) as handle:
        if handle is None:
            return
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.ENOTSUP,
            ):  # some network shares know no such thing
                raise


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    if sys.platform == "win32":  # folders cannot be opened there
        yield None
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
