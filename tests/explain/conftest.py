"""Scripts that are tried by the command itself, each in a folder of its own."""

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

HOME = Path(hookcore.__file__).parents[1]


@attrs.frozen
class Said:
    """What one ``hookcore explain`` printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        """The JSON."""
        return json.loads(self.out)

    def section(self, title):
        """The lines below a title, without their indentation."""
        lines = self.out.splitlines()
        place = lines.index(title) + 1
        rest = lines[place:]
        end = rest.index("") if "" in rest else len(rest)
        return [line.strip() for line in rest[:end]]

    def loops(self):
        """``{role: where}`` of the JSON."""
        return {loop["role"]: loop["where"] for loop in self.data["loops"]}


class Desk:
    """A folder with scripts, and the command."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        """Put a script, or another file, into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    def at(self, name, line):
        """File and line of the only line that reads so."""
        lines = [found.strip() for found in (self.folder / name).read_text().splitlines()]
        assert lines.count(line) == 1
        return f"{name}:{lines.index(line) + 1}"

    def explain(self, *arguments, folder=None, plugins=False):
        """Run the command; no installed plugin is loaded unless it is wanted."""
        none = [] if plugins else ["-p", "no:*"]
        done = subprocess.run(
            [sys.executable, "-m", "hookcore", "explain", *none, *map(str, arguments)],
            cwd=folder or self.folder,
            env={**os.environ, "PYTHONPATH": str(HOME), "COLUMNS": "100"},
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
