"""Real runs, cheaply: a forked child of this process runs the command, dies, and is run again.

Importing torch takes seconds, and a kill must be a kill. So the command runs in a child that has
torch already, with its own standard output, exit status and signals.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import textwrap
import traceback
import warnings
from pathlib import Path

import attrs
import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
SCRIPTS = Path(__file__).parent / "scripts"

# A plugin from another package, so that the loops under test stay plain.
STRIKER = '''
"""Hits the run at one place of its life: hit=event/number/signal; or stops it after a step."""
import os
import signal

import attrs
import hookcore


@attrs.define(eq=False, kw_only=True)
class Striker:
    hit: str = ""
    stop: int = 0
    _count: int = attrs.field(default=0, init=False)

    def _strike(self, event):
        if self.hit:
            wanted, number, what = self.hit.split("/")
            self._count += event == wanted
            if event == wanted and self._count == int(number):
                os.kill(os.getpid(), getattr(signal, what))

    @hookcore.hookimpl
    def on_batch_end(self):
        self._strike("batch")

    @hookcore.hookimpl
    def on_epoch_end(self):
        self._strike("epoch")

    @hookcore.hookimpl
    def on_optimizer_step_start(self):
        self._strike("step")

    @hookcore.hookimpl
    def on_optimizer_step_end(self, fit):
        if fit.step == self.stop:
            fit.stop("enough")
'''


@attrs.frozen
class Ended:
    """How a process ended.

    Attributes:
        status: As the shell's: the exit code, or minus the signal.
        out: Its standard output.
        err: Its standard error.
    """

    status: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, object]:
        """What the script printed at its end: everything it knows."""
        lines = [line for line in self.out.splitlines() if line.startswith("RESULT ")]
        assert lines, f"no result:\n{self.out}\n{self.err}"
        return json.loads(lines[-1].removeprefix("RESULT "))


class Desk:
    """A folder with scripts, in which runs happen one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / ".site"
        info = package / "striker-1.dist-info"
        info.mkdir(parents=True)
        (package / "striker.py").write_text(STRIKER)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: striker\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[hookcore]\nstriker = striker:Striker\n")

    def put(self, name: str, text: str | None = None) -> str:
        """Put a script here: one of ``scripts/``, or the text."""
        source = (SCRIPTS / name).read_text() if text is None else textwrap.dedent(text)
        (self.folder / name).write_text(source)
        return name

    def checkpoints(self, *below: str) -> list[str]:
        """Names of the checkpoints in a folder."""
        place = self.folder.joinpath("checkpoints", *below)
        found = (path.parent for path in place.glob("*/manifest.json"))
        return sorted(folder.name for folder in found if not folder.is_symlink())

    def bare(self, script: str, *args: object) -> Ended:
        """``python script``."""
        return self._child(lambda: self._script(script, args))

    def run(self, *args: object) -> Ended:
        """``hookcore run ...``."""
        return self.command("run", *args)

    def command(self, *args: object) -> Ended:
        """``hookcore ...``."""
        return self._child(lambda: self._command([str(arg) for arg in args]))

    def process(self, *args: object) -> Ended:
        """``python -m hookcore run ...`` in a new process, nothing imported."""
        done = subprocess.run(
            [sys.executable, "-m", "hookcore", *map(str, args)],
            cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def _script(self, script: str, args: tuple[object, ...]) -> int:
        sys.argv = [script, *map(str, args)]
        runpy.run_path(script, run_name="__main__")
        return 0

    def _command(self, args: list[str]) -> int:
        from hookcore.cli import main

        sys.path.insert(1, str(self.folder / ".site"))
        return main(args)

    def _child(self, job) -> Ended:
        import torch._dynamo  # noqa: F401 - what torch's optimizers import, once for all children

        streams = [self.folder / ".out", self.folder / ".err"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside torch's threads
            child = os.fork()
        if child == 0:
            self._be_child(job, streams)
        _, status = os.waitpid(child, 0)
        texts = [path.read_text() for path in streams]
        return Ended(os.waitstatus_to_exitcode(status), *texts)

    def _be_child(self, job, streams: list[Path]) -> None:
        """Never returns."""
        code = 1
        try:
            for number, path in enumerate(streams, 1):
                os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
                stream = os.fdopen(number, "w", buffering=1, closefd=False)
                setattr(sys, ("stdout", "stderr")[number - 1], stream)
            warnings.resetwarnings()
            os.chdir(self.folder)
            code = job()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except KeyboardInterrupt:
            traceback.print_exc()
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)
