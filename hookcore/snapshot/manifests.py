"""``manifest.json``: what a checkpoint is and which files belong to it. Read without the tensors.

The file begins with the SHA-256 of its own text (taken with zeros in the digest's place), so that
not one of its bytes can change unnoticed. That is a guard against accidents, not against forgers.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import attrs

from hookcore.errors import SnapshotError

from .codec import Encoded, decode
from .model import FORMAT, Header

MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = "tensors.pt"
PARTS = (STATE, TENSORS)

_MARK = "checkpoint of hookcore"
_HEAD = re.compile(rb'\{"sha256": "([0-9a-f]{64})",')
_ZEROS = b"0" * 64
_EARLIER = "take an earlier checkpoint"


class NewerFormat(SnapshotError):
    """A checkpoint that a newer hookcore has written, and that is whole as far as can be told."""


@attrs.frozen
class FileSum:
    """One file of a checkpoint.

    Args:
        size: In bytes.
        sha256: Of its bytes, as they were meant to be written.
    """

    size: int
    sha256: str


@attrs.frozen(eq=False)
class Manifest:
    """What a checkpoint is, without its tensors.

    Args:
        header: Where it comes from.
        position: Where the run stood.
        metrics: The metrics then.
        notes: What it does not hold, and why.
        files: The other files of the folder.
    """

    header: Header
    position: dict[str, Any]
    metrics: dict[str, float]
    notes: list[str]
    files: dict[str, FileSum]

    @property
    def size(self) -> int:
        """Bytes on disk, without the manifest itself."""
        return sum(each.size for each in self.files.values())


def manifest_bytes(header: Header, outer: Encoded, files: dict[str, FileSum]) -> bytes:
    """The text of a checkpoint's manifest.

    Args:
        header: Where the checkpoint comes from.
        outer: Code of the part that can be read without the rest.
        files: The other files.
    """
    if outer.blobs:
        raise SnapshotError(
            "a checkpoint's position or metrics hold a tensor or an array",
            way_out="keep plain values there, as loss.item()",
        )
    body = {
        "sha256": _ZEROS.decode(),
        "what": _MARK,
        **attrs.asdict(header),
        "files": {name: attrs.asdict(each) for name, each in files.items()},
        "outer": outer.document,
    }
    text = json.dumps(body, allow_nan=False, indent=1).encode("ascii")
    text = text.replace(b'{\n "sha256"', b'{"sha256"', 1) + b"\n"
    return text.replace(_ZEROS, hashlib.sha256(text).hexdigest().encode(), 1)


def manifest(folder: str | Path) -> Manifest:
    """Reads and checks the manifest of a checkpoint; neither opens nor looks for its other files.

    Raises:
        SnapshotError: There is none, it is altered, not hookcore's, or of a newer format.
    """
    path = Path(folder) / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            why = "there is no such folder"
        else:
            why = f"{MANIFEST} is missing: it is no checkpoint, or only half of one"
        raise refusal(folder, why) from None
    except OSError as error:
        raise refusal(folder, f"{MANIFEST}: {error}") from error
    return _understand(folder, text)


def _understand(folder: str | Path, text: bytes) -> Manifest:
    head = _HEAD.match(text)
    if not head:
        raise refusal(folder, f"{MANIFEST} does not begin as hookcore's does")
    if hashlib.sha256(text.replace(head[1], _ZEROS, 1)).hexdigest() != head[1].decode():
        raise refusal(folder, f"{MANIFEST} is altered or cut short")
    body = json.loads(text)
    version = body.get("format")
    if body.get("what") != _MARK or type(version) is not int:
        raise refusal(folder, f"{MANIFEST} is not hookcore's")
    if version > FORMAT:
        raise NewerFormat(
            f"{folder} cannot be read as a checkpoint",
            f"its format is {version}; this hookcore reads up to {FORMAT}",
            "pip install --upgrade hookcore",
        )
    if version == 1 and body.get("kind") == "mid-epoch":
        body["kind"] = "partial"  # all that format 1 could save in mid-epoch
    try:
        return Manifest(
            header=Header(**{field.name: body[field.name] for field in attrs.fields(Header)}),
            files={name: FileSum(**body["files"][name]) for name in PARTS},
            **decode(Encoded(body["outer"], {}), strict=False),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise refusal(folder, f"{MANIFEST}: {type(error).__name__}: {error}") from error


def refusal(folder: str | Path, why: str, way_out: str = _EARLIER) -> SnapshotError:
    """The error for a folder that cannot be read as a checkpoint."""
    return SnapshotError(f"{folder} cannot be read as a checkpoint", why, way_out)
