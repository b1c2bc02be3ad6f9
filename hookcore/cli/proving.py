"""What ``check`` and ``verify-resume`` share: the subject, the bench, the report."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable

import click

from hookcore.cli.probing import folders_of, loaded, place_options, target_options
from hookcore.errors import UsageError
from hookcore.evidence import Subject
from hookcore.evidence.report import Report
from hookcore.evidence.result import Result
from hookcore.plugins import Plugins
from hookcore.settings import switched_on

proof_options = (
    click.option(
        "--steps", type=click.IntRange(min=1), help="Compare the first ones and leave the script."
    ),
    click.option(
        "--ignore",
        "ignored",
        metavar="NAME",
        multiple=True,
        help="Do not compare a variable, such as one that holds a time.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=1800,
        show_default=True,
        help="Longest that one run may take.",
    ),
    *place_options,
    *target_options,
)


def subject_of(
    command: str,
    name: str,
    argv: tuple[str, ...],
    *,
    is_module: bool,
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    steps: int | None,
    ignored: tuple[str, ...],
    timeout: float,
    in_place: bool,
    max_copy: int,
) -> tuple[Subject, Plugins]:
    """What is to be run, and the plugins that it will have.

    Raises:
        UsageError: What was typed is wrong.
        HookcoreError: There is no torch.
    """
    if not switched_on(os.environ):
        raise UsageError(
            f"hookcore {command} compares runs with hookcore, and it is switched off",
            f"HOOKCORE={os.environ['HOOKCORE']}",
            f"HOOKCORE=1 hookcore {command} ...",
        )
    active = loaded(name, is_module=is_module, plugins=plugins, options=options)
    keepers = [
        record.name
        for record in active.order
        if record.declared.role == "persist"
        and any(option.name == "directory" for option in record.options)
    ]
    subject = Subject(
        name=name,
        argv=argv,
        is_module=is_module,
        folders=folders_of(name, argv, is_module=is_module, command=command),
        plugins=plugins,
        options=options,
        keepers=tuple(keepers),
        steps=steps,
        timeout=timeout,
        in_place=in_place,
        max_copy=max_copy,
        ignored=ignored,
    )
    return subject, active


def target_of(subject: Subject) -> str:
    """The script and its arguments, as typed."""
    name = f"-m {subject.name}" if subject.is_module else subject.name
    return " ".join([name, *map(shlex.quote, subject.argv)])


def progress(*, as_json: bool) -> Callable[[str], None]:
    """A line to stderr for each run, as they take a while."""

    def say(text: str) -> None:
        if not as_json:
            click.echo(f"hookcore: {text}", err=True)

    return say


def shown(result: Result, *, as_json: bool) -> int:
    """Print the report, and give the exit code."""
    report = Report(result)
    click.echo(json.dumps(report.data, indent=2) if as_json else report.text())
    return 0 if result.equal else 1
