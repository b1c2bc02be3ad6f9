"""What runs in a trial's process: the script, until enough of it has been seen."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from hookcore.checks import Manager
from hookcore.dispatch import Dispatch, Failure
from hookcore.errors import UsageError
from hookcore.life import Life
from hookcore.plain.loading.arrival import Arrival
from hookcore.plain.loading.finder import Finder
from hookcore.plain.loading.frames import strip_frames
from hookcore.plain.loading.script import Target
from hookcore.plain.trial.findings import findings
from hookcore.plain.trial.host import Trial
from hookcore.plain.trial.places import Places, move_path
from hookcore.plain.trial.tally import Tally
from hookcore.plugins import PluginRecord
from hookcore.settings import Given, Layer, Origin, Settings
from hookcore.training import Run


@attrs.frozen(kw_only=True)
class Request:
    """What is to be tried.

    Attributes:
        target: The script's path or the module's name.
        argv: Its arguments.
        is_module: Whether it is a module.
        steps: Iterations of a loop.
        loops: What the user says of loops: role and where that was said, by ``FILE:LINE``.
        places: Folders as the user knows them, to where they lie now.
        folder: The working folder as the user knows it.
        report: File that takes what was found; there as soon as a fit is recognised.
        stack: File that takes where the script stands when its time is up.
    """

    target: str
    argv: list[str]
    is_module: bool
    steps: int
    loops: dict[str, tuple[str, str]]
    places: dict[str, str]
    folder: str
    report: str
    stack: str


def main(text: str) -> None:
    """Run a trial; the process is over when it returns.

    Args:
        text: The request, as JSON.
    """
    request = Request(**json.loads(text))
    stack = Path(request.stack).open("w")  # noqa: SIM115 - faulthandler writes to it till the end
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
    move_path(request.places)
    _Script(request).run()


class _Script:
    """One script under trial."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._places = Places(request.places, request.folder)
        self._process = os.getpid()
        find = Target.module if request.is_module else Target.script
        self._target = find(request.target, request.argv)
        self._host = Trial(request.steps, self._target.roots.own, self._look, self._conclude)
        self._tally = Tally(self._look)
        self._ours: list[str] = []
        self._known: dict[str, Any] = {}

    def run(self) -> None:
        """Run it until it has been understood, or is over."""
        name = self._request.target
        run = Run(
            name=name if self._request.is_module else Path(name).stem,
            settings=Settings(quiet=True, loops=self._loops()),
            argv=self._request.argv,
        )
        manager = Manager()
        manager.register(self._tally, Tally.name)
        record = PluginRecord(name=Tally.name, status="active", plugin=self._tally)
        dispatch = Dispatch(manager, (record,), on_failure=self._failed, on_pending=lambda: None)
        life = Life(run, dispatch, self._host, lambda *_: None)
        self._host.attach(run, life)
        Arrival("torch", self._host.watch_torch).await_it()
        with Finder(self._target.roots):
            life.start_run()
            self._leave(self._outcome())

    def _loops(self) -> dict[str, Given]:
        return {
            place: Given(role, Origin(said, Layer.COMMAND))
            for place, (role, said) in self._request.loops.items()
        }

    def _outcome(self) -> dict[str, Any]:
        try:
            self._target.run()
            _wait_for_threads()
        except SystemExit as exit_:
            return {"status": "exited", "code": _code(exit_), "message": _message(exit_)}
        except UsageError as error:
            return {"status": "refused", "refusal": [error.what, error.why, error.way_out]}
        except BaseException as error:  # noqa: BLE001 - whatever the script raises is reported
            strip_frames(error)
            return {"status": "raised", "traceback": "".join(traceback.format_exception(error))}
        return {"status": "ended"}

    def _conclude(self) -> None:
        """Enough has been seen: leave, without running what follows."""
        self._leave({"status": "left"})

    def _leave(self, outcome: Mapping[str, Any]) -> None:
        if os.getpid() == self._process:
            self._report(outcome)
            for child in multiprocessing.active_children():
                child.terminate()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the script may have closed or replaced it
                stream.flush()
        os._exit(0)

    def _look(self) -> None:
        """A fit begins, or is left by an exception: the script may yet raise, hang or crash."""
        self._report({"status": "running"})

    def _report(self, outcome: Mapping[str, Any]) -> None:
        found = {**self._find(), "script": dict(outcome)}
        path = Path(self._request.report)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(found))
        draft.replace(path)

    def _find(self) -> dict[str, Any]:
        """What is known; of a fit that is over, what was known at its end."""
        if self._host.life.fit is not None or not self._known:
            try:
                found = findings(self._host, self._tally, self._places.where)
            except Exception as error:  # noqa: BLE001 - the script must not see it
                line = traceback.format_exception_only(error)[-1].strip()
                self._ours.append(f"the trial itself went wrong: {line}")
                found = self._known or {"recognised": False, "not_understood": []}
            found["not_understood"] += self._ours
            self._ours.clear()
            if found["recognised"]:
                self._known = found
            return found
        return self._known

    def _failed(self, failure: Failure, _role: str) -> None:
        self._ours.append(f"the trial itself went wrong in {failure.event}: {failure.line}")


def _wait_for_threads() -> None:
    """As Python does before it ends."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _code(exit_: SystemExit) -> int:
    code = exit_.code
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _message(exit_: SystemExit) -> str:
    return "" if exit_.code is None or isinstance(exit_.code, int) else str(exit_.code)
