"""``hookcore explain``: what hookcore sees in a script, found out by trying it."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import attrs
import click

from hookcore.cli.explanation import Explanation
from hookcore.cli.run import LikePython
from hookcore.errors import HookcoreError, UsageError
from hookcore.plugins import Plugins, load
from hookcore.scratch import Copy, InPlace, Outcome, Workplace, attempt
from hookcore.settings import resolve

_CHILD = "hookcore.plain.trial.child"
_INSTALLED = {"site-packages", "dist-packages"}


@click.command(cls=LikePython, context_settings={"allow_interspersed_args": False})
@click.option("-p", "plugins", metavar="NAME", multiple=True, help="As in hookcore run.")
@click.option(
    "-o", "options", metavar="PLUGIN.OPTION=VALUE", multiple=True, help="As in hookcore run."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Iterations after which a loop that trains or validates is ended.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=120,
    show_default=True,
    help="Longest wait for the first step, and again for the trial's end.",
)
@click.option("--in-place", is_flag=True, help="Run in the folder itself, not in a copy.")
@click.option(
    "--max-copy",
    type=click.IntRange(min=1),
    metavar="MEGABYTES",
    default=500,
    show_default=True,
    help="Most that is copied.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the script printed.")
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.argument("target", metavar="SCRIPT ARGS...", nargs=-1, type=click.UNPROCESSED)
def explain(
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    steps: int,
    timeout: float,
    in_place: bool,
    max_copy: int,
    as_json: bool,
    verbose: bool,
    module: str | None,
    target: tuple[str, ...],
) -> int:
    """Try a script for a few steps and say what hookcore sees in it.

    It runs in a copy of the working folder and is left in the middle of its training; no plugin
    acts. Everything after the script's name, or after -m MODULE, belongs to the script.
    """
    if module is None and not target:
        raise click.UsageError("there is no script to try", click.get_current_context())
    trial = _Trial(
        name=target[0] if module is None else module,
        argv=target[1:] if module is None else target,
        is_module=module is not None,
        steps=steps,
        timeout=timeout,
    )
    loaded = _plugins(trial, plugins, options)
    folders = trial.folders()
    place = InPlace(folders) if in_place else Copy(folders, max_copy)
    with place:
        explanation = trial.run(place, loaded)
    if as_json:
        click.echo(json.dumps(explanation.data, indent=2))
    else:
        click.echo(explanation.text(verbose=verbose))
        if explanation.failure:
            click.echo(f"\n{explanation.failure}", err=True, nl=False)
    return 0 if explanation.understood else 1


@attrs.frozen(kw_only=True)
class _Trial:
    """What is to be tried, as it was typed."""

    name: str
    argv: tuple[str, ...]
    is_module: bool
    steps: int
    timeout: float

    def folders(self) -> list[Path]:
        """The working folder, and those that the script's code lies in.

        Raises:
            UsageError: There is no such script or module.
            HookcoreError: There is no torch.
        """
        if importlib.util.find_spec("torch") is None:
            raise HookcoreError(
                "hookcore explain follows loops of PyTorch, and PyTorch is not installed",
                "No module named 'torch'",
                "pip install 'hookcore[torch]'",
            )
        from hookcore.plain.roots import is_standard_library
        from hookcore.plain.script import Target

        find = Target.module if self.is_module else Target.script
        places = [Path(place) for place in find(self.name, self.argv).roots.places]
        return [Path.cwd()] + [
            place
            for place in places
            if place.is_dir()
            and _INSTALLED.isdisjoint(place.parts)
            and not is_standard_library(str(place))
        ]

    def run(self, place: Workplace, loaded: Plugins) -> Explanation:
        """Try it, and put together what is known then.

        Raises:
            UsageError: The script itself asks hookcore for what cannot be.
        """
        with tempfile.TemporaryDirectory(prefix="hookcore-") as name:
            folder = Path(name)
            report, output, stack = (folder / part for part in ("report", "output", "stack"))
            outcome = attempt(
                _CHILD,
                self._request(place, report, stack),
                folder=place.inside(Path.cwd()),
                output=output,
                mark=report,
                stack=stack,
                limit=self.timeout,
            )
            found = json.loads(report.read_text()) if report.exists() else {}
            printed = place.shown(output.read_text(errors="replace"))
        found = _shown(found, place)
        if found.get("script", {}).get("status") == "refused":
            raise UsageError(*found["script"]["refusal"])
        return Explanation.of(
            {
                "target": self.name,
                "trial": self._trial(outcome, place),
                **found,
                "files": [
                    {"path": _relative(one.path), "change": one.change} for one in place.written()
                ],
                "output": printed,
            },
            loaded,
        )

    def _request(self, place: Workplace, report: Path, stack: Path) -> str:
        return json.dumps(
            {
                "target": self.name if self.is_module else place.typed(self.name),
                "argv": [place.typed(argument) for argument in self.argv],
                "is_module": self.is_module,
                "steps": self.steps,
                "places": {str(folder): str(copy) for folder, copy in place.places.items()},
                "folder": str(Path.cwd()),
                "report": str(report),
                "stack": str(stack),
            }
        )

    def _trial(self, outcome: Outcome, place: Workplace) -> dict[str, Any]:
        stands = next(
            (
                f"{_relative(Path(place.shown(path)))}:{line}"
                for path, line in outcome.stack
                if any(copy in Path(path).parents for copy in place.places.values())
            ),
            None,
        )
        return {
            "copied": place.copied,
            "left_out": [_relative(path) for path in place.left_out],
            "steps": self.steps,
            "seconds": round(outcome.seconds, 1),
            "timeout": self.timeout,
            "late": outcome.late,
            "stands_at": stands,
            "exit_code": outcome.code,
        }


def _plugins(trial: _Trial, plugins: tuple[str, ...], options: tuple[str, ...]) -> Plugins:
    """Load them here, for their hooks; the process of the trial has none."""
    script = Path(trial.name)
    folder = script.parent if not trial.is_module and script.exists() else Path.cwd()
    command = {"plugins": plugins, "options": options}
    return load(resolve(call=None, command=command, environ=os.environ, folder=folder))


def _relative(path: Path) -> str:
    """A path as the user would type it here."""
    folder = Path.cwd()
    return str(path.relative_to(folder)) if folder in path.parents else str(path)


def _shown(value: Any, place: Workplace) -> Any:
    """The same values, with the user's own paths in every text."""
    if isinstance(value, str):
        return place.shown(value)
    if isinstance(value, list):
        return [_shown(item, place) for item in value]
    if isinstance(value, dict):
        return {name: _shown(item, place) for name, item in value.items()}
    return value
