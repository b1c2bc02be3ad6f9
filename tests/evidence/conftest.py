"""Accounts made by hand, and scripts that the two commands are tried on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
import pytest

import hookcore
from hookcore.evidence import Account, Moment
from hookcore.scratch import Outcome

HOME = Path(hookcore.__file__).parents[1]


def account(*moments, end=None, **more):
    """A run of these moments: ``("step", {"loss": {"loss": "1"}})``; values are their digests."""
    made = [
        Moment(kind, number, number + 1, f"train.py:{number}", tokens(items))
        for number, (kind, items) in enumerate(moments)
    ]
    last = None if end is None else Moment("end", len(made), len(made), "", tokens(end))
    return Account(Outcome(0, False, 1.0), moments=made, end=last, **more)


def tokens(items):
    """``{kind: {name: text}}`` with digests in place of the texts."""
    return {
        kind: {name: [text, text] for name, text in names.items()} for kind, names in items.items()
    }


@attrs.frozen
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        """The JSON."""
        return json.loads(self.out)


class Desk:
    """A folder with a script, and the commands."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        """Put a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    def command(self, *arguments, **variables):
        """Run ``hookcore ...`` in the folder."""
        done = subprocess.run(
            [sys.executable, "-m", "hookcore", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(HOME), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @property
    def files(self):
        """Everything in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.*"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path.resolve())


@pytest.fixture
def made():
    return account
