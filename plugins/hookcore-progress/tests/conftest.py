"""A terminal to run programs in: a real pty, and an emulator that keeps what it shows."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import textwrap
import time

import pytest

LOOP = """
import sys, time
import hookcore
from hookcore_progress import Progress

def train(epochs=2, batches=12, pause=0.05, body=lambda epoch, batch: None, **options):
    with hookcore.run(only=[], plugins=[Progress(**options)]):
        for epoch in hookcore.epochs(range(epochs)):
            for batch in hookcore.batches(range(batches)):
                time.sleep(pause)
                hookcore.log(loss=1 / (1 + batch))
                body(epoch, batch)
            with hookcore.validation():
                hookcore.log(val_loss=0.5)
"""


class Screen:
    """As much of a VT100 as our sequences and a program's prints need; the rest is refused."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.history = []
        self.row = self.column = 0
        self.top, self.bottom = 0, rows - 1
        self.saved = (0, 0)

    def feed(self, text):
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[^\x1b]", text, re.DOTALL):
            self._take(token)
        return self

    @property
    def lines(self):
        """All that is or was on the screen, without empty lines at the end."""
        lines = self.history + ["".join(row).rstrip() for row in self.cells]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _take(self, token):
        if token.startswith("\x1b["):
            self._control(token[2:-1], token[-1])
        elif token == "\x1b7":
            self.saved = (self.row, self.column)
        elif token == "\x1b8":
            self.row, self.column = self.saved
        elif token in ("\n", "\x1bD"):
            self._down()
        elif token == "\r":
            self.column = 0
        elif token.isprintable():
            if self.column == self.columns:
                self._down()
                self.column = 0
            self.cells[self.row][self.column] = token
            self.column += 1
        else:
            raise AssertionError(f"unknown: {token!r}")

    def _control(self, numbers, letter):
        given = [int(n) for n in numbers.split(";") if n]
        if letter == "r":
            self.top, self.bottom = 0, self.rows - 1
            if given:
                self.top, self.bottom = given[0] - 1, given[1] - 1
            self.row = self.column = 0
        elif letter == "H":
            self.row, self.column = (n - 1 for n in given) if given else (0, 0)
        elif letter == "A":
            self.row -= self.row not in (0, self.top)
            self.column = min(self.column, self.columns - 1)
        elif letter == "B":
            self.row += self.row not in (self.rows - 1, self.bottom)
            self.column = min(self.column, self.columns - 1)
        elif letter == "L":
            assert self.top <= self.row <= self.bottom
            del self.cells[self.bottom]
            self.cells.insert(self.row, [" "] * self.columns)
            self.column = 0
        elif letter == "K":
            assert numbers == "2"
            self.cells[self.row] = [" "] * self.columns
        else:
            assert letter == "m", letter

    def _down(self):
        self.column = min(self.column, self.columns - 1)
        if self.row != self.bottom:
            self.row = min(self.row + 1, self.rows - 1)
            return
        gone = self.cells.pop(self.top)
        self.cells.insert(self.bottom, [" "] * self.columns)
        if self.top == 0:
            self.history.append("".join(gone).rstrip())


class Terminal:
    """A program in a pty of its own, as its session's leader."""

    def __init__(self, script, columns=80, rows=12, **environ):
        import fcntl
        import pty
        import struct
        import termios

        self.columns, self.rows = columns, rows
        self.master, slave = pty.openpty()
        self._resize = lambda c, r: fcntl.ioctl(
            self.master, termios.TIOCSWINSZ, struct.pack("HHHH", r, c, 0, 0)
        )
        self._resize(columns, rows)
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP + textwrap.dedent(script)],
            stdin=slave, stdout=slave, stderr=slave, env=environment(**environ),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
        )  # fmt: skip
        os.close(slave)
        self.bytes = b""

    def resize(self, columns, rows):
        self._resize(columns, rows)

    def until(self, text, seconds=20):
        """Read until the text has come."""
        end = time.monotonic() + seconds
        while text.encode() not in self.bytes:
            assert time.monotonic() < end, f"no {text!r} in {self.bytes!r}"
            assert self._read(), f"ended without {text!r}: {self.bytes!r}"
        return self

    def end(self):
        """Read until the program has ended; its exit status."""
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(20)

    @property
    def text(self):
        return self.bytes.decode("utf-8", "replace")

    @property
    def screen(self):
        return Screen(self.columns, self.rows).feed(self.text)

    def _read(self):
        with contextlib.suppress(OSError):  # Linux: EIO where the other side is closed
            data = os.read(self.master, 65536)
            self.bytes += data
            return bool(data)
        return False


def environment(**more):
    """As this process', with our packages, and what a program's output depends on set here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOOKCORE", "PYTHON", "LC_"))}
    path = os.pathsep.join(p for p in sys.path if p)
    given = {"PYTHONPATH": path, "TERM": "xterm", "PYTHONUTF8": "1", "NO_COLOR": "1", **more}
    return {k: v for k, v in {**kept, **given}.items() if v is not None}


@pytest.fixture
def in_terminal():
    """Run a script, after the loop above, in a terminal."""
    pytest.importorskip("pty", reason="needs a pty")
    started = []

    def start(script, columns=80, rows=12, **environ):
        started.append(Terminal(script, columns, rows, **environ))
        return started[-1]

    yield start
    for terminal in started:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


@pytest.fixture
def run_script():
    """Run a script, after the loop above, with its output in pipes."""

    def run(script, **environ):
        return subprocess.run(
            [sys.executable, "-c", LOOP + textwrap.dedent(script)],
            capture_output=True, text=True, timeout=60, check=False, env=environment(**environ),
        )  # fmt: skip

    return run


@pytest.fixture
def screen():
    """The emulator alone."""
    return Screen


@pytest.fixture
def loop():
    """The loop above, as text."""
    return LOOP


@pytest.fixture
def environ():
    """Variables for a program of its own."""
    return environment
