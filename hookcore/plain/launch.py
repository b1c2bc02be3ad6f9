"""``hookcore run``: a script or module, run as Python would run it, inside a run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookcore.errors import HookcoreError
from hookcore.plain.adapter import Plain
from hookcore.plain.explicit import way_of
from hookcore.plain.loading.arrival import Arrival
from hookcore.plain.loading.finder import Finder
from hookcore.plain.loading.frames import strip_frames
from hookcore.plain.loading.script import Target
from hookcore.session import Session

if TYPE_CHECKING:
    from hookcore.settings import Settings


def launch(target: str, argv: Sequence[str], *, is_module: bool, settings: Settings) -> int:
    """Run a script or a module under hookcore.

    What the script raises comes out, ``SystemExit`` included, with none of our frames in its
    traceback: Python then ends with the same words and exit code as without hookcore.

    Args:
        target: The script's path, or the module's name.
        argv: Its arguments.
        is_module: Whether ``target`` is a module's name.
        settings: Frozen settings.

    Returns:
        0, or 1 where something was lost that the run was to keep: a checkpoint that failed.

    Raises:
        UsageError: Something typed is wrong; nothing has run.
        HookcoreError: There is no torch.
    """
    found = Target.module(target, argv) if is_module else Target.script(target, argv)
    if not settings.enabled:
        return _run_bare(found)
    if importlib.util.find_spec("torch") is None:
        raise HookcoreError(
            "hookcore run follows loops of PyTorch, and PyTorch is not installed",
            "No module named 'torch'",
            "pip install 'hookcore[torch]'",
        )
    name = target if is_module else Path(target).stem
    host = Plain()
    session = Session(settings, name, host, argv)
    arrival = Arrival("torch", host.torch_came)
    with Finder(found.roots):
        session.open()
        arrival.await_it()
        try:
            found.run()
        except BaseException as error:
            _show_as_bare(error)
            session.close(way_of(error), error)
            if isinstance(error, SystemExit) and not error.code and session.run.failed:
                return 1
            raise
        finally:
            arrival.give_up()
        session.close("finished")
    return int(session.run.failed)


def _run_bare(found: Target) -> int:
    """``HOOKCORE=0``: no site, no plugin, no hook."""
    try:
        found.run(rewriting=False)
    except BaseException as error:
        _show_as_bare(error)
        raise
    return 0


def _show_as_bare(error: BaseException) -> None:
    """Let Python print the traceback that the script has without hookcore.

    On its way up to the interpreter, where it decides on the exit code, the error passes through
    our own frames once more. Who shows it in the end, the user's own hook perhaps, sees none.
    """
    strip_frames(error)
    bare, before = error.__traceback__, sys.excepthook

    def show(kind: type[BaseException], value: BaseException, traceback: Any) -> None:
        sys.excepthook = before
        if value is error:
            traceback = value.__traceback__ = bare
        before(kind, value, traceback)

    if not isinstance(error, SystemExit):
        sys.excepthook = show
