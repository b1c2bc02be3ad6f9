"""conftest.py does what it says: a test that leaves something behind, or reaches out, fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os; os.environ['LEFT'] = '1'", "$LEFT: '(nothing)' -> '1'"),
        ("import os; os.chdir('/')", "working folder"),
        ("import signal; signal.signal(signal.SIGTERM, print)", "SIGTERM"),
        ("import sys; sys.argv.append('x')", "sys.argv"),
        ("import socket; socket.create_connection(('192.0.2.1', 80))", "reached for the network"),
    ],
)
def test_what_is_left_behind_is_found(tmp_path, body, said):
    """Each kind of trace fails the test that left it, and names it."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        f"def test_it():\n    {body}\n\ndef test_next():\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert said in done.stdout
    assert "1 error" in done.stdout or "1 failed" in done.stdout
    assert "passed" in done.stdout
