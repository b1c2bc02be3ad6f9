"""Real processes, many of them: each is forked from this one, which has torch already.

`pytest tests/soak` takes a few minutes; `--all` is what the figures in the docs are made with.
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

SCRIPTS = Path(__file__).parents[2] / "plugins/hookcore-checkpoint/tests/scripts"
ONLY = "HOOKCORE_ONLY"


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="as often as the docs say it was done")
    parser.addoption("--seed", type=int, default=None, help="of the random moments and places")


@pytest.fixture
def chance(request):
    """What is random here, with its seed in the test's output."""
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print("--seed", seed)
    return random.Random(seed)


@pytest.fixture
def times(request):
    """Picks how often something is done: a few times, or as often as ``--all`` asks for."""
    whole = request.config.getoption("--all")
    return lambda few, many: many if whole else few


@attrs.frozen
class Ended:
    """How a process ended: the exit code or minus the signal, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def result(self):
        """What the script printed at its end: everything it knows."""
        lines = [line for line in self.out.splitlines() if line.startswith("RESULT ")]
        assert lines, f"no result:\n{self.out}\n{self.err}"
        return lines[-1]


class Yard:
    """A folder in which runs happen, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, text: str | None = None) -> str:
        """Put a script here: one of the checkpoint plugin's, or the text."""
        (self.folder / name).write_text((SCRIPTS / name).read_text() if text is None else text)
        return name

    def bare(self, script: str, *args: object) -> Ended:
        """``python script``."""
        return self.wait(self.start(lambda: self._script(script, args)))

    def run(self, *args: object, before: Callable[[], object] = lambda: None) -> Ended:
        """``hookcore run ...``."""
        return self.wait(self.begin(*args, before=before))

    def begin(self, *args: object, before: Callable[[], object] = lambda: None) -> int:
        """The same, not waited for; ``before`` is called in the new process."""
        return self.start(lambda: (before(), self._command(["run", *map(str, args)]))[1])

    def start(self, job: Callable[[], int]) -> int:
        """Do something in a new process, whose number is returned."""
        import torch._dynamo  # noqa: F401 - what torch's optimizers import, once for all children

        import hookcore.cli.run
        import hookcore.snapshot  # noqa: F401 - once for all children too

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside torch's threads
            child = os.fork()
        if child == 0:
            self._be_child(job)
        return child

    def wait(self, child: int) -> Ended:
        """Wait for a process."""
        _, status = os.waitpid(child, 0)
        texts = [(self.folder / f".{child}.{name}") for name in ("out", "err")]
        for path in texts:
            path.touch()  # it may have been killed before it opened them
        ended = Ended(os.waitstatus_to_exitcode(status), *(path.read_text() for path in texts))
        for path in texts:
            path.unlink()
        return ended

    def kill(self, child: int, seconds: float) -> None:
        """Kill a process after a while, if it still runs."""
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def strays(self) -> list[Path]:
        """Hidden files and folders where checkpoints are."""
        return [path for path in self.folder.rglob("*/.*") if path.parent != self.folder]

    def _script(self, script: str, args: tuple[object, ...]) -> int:
        sys.argv = [script, *map(str, args)]
        runpy.run_path(script, run_name="__main__")
        return 0

    def _command(self, args: list[str]) -> int:
        from hookcore.cli import main

        return main(args)

    def _be_child(self, job: Callable[[], int]) -> None:
        """Never returns."""
        code = 1
        try:
            for number, name in ((1, "out"), (2, "err")):
                path = self.folder / f".{os.getpid()}.{name}"
                os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
                stream = os.fdopen(number, "w", buffering=1, closefd=False)
                setattr(sys, "std" + name, stream)
            warnings.resetwarnings()
            os.chdir(self.folder)
            sys.path[0] = str(self.folder)
            code = job()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


@pytest.fixture
def yard(tmp_path, monkeypatch):
    monkeypatch.setenv(ONLY, "checkpoint")
    return Yard(tmp_path)
