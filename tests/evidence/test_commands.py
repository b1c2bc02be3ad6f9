"""``hookcore check`` and ``hookcore verify-resume``, on scripts of their own."""

from __future__ import annotations

import pytest

trained = [pytest.mark.torch, pytest.mark.plugins]

# By hand, for a process without optimizers is there in half the time.
BY_HAND = """
import enum
import random
import sys
import time
import torch

torch.manual_seed(0)
began = time.time()

class Jitter(enum.Enum):
    ONE = 0.01

def jitter():
    Jitter.calls += "--jitter" in sys.argv
    return Jitter.ONE.value * Jitter.calls

Jitter.calls = 0
w = torch.zeros(3, requires_grad=True)
history = []
for epoch in range(4):
    for i in range(3):
        x = torch.randn(5, 3)
        loss = ((x @ w + jitter() - x.sum(1)) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            w.grad = None
    history.append(loss.item())
with open("history.txt", "a") as file:
    file.write(f"{history}\\n")
print("last:", history[-1])
sys.exit(3)
"""

WITH_OPTIMIZERS = """
import argparse
import torch
from torch import nn

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randn(24, 1))
    loader = torch.utils.data.DataLoader(data, 8, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    history = []
    for epoch in range(args.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            history.append(loss.item())

if __name__ == "__main__":
    main()
"""

MEDDLER = """
import hookcore

class Meddler:
    @hookcore.hookimpl
    def on_epoch_end(self, epoch):
        import torch
        if epoch == 1:
            torch.rand(1)
"""


def install(desk, module, text):
    """A plugin in a folder of its own; gives what finds it."""
    name = module.removeprefix("hookcore_")
    info = f"site/hookcore_{name}-0.1.dist-info"
    desk.write(f"site/{module}.py", text)
    desk.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: hookcore-{name}\nVersion: 0.1\n")
    desk.write(f"{info}/entry_points.txt", f"[hookcore]\n{name} = {module}:{name.title()}\n")
    return desk.folder / "site"


class TestCheck:
    pytestmark = trained

    def test_no_bit_differs(self, desk):
        """With the four plugins: exit code, files and all are as without, in a copy."""
        desk.write("train.py", BY_HAND)
        said = desk.command("check", "--stdout", "--json", "train.py")
        assert said.code == 0, said.err
        found = said.data
        assert (found["equal"], found["cause"], found["exit"]) == (True, None, "exit code 3")
        assert found["compared"]["steps"] == found["compared"]["losses"] == 12
        assert found["compared"]["names"]["variable"] >= 5
        assert found["compared"]["end"]
        # A clock's value; python's own stream is seeded by nobody.
        assert "variable began of train.py" in found["not_compared"]
        assert "random stream python" in found["not_compared"]
        assert "random stream torch" not in found["not_compared"]
        assert [one["path"] for one in found["files"]] == ["history.txt"]
        assert desk.files == ["train.py"]

    def test_a_plugin_that_draws_is_found(self, desk):
        """The first thing that differs is the stream it drew from, in the epoch after."""
        script = desk.write("work/train.py", BY_HAND)
        site = install(desk, "hookcore_meddler", MEDDLER)
        said = desk.command(
            "check", "-p", "meddler", "--ignore", "began", "--json", script,
            PYTHONPATH=f"{site}:{desk_home()}", HOOKCORE_ONLY="",
        )  # fmt: skip
        assert said.code == 1, said.err
        found = said.data
        assert found["cause"] == "plugins"
        assert found["difference"]["kind"] == "random stream"
        assert (found["difference"]["name"], found["difference"]["step"]) == ("torch", 7)

    def test_an_intervention_is_named(self, desk):
        """Early stopping acts: up to there no bit differs."""
        logged = "    hookcore.log(val_loss=1.0)\n    history.append"
        text = BY_HAND.replace("    history.append", logged)
        desk.write("train.py", "import hookcore\n" + text)
        said = desk.command("check", "-o", "earlystop.patience=1", "train.py")
        assert said.code == 0, said.err
        first = "train.py: with plugins and without them no bit differs until earlystop acts"
        assert said.out.startswith(first)
        assert "earlystop stopped the training: val_loss has not improved" in said.out


class TestVerifyResume:
    pytestmark = trained

    def test_no_bit_differs(self, desk):
        """Killed in the middle of a step and between two, in one run."""
        desk.write("train.py", WITH_OPTIMIZERS)
        often = ("-o", "checkpoint.every_n_steps=2")
        said = desk.command("verify-resume", "--kill-at", "5,8+", *often, "--json", "train.py")
        assert said.code == 0, said.err
        found = said.data
        assert found["equal"]
        assert [(one["step"], one["after"]) for one in found["kills"]] == [(5, False), (8, True)]
        assert [one["resumed_after"] for one in found["kills"]] == [4, 6]  # one in mid-epoch
        names = found["compared"]["names"]
        assert names["batch"] == 2
        assert names["weights"] >= 8
        assert names["optimizer"] >= 12
        assert desk.files == ["train.py"]

    def test_what_a_resume_loses_is_named(self, desk):
        """An attribute of an enumeration is not restored: the loss differs, and it is named."""
        desk.write("train.py", BY_HAND)
        said = desk.command(
            "verify-resume", "--kill-at", "8", "--ignore", "began", "train.py", "--jitter"
        )
        assert said.code == 1, said.err
        first, *rows = said.out.splitlines()
        assert first.startswith("train.py --jitter: killed in the middle of step 8 it went on")
        assert rows[0].split() == ["first", "the", "loss"]
        assert any(row.split()[0] == "straight" for row in rows)
        assert any("Jitter.calls (" in row for row in rows)
        assert "seen         in the backward at train.py:" in said.out

    @pytest.mark.slow
    def test_a_kill_before_the_first_checkpoint(self, desk):
        """Proves nothing, and that is said."""
        desk.write("train.py", BY_HAND)
        said = desk.command("verify-resume", "--kill-at", "2", "-p", "no:lr", "train.py")
        assert said.code == 1
        assert "no checkpoint lay there when the run was killed" in said.out
        assert "the first is taken after step 3 of 12" in said.out

    @pytest.mark.slow
    def test_a_step_that_there_is_not(self, desk):
        """Wrong usage, once the number of steps is known."""
        desk.write("train.py", BY_HAND)
        said = desk.command("verify-resume", "--kill-at", "99", "train.py")
        assert said.code == 2
        assert said.err.splitlines()[-3] == "hookcore: --kill-at 99: there is no such step"

    @pytest.mark.slow
    def test_a_loop_that_cannot_be_resumed(self, desk):
        """The verdict and its reason."""
        text = BY_HAND.replace("range(4)", "iter(lambda: len(history), 4)")
        desk.write("train.py", text)
        said = desk.command("verify-resume", "--ignore", "began", "train.py")
        assert said.code == 1
        assert "there is nothing to verify: the loop cannot be resumed" in said.out
        assert "callable_iterator" in said.out

    @pytest.mark.slow
    def test_the_first_steps_of_a_long_script(self, desk):
        """With --steps the script is left there, and what follows does not run."""
        desk.write("train.py", BY_HAND.replace("range(4)", "range(10**9)"))
        said = desk.command(
            "verify-resume", "--steps", "9", "--kill-at", "random:2", "--seed", "3",
            "--ignore", "began", "--json", "train.py",
        )  # fmt: skip
        assert said.code == 0, said.err
        assert not said.data["compared"]["end"]
        assert said.data["files"] == []


class TestNothingToCompare:
    """Both commands say why, and give 1."""

    pytestmark = pytest.mark.torch

    def test_the_script_fails_bare(self, desk):
        """Its own traceback is shown; a script that asks for input is told what to do."""
        desk.write("train.py", "n = int(input('epochs? '))\n")
        said = desk.command("check", "train.py")
        assert said.code == 1
        assert "the script fails without hookcore too" in said.out
        assert "EOFError: EOF when reading a line, before a first step" in said.out
        assert "  a comparison gives it no input: pass what it asks for as an argument" in said.out

    def test_no_training(self, desk):
        """No step, no backward pass."""
        desk.write("train.py", "print('hello')\n")
        said = desk.command("check", "train.py")
        assert said.code == 1
        assert "there is nothing to compare: no training was seen" in said.out

    def test_it_takes_too_long(self, desk):
        """The run is ended, and the message says where it stood."""
        desk.write("train.py", "import time\ntime.sleep(60)\n")
        said = desk.command("check", "--timeout", "1", "train.py")
        assert said.code == 1
        assert "has not ended in" in said.err
        assert "train.py:2" in said.err


class TestWrongUsage:
    """Exit code 2, and nothing has run."""

    pytestmark = pytest.mark.torch

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["check"], "there is no script to try"),
            (["check", "nowhere.py"], "can't open file"),
            (["check", "-p", "nonsense", "train.py"], "there is no plugin 'nonsense'"),
            (["verify-resume", "--kill-at", "0", "train.py"], "'0' is neither a step"),
            (["verify-resume", "--kill-at", "random:x", "train.py"], "'random:x' is neither"),
            (["verify-resume", "-p", "no:*", "train.py"], "needs a plugin that keeps checkpoints"),
        ],
    )
    def test_it_is_named(self, desk, arguments, said):
        """In the house's words."""
        desk.write("train.py", "raise SystemExit('it has run')\n")
        found = desk.command(*arguments)
        assert found.code == 2
        assert said in found.err
        assert "it has run" not in found.err

    def test_switched_off(self, desk):
        """HOOKCORE=0 leaves nothing to compare with."""
        desk.write("train.py", "")
        said = desk.command("check", "train.py", HOOKCORE="0")
        assert said.code == 2
        assert "compares runs with hookcore, and it is switched off" in said.err


def desk_home():
    """Where hookcore is imported from."""
    import hookcore

    return hookcore.__path__[0].rpartition("hookcore")[0]
