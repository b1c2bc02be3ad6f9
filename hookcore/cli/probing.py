"""What commands share that try a script out: their options, and the folders that it needs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hookcore.errors import HookcoreError
from hookcore.plugins import Plugins, load
from hookcore.settings import Settings, resolve

_INSTALLED = {"site-packages", "dist-packages"}
Command = TypeVar("Command", bound=Callable[..., Any])

plugin_options = (
    click.option("-p", "plugins", metavar="NAME", multiple=True, help="As in hookcore run."),
    click.option(
        "-o", "options", metavar="PLUGIN.OPTION=VALUE", multiple=True, help="As in hookcore run."
    ),
)
place_options = (
    click.option("--in-place", is_flag=True, help="Run in the folder itself, not in a copy."),
    click.option(
        "--max-copy",
        type=click.IntRange(min=1),
        metavar="MEGABYTES",
        default=500,
        show_default=True,
        help="Most that is copied.",
    ),
    click.option("--json", "as_json", is_flag=True, help="For programs."),
)
target_options = (
    click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does."),
    click.argument("target", metavar="SCRIPT ARGS...", nargs=-1, type=click.UNPROCESSED),
)


def decorated(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator of several, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def split(module: str | None, target: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
    """Name, arguments, and whether the name is a module's.

    Raises:
        click.UsageError: There is neither a script nor a module.
    """
    if module is None and not target:
        raise click.UsageError("there is no script to try", click.get_current_context())
    return (target[0], target[1:], False) if module is None else (module, target, True)


def folders_of(name: str, argv: tuple[str, ...], *, is_module: bool, command: str) -> list[Path]:
    """The working folder, and those that the script's code lies in.

    Raises:
        UsageError: There is no such script or module.
        HookcoreError: There is no torch.
    """
    if importlib.util.find_spec("torch") is None:
        raise HookcoreError(
            f"hookcore {command} follows loops of PyTorch, and PyTorch is not installed",
            "No module named 'torch'",
            "pip install 'hookcore[torch]'",
        )
    from hookcore.plain.loading.roots import is_standard_library
    from hookcore.plain.loading.script import Target

    find = Target.module if is_module else Target.script
    places = [Path(place) for place in find(name, argv).roots.places]
    return [Path.cwd()] + [
        place
        for place in places
        if place.is_dir()
        and _INSTALLED.isdisjoint(place.parts)
        and not is_standard_library(str(place))
    ]


def loaded(
    name: str, *, is_module: bool, plugins: tuple[str, ...], options: tuple[str, ...]
) -> Plugins:
    """The plugins that a run would have, loaded here to read what they say of themselves.

    Raises:
        UsageError: What was typed is wrong.
    """
    return load(settings_of(name, is_module=is_module, plugins=plugins, options=options))


def settings_of(
    name: str,
    *,
    is_module: bool,
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    loops: tuple[str, ...] = (),
) -> Settings:
    """The settings that a run would have.

    Raises:
        UsageError: What was typed is wrong.
    """
    script = Path(name)
    folder = script.parent if not is_module and script.exists() else Path.cwd()
    command = {"plugins": plugins, "options": options, "loops": loops}
    return resolve(call=None, command=command, environ=os.environ, folder=folder)


def relative(path: Path) -> str:
    """A path as the user would type it here."""
    folder = Path.cwd()
    return str(path.relative_to(folder)) if folder in path.parents else str(path)
