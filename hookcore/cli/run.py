"""``hookcore run``: a script or a module, as Python would run it, with plugins."""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import click

from hookcore.settings import resolve


class LikePython(click.Command):
    """What follows the script, or ``-m module``, belongs to the script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read our own options, up to the script's name or behind the module's."""
        options = [one for one in self.params if isinstance(one, click.Option) and not one.is_flag]
        with_value = {spelling for option in options for spelling in option.opts}
        return super().parse_args(ctx, _end_options_at_module(args, with_value))


def _end_options_at_module(args: list[str], with_value: Container[str]) -> list[str]:
    """Put ``--`` behind ``-m module``; a script ends the options by itself."""
    place = 0
    while place < len(args) and args[place].startswith("-") and args[place] not in ("-", "--"):
        if args[place].startswith("-m"):
            end = place + (2 if args[place] == "-m" else 1)
            return [*args[:end], "--", *args[end:]] if end <= len(args) else args
        place += 2 if args[place] in with_value else 1
    return args


@click.command(cls=LikePython, context_settings={"allow_interspersed_args": False})
@click.option(
    "-p",
    "plugins",
    metavar="NAME",
    multiple=True,
    help="Use a plugin; no:NAME switches it off.",
)
@click.option(
    "-o",
    "options",
    metavar="PLUGIN.OPTION=VALUE",
    multiple=True,
    help="Set an option of a plugin.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, if there is one.")
@click.option(
    "--resume-mode",
    type=click.Choice(["auto", "must", "weights"]),
    help="Go on if possible; or fail; or take the weights alone.",
)
@click.option("--strict", is_flag=True, help="A plugin that fails ends the run.")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings of hookcore's own lines.")
@click.option("--cost", is_flag=True, help="End with a table of what each plugin cost.")
@click.option(
    "--budget",
    metavar="SHARE",
    help="Call an observer less often that takes more of the time, such as 1%.",
)
@click.option(
    "--loop",
    "loops",
    metavar="FILE:LINE=ROLE",
    multiple=True,
    help="Say what a loop is: epoch, batch, validation or ignore.",
)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("target", metavar="SCRIPT ARGS...", nargs=-1, type=click.UNPROCESSED)
def run(
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    resume: bool,
    resume_mode: str | None,
    strict: bool,
    quiet: bool,
    cost: bool,
    budget: str | None,
    loops: tuple[str, ...],
    module: str | None,
    target: tuple[str, ...],
) -> Callable[[], Any]:
    """Run a training script with plugins: its source stays as it is.

    Everything after the script's name, or after -m MODULE, belongs to the script.
    """
    if module is None and not target:
        raise click.UsageError("there is no script to run", click.get_current_context())
    name = target[0] if module is None else module
    argv = list(target[1:] if module is None else target)
    command = {
        "plugins": plugins,
        "options": options,
        "resume": resume_mode or resume or None,
        "strict": strict or None,
        "quiet": quiet or None,
        "cost": cost or None,
        "budget": budget,
        "loops": loops,
    }
    script = Path(name)
    folder = script.parent if module is None and script.exists() else Path.cwd()
    settings = resolve(call=None, command=command, environ=os.environ, folder=folder)

    def launch() -> Any:
        from hookcore.plain.launch import launch

        return launch(name, argv, is_module=module is not None, settings=settings)

    return launch
