"""What a checkpoint holds, in memory."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from typing import Any, Literal, get_args

import attrs
import torch

from hookcore.errors import SnapshotError

from .blobs import Memory
from .codec import Encoded, decode, encode

FORMAT = 2

Kind = Literal["epoch", "mid-epoch", "partial", "emergency"]
ObjectKind = Literal["module", "optimizer", "scheduler", "scaler", "stateful"]


def _versions() -> dict[str, str]:
    try:
        own = importlib.metadata.version("hookcore")
    except importlib.metadata.PackageNotFoundError:
        own = "unknown"  # run from a source tree that was never installed
    versions = {
        "hookcore": own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if numpy := sys.modules.get("numpy"):
        versions["numpy"] = numpy.__version__
    return versions


@attrs.frozen(kw_only=True)
class Header:
    """Where a checkpoint comes from.

    Args:
        kind: ``"epoch"`` and ``"mid-epoch"`` say where the training stood. A ``"partial"`` one
            lacks what a resume needs, an ``"emergency"`` holds only weights.
        reason: Why it was captured, as ``"each epoch"`` or ``"SIGTERM"``.
        run: The run's name.
        argv: The command line.
        created: UTC, as ISO 8601.
        versions: Of hookcore, python, torch and, where it was imported, numpy.
        format: The file format's version.
    """

    kind: Kind = attrs.field(validator=attrs.validators.in_(get_args(Kind)))
    reason: str = ""
    run: str = ""
    argv: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    created: str = attrs.field(
        factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat()
    )
    versions: dict[str, str] = attrs.field(factory=_versions)
    format: int = FORMAT


@attrs.define
class ObjectRecord:
    """One object with a state: a model, an optimizer, a scheduler.

    Args:
        name: The path it was found under, as ``"model"`` or ``"self.opt"``.
        kind: What it is.
        class_name: Its class, as ``"torch.optim.adam:Adam"``; only compared and shown.
        state: What its ``state_dict()`` gave.
        extras: What ``state_dict`` leaves out: buffers that are not persistent, training flags.
    """

    name: str
    kind: ObjectKind = attrs.field(validator=attrs.validators.in_(get_args(ObjectKind)))
    class_name: str
    state: Any
    extras: dict[str, Any] = attrs.field(factory=dict)


@attrs.define(eq=False, kw_only=True)
class Snapshot:
    """Everything a run needs to go on as if it had never stopped.

    Args:
        header: Where it comes from.
        position: Where the run stood: sites, iterations, counters, digests. Plain values.
        objects: The objects with a state.
        variables: The loop's own variables, by name.
        levels: For each loop around the position, the outermost first: what the code between its
            head and the loop inside needs to run again. One, which holds nothing, at a head of the
            outermost loop.
        rng: The states of all random generators.
        plugins: ``{"version": ..., "state": ...}`` for each plugin that has a state, and
            ``"counted"`` for one that wants each n-th event.
        metrics: The latest metrics, as floats.
        notes: What was not captured, and why.
    """

    header: Header
    position: dict[str, Any] = attrs.field(factory=dict)
    objects: list[ObjectRecord] = attrs.field(factory=list)
    variables: dict[str, Any] = attrs.field(factory=dict)
    levels: list[dict[str, Any]] = attrs.field(factory=list)
    rng: dict[str, Any] = attrs.field(factory=dict)
    plugins: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    metrics: dict[str, float] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    _source: Encoded | None = attrs.field(default=None, repr=False)

    def weights(self) -> list[dict[str, Any]]:
        """Parameters and buffers of each trained model, as ``Fit.load_weights`` takes them."""
        records = {record.name: record for record in self.objects}
        found = (records[name] for name in self.position["models"])
        return [{**each.state, **each.extras.get("buffers", {})} for each in found]

    def resolve(self) -> Snapshot:
        """The same, with each ``Unresolved`` replaced: call it when the script's imports are done.

        A checkpoint is read before the script runs, so the classes of its dataclasses and enums may
        not exist yet. A snapshot that was not read from a file is returned as it is.

        Raises:
            SnapshotError: A class is still not there.
        """
        return self if self._source is None else rebuild(self, self._source)


_OUTER = ("position", "metrics", "notes")
_INNER = ("objects", "variables", "levels", "rng", "plugins")


def encode_outer(snapshot: Snapshot) -> Encoded:
    """The part that can be read without the rest: position, metrics, notes."""
    return encode({name: getattr(snapshot, name) for name in _OUTER}, "snapshot")


def encode_inner(snapshot: Snapshot, into: Memory | None = None) -> Encoded:
    """The part with the states, in one walk: what is shared stays shared."""
    parts = {name: getattr(snapshot, name) for name in _INNER}
    parts["objects"] = {
        record.name: attrs.asdict(record, recurse=False) for record in snapshot.objects
    }
    if len(parts["objects"]) < len(snapshot.objects):
        names = sorted(record.name for record in snapshot.objects)
        raise SnapshotError("two objects of a checkpoint have one name", ", ".join(names))
    return encode(parts, "", into=into)


def rebuild(outer: Snapshot, inner: Encoded, *, strict: bool = True) -> Snapshot:
    """A snapshot from one with the outer part and the other part's code."""
    parts = decode(inner, strict=strict)
    parts["objects"] = [ObjectRecord(**record) for record in parts["objects"].values()]
    return attrs.evolve(outer, **parts, source=inner)


@attrs.frozen(eq=False)
class Staged:
    """A snapshot that later training does not reach, ready to be written.

    Args:
        header: Where it comes from.
        outer: Code of the part that the manifest holds.
        inner: Code of the other part, with copies of all bytes.
    """

    header: Header
    outer: Encoded
    inner: Encoded

    @property
    def size(self) -> int:
        """Bytes of its tensors and arrays."""
        return sum(blob.numel() for blob in self.inner.blobs.values())

    def snapshot(self) -> Snapshot:
        """What reading it from a file would give."""
        return rebuild(Snapshot(header=self.header, **decode(self.outer)), self.inner)


def stage(snapshot: Snapshot, into: Memory | None = None) -> Staged:
    """A copy that later training does not reach: all tensors copied to the CPU once, sharing kept.

    ``state_dict()`` gives the live tensors, so a snapshot must be staged before the next step
    changes them. Autograd graphs stay behind. ``home(tensor)`` tells on which device a tensor was.

    Args:
        snapshot: What to stage.
        into: Memory of an earlier staging, whose ``begin`` says what of it may be written over.

    Raises:
        NotEncodable: A value in it cannot be put in a checkpoint.
    """
    inner = encode_inner(snapshot, Memory() if into is None else into)
    return Staged(snapshot.header, encode_outer(snapshot), inner)
