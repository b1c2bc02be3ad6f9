"""Writing a checkpoint and reading it back: whole, verified, or refused with the reason."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
import pickletools
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from hookcore.errors import SnapshotError

from . import forks
from .blobs import check_blobs
from .codec import Encoded
from .draft import drafted
from .leaves import Json
from .manifests import (
    MANIFEST,
    PARTS,
    STATE,
    TENSORS,
    FileSum,
    Manifest,
    manifest,
    manifest_bytes,
    refusal,
)
from .model import Snapshot, Staged, encode_inner, encode_outer, rebuild

_CHUNK = 1 << 20

# All that a table of bytes needs, whatever else the program may have declared safe for torch.load.
_HARMLESS = {
    "torch._utils _rebuild_tensor_v2",
    "torch ByteStorage",
    "collections OrderedDict",
}
_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BUILD"}


def write(snapshot: Snapshot | Staged, folder: str | Path) -> Path:
    """Writes a checkpoint so that it is either whole and verified, or not there.

    The files are written into a hidden folder beside ``folder``, flushed to the disk, read back by
    the code that ``read`` uses, and only then given their name. Nothing that exists is touched.

    Args:
        snapshot: What to write; stage it first if the training goes on meanwhile.
        folder: A path that does not exist yet; its parents are made.

    Returns:
        The folder.

    Raises:
        SnapshotError: A value cannot be kept, or the file system refuses.
    """
    target = Path(folder)
    if os.path.lexists(target):
        raise SnapshotError(
            f"{target} was not written", "it exists already", "choose another name, or remove it"
        )
    if isinstance(snapshot, Staged):
        outer, inner = snapshot.outer, snapshot.inner
    else:
        outer, inner = encode_outer(snapshot), encode_inner(snapshot)
    state = json.dumps(inner.document, allow_nan=False, separators=(",", ":")).encode("ascii")
    try:
        with drafted(target) as draft:
            sums = {
                TENSORS: draft.write(
                    TENSORS, lambda sink: torch.save(inner.blobs, cast(IO[bytes], sink))
                ),
                STATE: draft.write(STATE, lambda sink: sink.write(state)),
            }
            text = manifest_bytes(snapshot.header, outer, sums)
            draft.write(MANIFEST, lambda sink: sink.write(text))
            _read_back(draft.folder, target)
            draft.publish()
    except OSError as error:
        raise SnapshotError(
            f"{target} was not written",
            str(error),
            "free space or choose another folder; checkpoints that were there are untouched",
        ) from error
    return target


def receive(folder: str | Path, opened: Callable[[str], BinaryIO]) -> Path:
    """Writes a checkpoint whose files come from elsewhere: whole and verified, or not there.

    Args:
        folder: A path that does not exist yet; its parents are made.
        opened: Opens one of the files, by its name.

    Raises:
        SnapshotError: It is damaged, or the file system refuses.
        OSError: A file cannot be read.
    """
    target = Path(folder)
    with drafted(target) as draft:
        for name in (MANIFEST, *PARTS):
            with opened(name) as source:
                draft.write(name, functools.partial(shutil.copyfileobj, source))
        _read_back(draft.folder, target)
        draft.publish()
    return target


def _read_back(draft: Path, target: Path) -> None:
    try:
        verify(draft)
    except SnapshotError as error:
        raise SnapshotError(
            f"{target} was not written",
            f"what was written could not be read back: {error.why}",
            "look at the disk; checkpoints that were there are untouched",
        ) from error


def read(folder: str | Path) -> Snapshot:
    """Reads a checkpoint after verifying every byte of it; runs no code that comes from it.

    Values of classes that the program has not imported yet are ``Unresolved``; call
    ``snapshot.resolve()`` when it has. All tensors lie on the CPU; ``home`` tells where they were.

    Raises:
        SnapshotError: It is missing, half-written, altered, of a newer format, or needs pickle.
    """
    return _read(Path(folder), manifest(folder), mapped=False)


def verify(folder: str | Path) -> Manifest:
    """Checks everything ``read`` checks, without keeping the tensors in memory.

    Raises:
        SnapshotError: As ``read`` does.
    """
    path, about = Path(folder), manifest(folder)
    # A mapped file could not be renamed or removed on Windows.
    _read(path, about, mapped=sys.platform != "win32")
    return about


def _read(folder: Path, about: Manifest, *, mapped: bool) -> Snapshot:
    loaded: dict[str, Any] = {}
    for name in PARTS:
        try:
            with (folder / name).open("rb") as file:
                _compare(folder, name, file, about.files[name])
                loaded[name] = _LOADERS[name](folder, file, mapped)
        except FileNotFoundError:
            raise refusal(folder, f"{name} is missing") from None
        except OSError as error:
            raise refusal(folder, f"{name}: {error}") from error
    outer = Snapshot(
        header=about.header,
        position=about.position,
        metrics=about.metrics,
        notes=about.notes,
    )
    try:
        return rebuild(outer, Encoded(loaded[STATE], loaded[TENSORS]), strict=False)
    except SnapshotError as error:
        raise refusal(folder, error.why) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise refusal(folder, f"{STATE}: {type(error).__name__}: {error}") from error


def _compare(folder: Path, name: str, file: BinaryIO, expected: FileSum) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != expected.size:
        raise refusal(folder, f"{name} has {size} bytes instead of {expected.size}")
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        forks.breathe()
    if digest.hexdigest() != expected.sha256:
        raise refusal(folder, f"{name} is altered: its SHA-256 is not the manifest's")
    file.seek(0)


def _load_state(folder: Path, file: BinaryIO, _mapped: bool) -> Json:
    try:
        return json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise refusal(folder, f"{STATE}: {error}") from error


def _load_tensors(folder: Path, file: BinaryIO, mapped: bool) -> dict[str, torch.Tensor]:
    if stranger := _stranger(file):
        raise refusal(
            folder,
            f"{TENSORS} needs pickle to run {stranger}; loading a checkpoint runs no code",
            "convert it with the program that wrote it, if you trust that one",
        )
    try:
        loaded = torch.load(
            folder / TENSORS, map_location="cpu", weights_only=True, mmap=True if mapped else None
        )
        return check_blobs(loaded)
    except (pickle.UnpicklingError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise refusal(folder, f"{TENSORS}: {error}") from error


def _stranger(file: BinaryIO) -> str | None:
    """What else than a table of bytes the file asks for.

    ``weights_only`` alone would trust what a program added by ``add_safe_globals``, and there are
    programs that replace ``torch.load`` by one that trusts everything.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
            operations = [
                each for name in pickles for each in pickletools.genops(archive.read(name))
            ]
    except (zipfile.BadZipFile, ValueError) as error:
        return f"what is in it ({error})"
    for operation, argument, _ in operations:
        if operation.name in _CALLS or (operation.name == "GLOBAL" and argument not in _HARMLESS):
            return str(argument or operation.name)
    return None


_LOADERS = {STATE: _load_state, TENSORS: _load_tensors}
