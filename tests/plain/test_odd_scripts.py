"""Whole scripts with something odd in them, run bare and under hookcore."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.torch

HEAD = """
import os, torch
from torch import nn
torch.manual_seed(0)
model = nn.Linear(4, 1)
opt = torch.optim.SGD(model.parameters(), lr=.05)
def step():
    opt.zero_grad()
    loss = model(torch.randn(8, 4)).pow(2).mean()
    loss.backward()
    opt.step()
    return loss
"""

ODD = {
    "a local whose attributes raise": """
        class Loud:
            def __getattr__(self, name):
                raise RuntimeError(name)
        def train():
            for epoch in range(2):
                for i in range(3):
                    loss = step()
                val_loss = Loud()
            print(loss.item())
        train()
    """,
    "a model that is scripted in the loop": """
        import warnings
        warnings.simplefilter("ignore")
        for epoch in range(2):
            for i in range(3):
                loss = step()
            scripted = torch.jit.script(model)
            print(scripted(torch.ones(4)).item())
    """,
    "a generator that is left by a break": """
        def data():
            try:
                yield from range(9)
            finally:
                print("closed")
        for epoch in range(2):
            for i, x in enumerate(data()):
                step()
                if i == 3:
                    break
            print("after")
    """,
}


def run(script, *words, code=0, **environ):
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HOOKCORE_QUIET": "1", **environ}
    ran = subprocess.run(
        [sys.executable, *words, script.name],
        cwd=script.parent, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return ran.stdout


def write(folder, text):
    script = folder / "odd.py"
    script.write_text(HEAD + textwrap.dedent(text))
    return script


@pytest.mark.parametrize("name", ODD)
def test_an_odd_script_runs_as_bare(tmp_path, name):
    """Stdout and exit code are those of the bare script."""
    script = write(tmp_path, ODD[name])

    assert run(script, "-m", "hookcore", "run", HOOKCORE_ONLY="") == run(script)


@pytest.mark.plugins
def test_a_parameter_that_the_loop_alone_names_is_resumed(tmp_path):
    """A run that is killed goes on, though the loop left a model's parameter in a local."""
    script = write(
        tmp_path,
        """
        def train():
            for epoch in range(3):
                for i in range(3):
                    if "KILL" in os.environ and epoch == 2:
                        os.kill(os.getpid(), 9)
                    loss = step()
                    for p in model.parameters():
                        p.grad.clamp_(-1, 1)
                print(epoch, loss.item())
        train()
        """,
    )
    whole = run(script)
    # Written before the loop goes on: a thread would have no time before the kill.
    only = {"HOOKCORE_ONLY": "checkpoint", "HOOKCORE_CHECKPOINT_BACKGROUND": "no"}
    run(script, "-m", "hookcore", "run", code=-9, KILL="1", **only)
    rest = run(script, "-m", "hookcore", "run", "--resume", **only)

    assert rest == whole.splitlines(keepends=True)[-1]
