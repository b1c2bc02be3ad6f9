"""``hookcore checkpoint``: look into checkpoints, and take the weights out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hookcore import SnapshotError, UsageError
from hookcore_checkpoint import places

if TYPE_CHECKING:
    from hookcore.snapshot import Entry


@click.group()
def checkpoint() -> None:
    """Look into checkpoints, and take their weights out."""


@checkpoint.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(path: Path, as_json: bool) -> None:
    """Show what a checkpoint holds, or which ones a directory holds.

    PATH is a checkpoint's folder, or a directory with checkpoints. Every byte of a checkpoint is
    verified, and nothing of it is run.
    """
    from hookcore.snapshot import manifest, read
    from hookcore_checkpoint.show import facts, page, row, table

    if _is_checkpoint(path):
        known = facts(path, manifest(path), read(path))
        click.echo(_json(known) if as_json else page(known))
        return
    rows = [row(entry) for entry in _entries(path)]
    click.echo(_json(rows) if as_json else table(rows))


@checkpoint.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def export(path: Path, target: Path) -> None:
    """Write the weights of a checkpoint into TARGET, a .safetensors or .pt file.

    PATH is a checkpoint's folder, or a directory, whose newest good one is taken.
    """
    from hookcore.snapshot import export as write
    from hookcore.snapshot import read

    if not _is_checkpoint(path):
        path = _newest(_entries(path), path)
    write(path, target)
    models = [record.name for record in read(path).objects if record.kind == "module"]
    click.echo(f"wrote {target}: {', '.join(models)} of {path}")


def _is_checkpoint(path: Path) -> bool:
    """Whether a path is to be one, so that what is wrong with it is the checkpoint's fault."""
    if not path.exists():
        raise UsageError(
            f"there is no {path}", "PATH is a checkpoint's folder, or a directory with checkpoints"
        )
    if not path.is_dir():
        raise UsageError(
            f"{path} is a file",
            "a checkpoint is a folder",
            f"name the folder:  {path.parent}" if path.parent.name else "name the folder",
        )
    return any((path / name).is_file() for name in places.FILES)


def _entries(directory: Path) -> list[Entry]:
    """The checkpoints of a directory and of the runs in it, newest first within each."""
    from hookcore.snapshot import list_checkpoints

    found = [entry for place in places.runs(directory) for entry in list_checkpoints(place)]
    if not found:
        inner = sorted(p.name for p in directory.iterdir() if places.holds_checkpoints(p))
        near = f"there are some in:  {', '.join(inner)}" if inner else "look elsewhere"
        raise UsageError(f"no checkpoint lies in {directory}", way_out=near)
    return found


def _newest(entries: list[Entry], directory: Path) -> Path:
    good = [e for e in entries if e.manifest is not None and e.why is None]
    if not good:
        raise SnapshotError(f"no checkpoint in {directory} is whole", entries[0].why or "")
    return max(good, key=_created).path


def _created(entry: Entry) -> str:
    return entry.manifest.header.created if entry.manifest is not None else ""


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)
