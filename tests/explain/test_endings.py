"""Scripts that fail, never train, wait or hang: each has its report and its exit code."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

TRAIN = """
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(5):
    for i in range(10):
        loss = model(torch.randn(8, 4)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def test_raises(desk):
    """A script that raises: the traceback is Python's own, with the user's paths."""
    script = desk.write("train.py", """
        def load():
            raise ValueError("no data")


        print("loading")
        load()
        """)
    said = desk.explain("train.py")
    assert said.code == 1
    assert "the script failed; its traceback is below" in said.out
    lines = said.err.lstrip().splitlines()
    assert lines[:2] == ["loading", "Traceback (most recent call last):"]
    assert lines[2] == f'  File "{script}", line 6, in <module>'
    assert lines[-1] == "ValueError: no data"
    assert "hookcore" not in said.err.replace(str(desk.folder), "")


def test_raises_in_the_loop(desk):
    """What was found until then is shown, and the exit code is 1."""
    desk.write("train.py", TRAIN + "    raise ValueError('in the epoch')\n")
    said = desk.explain("--json", "train.py")
    assert said.code == 1
    assert said.loops() == {"epoch": "train.py:5", "batch": "train.py:6"}
    assert said.data["script"]["traceback"].endswith("ValueError: in the epoch\n")


def test_exits(desk):
    """sys.exit before the training: its exit code and what it printed."""
    desk.write("train.py", """
        import argparse

        parser = argparse.ArgumentParser()
        parser.add_argument("--data", required=True)
        parser.parse_args()
        """)
    said = desk.explain("train.py")
    assert said.code == 1
    assert "ended itself with exit code 2" in said.out
    assert "the following arguments are required: --data" in said.err


def test_no_training(desk):
    """A script without training: nothing recognised, and why."""
    desk.write("train.py", "import torch\nfor i in range(3):\n    print(torch.ones(1))\n")
    said = desk.explain("train.py")
    assert said.code == 1
    assert "no training was recognised\nthe script ran to its end" in said.out
    assert said.section("not understood") == [
        "- no optimizer stepped, and no backward pass was started"
    ]


def test_without_torch(desk):
    """A script that never imports torch is told so."""
    desk.write("train.py", "print(1)\n")
    assert desk.explain("train.py").section("not understood") == [
        "- the script did not import torch"
    ]


def test_input(desk):
    """A script that asks for input gets none, and a word on it."""
    desk.write("train.py", "name = input('name? ')\n")
    said = desk.explain("train.py")
    assert said.code == 1
    assert "a trial gives it no input" in said.out
    assert said.err.endswith("EOFError: EOF when reading a line\n")


def test_too_slow(desk):
    """A script that takes too long before its first step is ended; the line is named."""
    desk.write("train.py", "import time\n\n\ndef load():\n    time.sleep(600)\n\n\nload()\n")
    said = desk.explain("--timeout", "1", "train.py")
    assert said.code == 1
    assert "did not take a first step in 1 s" in said.out
    assert "it stands at train.py:5" in said.out
    assert "--timeout SECONDS" in said.out


def test_hangs_after_the_first_step(desk):
    """What was found is shown, and that the end was not reached."""
    desk.write("train.py", TRAIN + "    import time\n    time.sleep(600)\n")
    said = desk.explain("--timeout", "15", "train.py")
    assert said.code == 0
    assert "did not reach the end of the trial in 15 s" in said.out
    assert said.section("loops")[0].startswith("epoch")


def test_dies(desk):
    """A process that dies leaves what was found, and its signal."""
    desk.write("train.py", TRAIN + "    import os\n    os.abort()\n")
    said = desk.explain("train.py")
    assert said.code == 1
    assert "process was ended by SIGABRT" in said.out


def test_wrong_comment(desk):
    """A role comment that names no role is what the user typed: exit code 2."""
    desk.write("train.py", "for i in range(3):  # hookcore: epch\n    print(i)\n")
    said = desk.explain("train.py")
    assert said.code == 2
    assert str(desk.folder / "train.py") + ":1" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is no script to try"),
        (("nowhere.py",), "can't open file"),
        (("-m", "nowhere"), "No module named nowhere"),
        (("-p", "nowhere", "train.py"), "there is no plugin 'nowhere'"),
        (("--steps", "0", "train.py"), "Invalid value for '--steps'"),
    ],
)
def test_typed_wrongly(desk, arguments, words):
    """What is typed wrongly ends with exit code 2 before anything runs."""
    desk.write("train.py", "print(1)\n")
    said = desk.explain(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert words in said.err
