"""A checkpoint as people read it, and as programs do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hookcore import SnapshotError

if TYPE_CHECKING:
    from hookcore.snapshot import Entry, Manifest, ObjectRecord, Snapshot

_OWN = (
    "checkpoint", "digests", "models", "optimizers", "iterators", "site", "entry", "levels",
    "sizes", "total", "batch_sizes", "origin", "made",
)  # fmt: skip
"""Parts of a position that are for hookcore alone."""

_NUMBERS = (int, float, complex, bool, str, bytes, type(None))


def facts(path: Path, about: Manifest, snapshot: Snapshot) -> dict[str, Any]:
    """Everything worth knowing of one checkpoint, as JSON has it.

    Args:
        path: Its folder.
        about: Its manifest.
        snapshot: What it holds.
    """
    header = about.header
    label = about.position.get("checkpoint", {})
    return {
        "path": str(path),
        "kind": header.kind,
        "reason": header.reason,
        "run": header.run,
        "argv": list(header.argv),
        "created": header.created,
        "bytes": about.size,
        "versions": header.versions,
        "position": {k: v for k, v in about.position.items() if k not in _OWN},
        "files": about.position.get("digests", {}),
        "monitor": {"name": label.get("monitor"), "value": _finite(label.get("value"))},
        "metrics": {name: _finite(value) for name, value in about.metrics.items()},
        "objects": [_object(record) for record in snapshot.objects],
        "variables": {name: brief(value) for name, value in snapshot.variables.items()},
        "random streams": sorted((*snapshot.rng["streams"], *snapshot.rng["generators"]))
        if snapshot.rng
        else [],
        "plugins": {name: part["version"] for name, part in snapshot.plugins.items()},
        "notes": about.notes,
    }


def page(known: dict[str, Any]) -> str:
    """The same for people."""
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    created = known["created"][:19].replace("T", " ")
    what = f"{known['kind']} checkpoint ({known['reason']}), {_size(known['bytes'])}"
    lines = [
        known["path"],
        f"  {what}, {created} UTC",
        f"  run {known['run']} {' '.join(known['argv'])}".rstrip(),
        f"  {versions}",
    ]
    lines += _block("position", _pairs(known["position"]))
    lines += _block("metrics", _pairs(known["metrics"]))
    lines += _block("objects", (_object_line(one) for one in known["objects"]))
    lines += _block("variables", _pairs(known["variables"]))
    lines += _block("random streams", known["random streams"])
    lines += _block("plugins", _pairs(known["plugins"]))
    lines += _block("notes", known["notes"])
    return "\n".join(lines)


def row(entry: Entry) -> dict[str, Any]:
    """One line of a directory."""
    about = entry.manifest
    if about is None:
        return {"path": str(entry.path), "problem": entry.why}
    return {
        "path": str(entry.path),
        "problem": entry.why,
        "kind": about.header.kind,
        "reason": about.header.reason,
        "created": about.header.created,
        "bytes": about.size,
        "step": about.position.get("step"),
        "metrics": {name: _finite(value) for name, value in about.metrics.items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A directory's lines for people."""
    width = max(len(one["path"]) for one in rows)
    return "\n".join(f"{one['path']:<{width}}  {_line(one)}" for one in rows)


def verdict(path: Path) -> dict[str, Any]:
    """Whether every byte of a checkpoint is what it should be."""
    from hookcore.snapshot import verify

    try:
        about = verify(path)
    except SnapshotError as error:
        return {"path": str(path), "problem": error.why}
    return {"path": str(path), "problem": None, "bytes": about.size}


def verdicts(rows: list[dict[str, Any]]) -> str:
    """The same of several, for people."""
    width = max(len(one["path"]) for one in rows)
    return "\n".join(
        f"{one['path']:<{width}}  "
        + (f"damaged: {one['problem']}" if one["problem"] else f"whole, {_size(one['bytes'])}")
        for one in rows
    )


def _line(one: dict[str, Any]) -> str:
    if one["problem"]:
        return f"damaged: {one['problem']}"
    metrics = ", ".join(_pairs(dict(list(one["metrics"].items())[:4])))
    created = one["created"][:19].replace("T", " ")
    return f"{one['kind']:<9}  {_size(one['bytes']):>9}  {created}  {metrics}".rstrip()


def brief(value: Any, depth: int = 2) -> str:
    """A value in a few words; nothing of it is run."""
    if isinstance(value, torch.Tensor):
        return f"tensor {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, _NUMBERS):
        return _cut(repr(value))
    kind = type(value).__name__
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{kind} {list(value.shape)} {value.dtype}"
    if isinstance(value, dict):
        if not depth or len(value) > 6:
            return f"{kind} of {len(value)}"
        items = ", ".join(f"{name!r}: {brief(item, depth - 1)}" for name, item in value.items())
        return _cut(f"{{{items}}}")
    if isinstance(value, (list, tuple, set)):
        if value and depth and all(isinstance(item, _NUMBERS) for item in value):
            first = ", ".join(brief(item, 0) for item in list(value)[:3])
            more = f", ... ({len(value)})" if len(value) > 3 else ""
            return _cut(f"{kind} [{first}{more}]")
        return f"{kind} of {len(value)}"
    return kind


def _object(record: ObjectRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": record.name,
        "kind": record.kind,
        "class": record.class_name,
        "tensors": len(list(_tensors(record.state))),
        "numbers": sum(tensor.numel() for tensor in _tensors(record.state)),
    }
    if record.kind == "module":
        flags = record.extras.get("requires_grad", {})
        trained = (v for k, v in record.state.items() if flags.get(k) and hasattr(v, "numel"))
        found["trained parameters"] = sum(value.numel() for value in trained)
    return found


def _object_line(one: dict[str, Any]) -> str:
    text = f"{one['name']}  {one['kind']}, {one['class'].rpartition(':')[2]}"
    if one["kind"] == "module":
        trained = f"{one['trained parameters']:,} trained parameters"
        return f"{text}: {trained}, {one['numbers']:,} numbers in all"
    return f"{text}: {one['numbers']:,} numbers in {one['tensors']} tensors"


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _block(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"    {line}" for line in lines]
    return [f"  {title}", *found] if found else []


def _pairs(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {_number(value)}" for name, value in values.items()]


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def _cut(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:67]}..."
