"""``hookcore plugins``: what is installed, what is on, and why."""

from __future__ import annotations

import json
import math
import os
import shutil
import textwrap
from pathlib import Path
from typing import Any

import attrs
import click

from hookcore.errors import UsageError
from hookcore.layers import nearest
from hookcore.options import OptionRecord
from hookcore.plugins import PluginRecord, Plugins, load
from hookcore.settings import resolve


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--traceback", metavar="NAME", help="Show why a plugin is broken.")
@click.option("-p", "plugins", metavar="NAME", multiple=True, help="As in hookcore run.")
@click.option(
    "-o", "options", metavar="PLUGIN.OPTION=VALUE", multiple=True, help="As in hookcore run."
)
def plugins(
    as_json: bool, traceback: str | None, plugins: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """List the plugins: package, status and reason, hooks, options."""
    settings = resolve(
        call=None,
        command={"plugins": plugins, "options": options},
        environ=os.environ,
        folder=Path.cwd(),
    )
    loaded = load(settings, listing=True)
    if traceback is not None:
        click.echo(_traceback(loaded, traceback))
    elif as_json:
        click.echo(json.dumps([_row(record) for record in loaded.records], indent=2))
    else:
        click.echo(_table(loaded.records))


def _traceback(loaded: Plugins, name: str) -> str:
    record = loaded.get(name)
    if record is None:
        names = [record.name for record in loaded.records]
        raise UsageError(
            f"there is no plugin {name!r} (--traceback {name})",
            f"installed are: {', '.join(names) or 'none'}",
            nearest(name, names),
        )
    if not record.traceback:
        return f"plugin {record.label} has no traceback: it is {_status(record)}"
    return f"plugin {record.label} is {_status(record)}\n\n{record.traceback.rstrip()}"


def _status(record: PluginRecord) -> str:
    by_itself = record.reason in ("", "installed")
    return record.status if by_itself else f"{record.status}: {record.reason}"


def _table(records: tuple[PluginRecord, ...]) -> str:
    if not records:
        return "no plugin is installed     for example:  pip install hookcore-progress"
    rows = [("NAME", "PACKAGE", "STATUS")]
    rows += [(r.name, f"{r.distribution} {r.version}".strip(), _status(r)) for r in records]
    name, package = (max(len(row[column]) for row in rows) for column in (0, 1))
    width = max(shutil.get_terminal_size().columns, 60)
    lines = []
    for row, record in zip(rows, (None, *records), strict=True):
        lines.append(f"{row[0]:<{name}}  {row[1]:<{package}}  {row[2]}")
        if record is not None and record.hooks:
            lines += _wrapped("hooks    ", ", ".join(record.hooks), width)
        if record is not None and record.options:
            lines += _wrapped("options  ", ", ".join(map(_option, record.options)), width)
    return "\n".join(lines)


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"    {head}",
        subsequent_indent=" " * (4 + len(head)),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _option(option: OptionRecord) -> str:
    value = option.default if option.value is None else option.value
    shown = "must be given" if value is attrs.NOTHING else str(_plain(value))
    return f"{option.name}={shown}"


def _row(record: PluginRecord) -> dict[str, Any]:
    keys = ("name", "distribution", "version", "status", "reason")
    return {
        **{key: getattr(record, key) for key in keys},
        "hooks": list(record.hooks),
        "options": [
            {name: _plain(value) for name, value in attrs.asdict(option, recurse=False).items()}
            for option in record.options
        ],
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it; what JSON lacks becomes text."""
    if value is attrs.NOTHING:
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if type(value) in (str, int, bool, type(None)):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    return str(getattr(value, "value", value))
