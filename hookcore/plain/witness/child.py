"""What runs in the process of a comparison: the script, as ``hookcore run`` runs it, watched."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import attrs

from hookcore.errors import UsageError
from hookcore.plain.launch import launch
from hookcore.plain.loading.arrival import Arrival
from hookcore.plain.loading.script import Target
from hookcore.plain.trial.places import Places, move_path
from hookcore.plain.witness.ledger import Ledger
from hookcore.plain.witness.plugin import Witness
from hookcore.plain.witness.watch import Watch
from hookcore.settings import resolve


@attrs.frozen(kw_only=True)
class Request:
    """What is to be run, and watched.

    Attributes:
        target: The script's path or the module's name.
        argv: Its arguments.
        is_module: Whether it is a module.
        plugins: The texts of ``-p``.
        options: The texts of ``-o``.
        resume: Whether it goes on from its last checkpoint.
        places: Folders as the user knows them, to where they lie now.
        folder: The working folder as the user knows it.
        ledger: File that takes what is seen.
        stack: File that takes where the script stands when its time is up.
        by_hand: Whether backward passes count as steps, for no optimizer steps.
        last: The step after which it is left, or None.
        kill: The step that it dies in, and whether after it; or None.
        captured: Position of a checkpoint to the moments and steps before it.
        ignored: Names of variables that are not compared.
    """

    target: str
    argv: list[str]
    is_module: bool
    plugins: list[str]
    options: list[str]
    resume: bool
    places: dict[str, str]
    folder: str
    ledger: str
    stack: str
    by_hand: bool
    last: int | None
    kill: tuple[int, bool] | None
    captured: dict[str, list[int]]
    ignored: list[str]


def main(text: str) -> None:
    """Run the script to its end, its last wanted step or its death.

    Args:
        text: The request, as JSON.
    """
    request = Request(**json.loads(text))
    stack = Path(request.stack).open("w")  # noqa: SIM115 - faulthandler writes to it till the end
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
    move_path(request.places)
    sys.exit(_run(request))


def _run(request: Request) -> int:
    ledger = Ledger(request.ledger)
    find = Target.module if request.is_module else Target.script
    places = Places(request.places, request.folder)
    roots = find(request.target, request.argv).roots

    def observer() -> Any:
        from hookcore.plain.witness.observer import Deadly, Observer
        from hookcore.plain.witness.variables import Variables

        return Observer(
            ledger,
            Variables(roots.own, places.where, frozenset(request.ignored)),
            by_hand=request.by_hand,
            last=request.last,
            deadly=None if request.kill is None else Deadly(*request.kill),
            captured=request.captured,
            leave=_leave,
        )

    watch = Watch(observer)
    Arrival("torch", watch.begin).await_it()
    try:
        code = _launch(request, Witness(ledger, watch))
    except UsageError as error:
        ledger.write("refused", parts=[error.what, error.why, error.way_out])
        sys.stderr.write(f"hookcore: {error}\n")
        return 2
    except BaseException as error:
        _ended(ledger, watch, {"exit": _words(error)})
        raise
    _ended(ledger, watch, {"exit": "" if code == 0 else f"exit code {code}"})
    return code


def _launch(request: Request, witness: Witness) -> int:
    command = {
        "plugins": request.plugins,
        "options": request.options,
        "resume": "auto" if request.resume else None,
    }
    script = Path(request.target)
    folder = script.parent if not request.is_module and script.exists() else Path.cwd()
    settings = resolve(
        call={"plugins": [witness]}, command=command, environ=os.environ, folder=folder
    )
    return launch(request.target, request.argv, is_module=request.is_module, settings=settings)


def _ended(ledger: Ledger, watch: Watch, how: dict[str, Any]) -> None:
    if watch.observer is not None:
        watch.observer.ended(how)
    else:
        ledger.write("end", n=0, step=0, items={}, unread={}, **how)


def _words(error: BaseException) -> str:
    """How the script ended, without what differs from process to process."""
    if isinstance(error, SystemExit):
        return "" if error.code in (None, 0) else f"exit code {error.code}"
    return f"{type(error).__name__}: {error}"


def _leave() -> None:
    """Enough has been seen: what would follow, the script's own end too, does not run."""
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(0)
