"""The process of a trial: started apart, watched by the clock, and ended with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

GRACE = 2.0
_PAUSE = 0.05
_START = """\
import sys
if not getattr(sys.flags, "safe_path", False):
    sys.path[0] = sys.argv[1]
from {module} import main
main(sys.argv[2])
"""


@attrs.frozen
class Outcome:
    """How a trial's process ended.

    Attributes:
        code: Its exit code; negative for a signal.
        late: Whether it was ended because its time was up.
        seconds: How long it ran.
        stack: Where it stood when its time was up, innermost call first, as ``(file, line)``.
    """

    code: int
    late: bool
    seconds: float
    stack: tuple[tuple[str, int], ...] = ()


def attempt(
    module: str,
    argument: str,
    *,
    folder: Path,
    output: Path,
    stack: Path,
    limit: float,
    mark: Path | None = None,
    errors: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Outcome:
    """Run ``main(argument)`` of one of our modules in a process of its own.

    Its group of processes ends with it: DataLoader workers, and whatever else it has started.

    Args:
        module: The module's name.
        argument: What ``main`` is given.
        folder: Its working folder.
        output: File that takes what it prints.
        stack: File that takes where it stands when its time is up.
        limit: Seconds until the mark must be there, and again until the process must have ended.
        mark: File whose appearance starts the clock anew; None: the clock runs once.
        errors: File that takes what it prints to stderr; None: it goes with the rest.
        variables: Environment variables of its own, besides the user's.
    """
    start = _START.format(module=module)
    home = str(Path(__file__).parents[2])
    with contextlib.ExitStack() as files, _ended_in_order():
        printed = files.enter_context(output.open("wb"))
        apart = files.enter_context(errors.open("wb")) if errors is not None else None
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - running it is what was asked for
            [sys.executable, "-c", start, home, argument],
            cwd=folder,
            env={**_environment(os.environ, folder), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT if apart is None else apart,
            start_new_session=True,
        )
        try:
            late = not _ends(process, mark, limit)
            places = _stack(process, stack) if late else ()
        finally:
            _end(process)
    return Outcome(process.returncode, late, time.monotonic() - began, places)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have SIGTERM raise: the trial is a session of its own, and would outlive us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The user's own; a shell would have told the new folder too."""
    return {**environ, "PWD": str(folder)} if "PWD" in environ else dict(environ)


def _ends(process: subprocess.Popen[bytes], mark: Path | None, limit: float) -> bool:
    """Wait; False where the time is up."""
    until = time.monotonic() + limit
    marked = mark is None
    while process.poll() is None:
        if not marked and mark is not None and mark.exists():
            marked, until = True, time.monotonic() + limit
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


def _stack(process: subprocess.Popen[bytes], stack: Path) -> tuple[tuple[str, int], ...]:
    """Have the process write where it stands; that works even where no Python code comes to run."""
    if not hasattr(signal, "SIGUSR1") or not stack.exists():
        return ()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        places = _places(stack.read_text(errors="replace").splitlines())
        if places:
            time.sleep(_PAUSE)
            return _places(stack.read_text(errors="replace").splitlines())
        time.sleep(_PAUSE)
    return ()


def _places(lines: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Read faulthandler's ``File "train.py", line 3 in main``."""
    found = []
    for line in lines:
        head, _, rest = line.strip().partition('", line ')
        number = rest.partition(" ")[0]
        if head.startswith('File "') and number.isdigit():
            found.append((head.removeprefix('File "'), int(number)))
    return tuple(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, and what it has started."""
    if not hasattr(os, "killpg"):
        process.kill()
        process.wait()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(_PAUSE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
