"""The command group: our own commands, and those of the entry-point group hookcore.commands."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from hookcore.discovery import core_version
from hookcore.errors import HookcoreError, HookcoreWarning, UsageError, three_parts

_OWN = {
    "check": "hookcore.cli.check",
    "explain": "hookcore.cli.explain",
    "plugins": "hookcore.cli.plugins",
    "run": "hookcore.cli.run",
    "verify-resume": "hookcore.cli.verify_resume",
}


class Commands(click.Group):
    """Loads a command when it is named. A plugin's command that is broken harms no other."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Ours, then those of plugins."""
        return [*sorted(_OWN), *sorted(set(_foreign()) - set(_OWN))]

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name in _OWN:
            module = importlib.import_module(_OWN[name])
            command: click.Command = getattr(module, name.replace("-", "_"))
            return command
        points = _foreign().get(name, [])
        if not points:
            return None
        packages = " and ".join(sorted(map(_package, points)))
        if len(points) > 1:
            raise HookcoreError(f"two packages have a command {name!r}", packages)
        try:
            loaded = points[0].load()
        except Exception as error:
            raise HookcoreError(
                f"command {name!r} ({packages}) could not be loaded",
                f"{type(error).__name__}: {error}",
            ) from error
        if not isinstance(loaded, click.Command):
            raise HookcoreError(f"command {name!r} ({packages}) is no click command")
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help imports no plugin: it names their packages instead."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name) if name in _OWN else None
            text = (
                command.get_short_help_str(70) if command else f"of {_package(_foreign()[name][0])}"
            )
            rows.append((name, text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def start(args: Sequence[str] | None) -> int:
    """Run a command and give its exit code. What it leaves to run, runs outside click.

    click would turn the script's KeyboardInterrupt, EOFError and its own exceptions into
    something that they are not without hookcore.
    """
    with _warnings_as_lines():
        try:
            outcome: Any = group.main(
                None if args is None else list(args), prog_name="hookcore", standalone_mode=False
            )
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "hookcore"
            _say(three_parts(error.format_message(), way_out=f"see:  {path} --help"))
            return error.exit_code
        except click.Abort:
            return 130
        except UsageError as error:
            _say(str(error))
            return 2
        except HookcoreError as error:
            _say(str(error))
            return 1
        if not callable(outcome):
            return outcome if isinstance(outcome, int) else 0
        try:
            return outcome() or 0
        except UsageError as error:  # the script's own call of hookcore was wrong
            _say(str(error))
            return 2


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"hookcore {core_version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Run unedited PyTorch training loops with plugins."""


@functools.cache
def _foreign() -> dict[str, list[importlib.metadata.EntryPoint]]:
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group="hookcore.commands"):
        found.setdefault(point.name, []).append(point)
    return found


def _package(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _say(text: str) -> None:
    click.echo(f"hookcore: {text}", err=True)


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print our own warnings without the place in our own code; all others as Python does."""
    before = warnings.formatwarning

    def plain(message: Any, category: type[Warning], *place: Any, **rest: Any) -> str:
        if issubclass(category, HookcoreWarning):
            return f"{message}\n"
        return before(message, category, *place, **rest)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before
