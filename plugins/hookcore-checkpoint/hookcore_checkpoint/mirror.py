"""Checkpoints elsewhere: a copy of each at a URL, and from there back onto this machine."""

from __future__ import annotations

import contextlib
import functools
import glob
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hookcore import SnapshotError, UsageError
from hookcore_checkpoint import places

if TYPE_CHECKING:
    from hookcore.snapshot import Manifest


def is_url(directory: str) -> bool:
    """Whether a directory is one that fsspec opens."""
    return "://" in directory


class Mirror:
    """What lies under a URL, laid out as it is on this machine.

    A checkpoint is written here, whole and verified, and then copied; its manifest goes last, so
    that what has one is whole there too. Coming back it is verified as any other.

    Args:
        url: As fsspec understands it: ``s3://bucket/runs``.

    Raises:
        UsageError: It cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._there: dict[PurePosixPath, Manifest] = {}
        elsewhere = "name a folder:  -o checkpoint.directory=..."
        what = f"checkpoint.directory = {url}: nothing can be saved there"
        try:
            import fsspec.core  # type: ignore[import-untyped]
        except ImportError as error:
            way_out = f"pip install 'hookcore-checkpoint[remote]'     {elsewhere}"
            raise UsageError(what, f"it takes fsspec, and {error}", way_out) from None
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
            self._system.exists(self._root)
        except ImportError as error:
            raise UsageError(what, str(error), f"install what it names     {elsewhere}") from None
        except Exception as error:  # each kind of storage raises its own
            raise UsageError(what, _line(error), elsewhere) from error

    def send(self, folder: Path, base: Path) -> None:
        """Copy a checkpoint.

        Args:
            folder: The checkpoint.
            base: What corresponds to the URL.

        Raises:
            SnapshotError: It is not there.
        """
        there = self._at(folder.relative_to(base).as_posix())
        try:
            self._system.makedirs(there, exist_ok=True)
            for name in reversed(places.FILES):  # the manifest last
                self._system.put_file(str(folder / name), f"{there}/{name}")
        except Exception as error:  # each kind of storage raises its own
            raise SnapshotError(
                f"{folder} was not copied to {self.url}",
                _line(error),
                "it is whole where it is; look at the connection",
            ) from error

    def remove(self, folder: Path, base: Path) -> None:
        """Take a checkpoint's copy away, the manifest first.

        Raises:
            SnapshotError: It is still there.
        """
        relative = folder.relative_to(base).as_posix()
        there = self._at(relative)
        self._there.pop(PurePosixPath(relative), None)
        try:
            for name in places.FILES:
                with contextlib.suppress(FileNotFoundError):
                    self._system.rm_file(f"{there}/{name}")
            with contextlib.suppress(FileNotFoundError):
                self._system.rmdir(there)
        except Exception as error:  # each kind of storage raises its own
            raise SnapshotError(f"{there} was not removed", _line(error)) from error

    def runs(self) -> set[str]:
        """Which runs lie there: ``""`` for the first, ``run-2`` and so on for others."""
        parents = (path.parent.as_posix() for path in self._checkpoints())
        return {"" if parent == "." else parent for parent in parents}

    def fetch(self, base: Path, kinds: Collection[str], tell: Callable[[str], None]) -> None:
        """Bring the newest one, where it is newer than all that are here.

        Args:
            base: What corresponds to the URL.
            kinds: Which will do.
            tell: Hears of each one that is passed over because it is damaged.
        """
        from hookcore.snapshot import list_checkpoints, receive

        entries = [entry for place in places.runs(base) for entry in list_checkpoints(place)]
        here = [e.manifest.header for e in entries if e.manifest is not None and e.why is None]
        newest = max((h.created for h in here if h.kind in kinds), default="")
        self._there = dict(self._manifests(tell))
        found = [
            (about.header.created, path)
            for path, about in self._there.items()
            if about.header.kind in kinds
        ]
        for created, path in sorted(found, reverse=True):
            if created <= newest:
                return
            try:
                receive(places.unused(base / path), functools.partial(self._open, path))
            except (SnapshotError, OSError) as error:
                why = error.why if isinstance(error, SnapshotError) else str(error)
                tell(f"the checkpoint {self.url}/{path} is damaged and passed over\n    {why}")
            else:
                return

    def beyond(self, base: Path) -> list[tuple[Path, Manifest]]:
        """Those that lay there when the run began and are not here, by where they would be."""
        there = ((base / path, about) for path, about in self._there.items())
        return [(path, about) for path, about in there if not path.exists()]

    def _manifests(self, tell: Callable[[str], None]) -> list[tuple[PurePosixPath, Manifest]]:
        from hookcore.snapshot import manifest

        found = []
        for path in self._checkpoints():
            with tempfile.TemporaryDirectory() as folder:
                content = self._system.cat_file(self._at(f"{path}/{places.FILES[0]}"))
                Path(folder, places.FILES[0]).write_bytes(content)
                try:
                    found.append((path, manifest(folder)))
                except SnapshotError as error:
                    why = error.why
                    tell(f"the checkpoint {self.url}/{path} is damaged and passed over\n    {why}")
        return found

    def _checkpoints(self) -> list[PurePosixPath]:
        """Their places below the URL."""
        self._system.invalidate_cache()
        marks = (f"*/{places.FILES[0]}", f"run-*/*/{places.FILES[0]}")
        base = glob.escape(self._at(""))
        found = {path for mark in marks for path in self._system.glob(base + mark)}
        root = PurePosixPath(self._at("x")).parent
        return sorted(PurePosixPath(path).parent.relative_to(root) for path in found)

    def _open(self, path: PurePosixPath, name: str) -> Any:
        return self._system.open(self._at(f"{path}/{name}"), "rb")

    def _at(self, relative: str) -> str:
        return f"{str(self._root).rstrip('/')}/{relative}"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
