"""The README's two commands, and CI, which runs the second of them and what that leaves out."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shell_blocks() -> list[str]:
    """The README's shell blocks, in order."""
    text = (ROOT / "README.md").read_text()
    fenced = re.compile(r"^```(?:sh|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [body.strip() for body in fenced.findall(text)]


def test_readme_starts_with_two_commands():
    """Its first two shell blocks are one line each, and each makes its own environment."""
    example, tests = shell_blocks()[:2]
    for command in (example, tests):
        assert len(command.splitlines()) == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install tox && ")
    assert example.endswith(".venv/bin/tox -e example")
    assert tests.endswith(".venv/bin/tox")


def test_ci_runs_the_readme_s_second_command():
    """CI runs what the README says, then the two long ones; a failure there fails it."""
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().splitlines()[-2:] == [shell_blocks()[1], ".venv/bin/tox -e soak,wild"]
    assert re.search(r"^set -euo pipefail$", script, re.MULTILINE)


def test_ci_can_be_started():
    """The file is executable, as the README's reader would expect of a script."""
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
