"""``hookcore explain``: what hookcore sees in a script, found out by trying it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import attrs
import click

from hookcore.cli.explanation import Explanation
from hookcore.cli.probing import (
    decorated,
    folders_of,
    place_options,
    plugin_options,
    relative,
    settings_of,
    split,
    target_options,
)
from hookcore.cli.run import LikePython
from hookcore.errors import UsageError
from hookcore.plugins import Plugins, load
from hookcore.scratch import Copy, InPlace, Outcome, Workplace, attempt
from hookcore.settings import Settings

_CHILD = "hookcore.plain.trial.child"


@click.command(cls=LikePython, context_settings={"allow_interspersed_args": False})
@decorated(
    *plugin_options,
    click.option(
        "--steps",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Iterations after which a loop that trains or validates is ended.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=120,
        show_default=True,
        help="Longest wait for the first step, and again for the trial's end.",
    ),
    *place_options,
    click.option("-v", "--verbose", is_flag=True, help="Show what the script printed."),
    click.option(
        "--loop",
        "loops",
        metavar="FILE:LINE=ROLE",
        multiple=True,
        help="As in hookcore run.",
    ),
    *target_options,
)
def explain(
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    steps: int,
    timeout: float,
    in_place: bool,
    max_copy: int,
    as_json: bool,
    verbose: bool,
    loops: tuple[str, ...],
    module: str | None,
    target: tuple[str, ...],
) -> int:
    """Try a script for a few steps and say what hookcore sees in it.

    It runs in a copy of the working folder and is left in the middle of its training; no plugin
    acts. Everything after the script's name, or after -m MODULE, belongs to the script.
    """
    name, argv, is_module = split(module, target)
    trial = _Trial(name=name, argv=argv, is_module=is_module, steps=steps, timeout=timeout)
    settings = settings_of(
        name, is_module=is_module, plugins=plugins, options=options, loops=loops
    )
    active = load(settings)
    folders = folders_of(name, argv, is_module=is_module, command="explain")
    place = InPlace(folders) if in_place else Copy(folders, max_copy)
    with place:
        explanation = trial.run(place, settings, active)
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

    def run(self, place: Workplace, settings: Settings, active: Plugins) -> Explanation:
        """Try it, and put together what is known then.

        Raises:
            UsageError: The script itself asks hookcore for what cannot be.
        """
        with tempfile.TemporaryDirectory(prefix="hookcore-") as name:
            folder = Path(name)
            report, output, stack = (folder / part for part in ("report", "output", "stack"))
            outcome = attempt(
                _CHILD,
                self._request(place, settings, report, stack),
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
                    {"path": relative(one.path), "change": one.change} for one in place.written()
                ],
                "output": printed,
            },
            active,
        )

    def _request(
        self, place: Workplace, settings: Settings, report: Path, stack: Path
    ) -> str:
        return json.dumps(
            {
                "target": self.name if self.is_module else place.typed(self.name),
                "argv": [place.typed(argument) for argument in self.argv],
                "is_module": self.is_module,
                "steps": self.steps,
                "loops": {
                    at: (given.value, str(given.origin)) for at, given in settings.loops.items()
                },
                "places": {str(folder): str(copy) for folder, copy in place.places.items()},
                "folder": str(Path.cwd()),
                "report": str(report),
                "stack": str(stack),
            }
        )

    def _trial(self, outcome: Outcome, place: Workplace) -> dict[str, Any]:
        stands = next(
            (
                f"{relative(Path(place.shown(path)))}:{line}"
                for path, line in outcome.stack
                if any(copy in Path(path).parents for copy in place.places.values())
            ),
            None,
        )
        return {
            "copied": place.copied,
            "left_out": [relative(path) for path in place.left_out],
            "steps": self.steps,
            "seconds": round(outcome.seconds, 1),
            "timeout": self.timeout,
            "late": outcome.late,
            "stands_at": stands,
            "exit_code": outcome.code,
        }


def _shown(value: Any, place: Workplace) -> Any:
    """The same values, with the user's own paths in every text."""
    if isinstance(value, str):
        return place.shown(value)
    if isinstance(value, list):
        return [_shown(item, place) for item in value]
    if isinstance(value, dict):
        return {name: _shown(item, place) for name, item in value.items()}
    return value
