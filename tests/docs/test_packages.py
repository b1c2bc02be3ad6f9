"""Plugins from outside this repository: built, installed by pip, found, fired, uninstalled."""

from __future__ import annotations

import json
import shutil
import sys

import pages
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell"),
]

TEN_LINES = '''\
import hookcore


class Shout:
    """Shouts when an epoch is over."""

    @hookcore.hookimpl
    def on_epoch_end(self, run, epoch):
        run.say(f"EPOCH {epoch} IS OVER")
'''

PYPROJECT = """\
[build-system]
requires = ["flit_core>=3.11,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "hookcore-shout"
version = "1.2.3"
description = "Shouts."

[project.entry-points.hookcore]
shout = "hookcore_shout:Shout"
"""


@pytest.fixture
def reader(tmp_path):
    """Somebody with an environment of their own, a copy of the digits and no checkpoint."""
    reader = pages.Reader(tmp_path / "reader")
    shutil.copy(pages.ROOT / "docs" / "examples" / "digits.py", reader.folder)
    return reader


def run(reader, command: str) -> str:
    """What a command prints; it must succeed."""
    code, output = reader.run("sh", command)
    assert code == 0, output
    return output


def row(reader, name: str) -> dict | None:
    """What `hookcore plugins --json` says of a plugin."""
    rows = json.loads(run(reader, "hookcore plugins --json 2>/dev/null"))
    return next((row for row in rows if row["name"] == name), None)


def test_ten_lines_and_a_pyproject(reader):
    """A plugin in a folder of its own is installed, found, and fires."""
    reader.write("shout/hookcore_shout.py", TEN_LINES)
    reader.write("shout/pyproject.toml", PYPROJECT)
    assert len(TEN_LINES.splitlines()) <= 10

    run(reader, "pip install ./shout")

    assert row(reader, "shout") == {
        "name": "shout",
        "distribution": "hookcore-shout",
        "version": "1.2.3",
        "status": "active",
        "reason": "installed",
        "hooks": ["on_epoch_end"],
        "options": [],
    }
    output = run(reader, "HOOKCORE_ONLY=shout hookcore run digits.py --epochs 2")
    assert "hookcore: EPOCH 0 IS OVER" in output
    assert "hookcore: EPOCH 1 IS OVER" in output


def test_the_tutorial_s_plugin_from_its_wheel(reader):
    """It is built into a wheel, found, stops a run, and is gone when it is uninstalled."""
    source = pages.ROOT / "docs" / "examples" / "hookcore-lossmonitor"
    shutil.copytree(source, reader.folder / "hookcore-lossmonitor")
    run(reader, "pip wheel --no-build-isolation --no-deps -w wheels ./hookcore-lossmonitor")

    run(reader, "pip install wheels/hookcore_lossmonitor-0.1.0-py3-none-any.whl")

    found = row(reader, "lossmonitor")
    assert (found["status"], found["distribution"]) == ("active", "hookcore-lossmonitor")
    assert [option["name"] for option in found["options"]] == ["monitor", "patience", "min_delta"]
    output = run(
        reader,
        "HOOKCORE_ONLY=lossmonitor hookcore run -o lossmonitor.patience=1 "
        "-o lossmonitor.min_delta=100 digits.py --epochs 9",
    )
    assert "train_loss fell from" in output
    assert "training was stopped by lossmonitor" in output
    assert "after training:" in output
    run(reader, "pip uninstall --yes hookcore-lossmonitor")
    assert row(reader, "lossmonitor") is None


@pytest.mark.plugins
def test_four_ways_to_take_a_plugin_out(reader):
    """Each of them is what `hookcore plugins` names; the fifth is pip's."""
    table = "| grep ^earlystop"
    assert "blocked: -p no:earlystop" in run(reader, f"hookcore plugins -p no:earlystop {table}")
    assert "blocked: HOOKCORE_DISABLE" in run(
        reader, f"HOOKCORE_DISABLE=earlystop hookcore plugins {table}"
    )
    code = (
        "import hookcore\n"
        "with hookcore.run(disable=['earlystop'], quiet=True) as run:\n"
        "    print([r.reason for r in run.plugins if r.name == 'earlystop'])\n"
    )
    assert reader.run("python", code) == (0, "['run(disable=...)']\n")
