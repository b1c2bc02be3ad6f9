"""``hookcore checkpoint``: look into checkpoints, take the weights out, take some away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hookcore import SnapshotError, UsageError
from hookcore_checkpoint import places
from hookcore_checkpoint.mirror import is_url

if TYPE_CHECKING:
    from hookcore.snapshot import Entry



class _Folder(click.Path):
    """A path; a URL, of which a path would lose a slash, is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Take what was typed."""
        if isinstance(value, str) and is_url(value):
            raise UsageError(
                f"{value} is a URL",
                "this command reads and writes folders of this machine",
                "copy the checkpoint's folder here, and name that     "
                "continue from it:  hookcore run --resume -o checkpoint.directory=URL ...",
            )
        return super().convert(value, param, ctx)


_path = click.argument("path", type=_Folder(path_type=Path))
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def checkpoint() -> None:
    """Look into checkpoints, take their weights out, take some away."""


@checkpoint.command("list")
@_path
@_as_json
def list_(path: Path, as_json: bool) -> None:
    """List the checkpoints of a directory and of the runs in it, newest first within each.

    PATH is a directory with checkpoints. Their manifests are read, and nothing else: `verify`
    checks every byte.
    """
    from hookcore_checkpoint.show import row, table

    rows = [row(entry) for entry in _entries(_existing(path))]
    click.echo(_json(rows) if as_json else table(rows))


@checkpoint.command()
@_path
@_as_json
def show(path: Path, as_json: bool) -> None:
    """Show what a checkpoint holds.

    PATH is a checkpoint's folder, or a directory, whose newest good one is taken. Every byte is
    verified, and nothing of it is run.
    """
    from hookcore.snapshot import manifest, read
    from hookcore_checkpoint.show import facts, page

    path = _one(path)
    known = facts(path, manifest(path), read(path))
    click.echo(_json(known) if as_json else page(known))


@checkpoint.command()
@_path
@_as_json
def verify(path: Path, as_json: bool) -> None:
    """Check every byte of a checkpoint, or of each one in a directory.

    PATH is a checkpoint's folder, or a directory with checkpoints. The exit code is 1 where one is
    damaged; nothing is changed.
    """
    from hookcore_checkpoint.show import verdict, verdicts

    found = [path] if _is_checkpoint(path) else [entry.path for entry in _entries(path)]
    rows = [verdict(folder) for folder in found]
    click.echo(_json(rows) if as_json else verdicts(rows))
    if any(one["problem"] for one in rows):
        raise click.exceptions.Exit(1)


@checkpoint.command()
@_path
@click.argument("target", type=_Folder(path_type=Path))
def export(path: Path, target: Path) -> None:
    """Write the weights of a checkpoint into TARGET, a .safetensors or .pt file.

    PATH is a checkpoint's folder, or a directory, whose newest good one is taken.
    """
    from hookcore.snapshot import export as write
    from hookcore.snapshot import read

    path = _one(path)
    write(path, target)
    models = [record.name for record in read(path).objects if record.kind == "module"]
    click.echo(f"wrote {target}: {', '.join(models)} of {path}")


@checkpoint.command()
@_path
@click.option("--keep-last", type=click.IntRange(1), default=3, show_default=True,
              help="How many of each fit and kind stay.")  # fmt: skip
@click.option("--keep-best", type=click.IntRange(0), default=0, show_default=True,
              help="How many of each fit stay for their monitored value.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would go, and take nothing away.")
def prune(path: Path, keep_last: int, keep_best: int, dry_run: bool) -> None:
    """Take away the checkpoints of a directory that are too many.

    PATH is a directory with checkpoints; each run in it is counted for itself. Whatever is not
    provably a whole checkpoint of hookcore's stays, and so do the newest of a run and the newest to
    resume from. A directory that a run saves in is left alone.
    """
    from hookcore_checkpoint.prune import prune as take_away

    _entries(_existing(path))
    word = "would remove" if dry_run else "removed"
    for place in places.runs(path):
        gone, kept = take_away(place, keep_last, keep_best, dry_run=dry_run)
        for folder in gone:
            click.echo(f"{word} {folder}")
        click.echo(f"{place}: {word} {len(gone)}, {kept} stay")


def _existing(path: Path) -> Path:
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
    return path


def _is_checkpoint(path: Path) -> bool:
    """Whether a path is to be one, so that what is wrong with it is the checkpoint's fault."""
    return any((_existing(path) / name).is_file() for name in places.FILES)


def _one(path: Path) -> Path:
    return path if _is_checkpoint(path) else _newest(_entries(path), path)


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
