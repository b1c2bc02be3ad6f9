"""Whole scripts under ``hookcore run``: killed, resumed, and the same to the last bit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("hookcore_checkpoint")

pytestmark = [pytest.mark.torch, pytest.mark.plugins, pytest.mark.slow]

SCRIPT = """
import json
import os
import random
import signal
import sys

import numpy
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Samples(Dataset):
    def __init__(self):
        self.seen = 0

    def __len__(self):
        return 20

    def __getitem__(self, i):
        self.seen += 1
        noise = random.random() + numpy.random.rand() + torch.rand(3)
        return torch.full((3,), i / 20) + noise + self.seen


def begin(worker):
    random.seed(torch.initial_seed() + worker)


def killed_at(step):
    if os.path.exists("killed") or step != int(os.environ.get("KILL_AT", -1)):
        return
    open("killed", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    options = json.loads(sys.argv[1])
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    loader = DataLoader(Samples(), 4, shuffle=True, worker_init_fn=begin, **options)
    losses = []
    for epoch in range(2):
        for x in loader:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item().hex())
            killed_at(len(losses))
    print(json.dumps([losses, [p.tolist() for p in model.parameters()], torch.rand(1).item()]))


if __name__ == "__main__":
    main()
"""

LOADERS = {
    "forked": {"num_workers": 2, "multiprocessing_context": "fork"},
    "spawned": {
        "num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True,
    },
    "from a server": {"num_workers": 1, "multiprocessing_context": "forkserver"},
}  # fmt: skip


@pytest.fixture
def script(tmp_path):
    """Run the script, bare or under hookcore; gives its status and what it printed."""
    (tmp_path / "train.py").write_text(SCRIPT)

    def run(*arguments, **variables):
        with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
            # No pipes: workers whose server outlives the killed script would hold them open.
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                status = process.wait(100)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            err.seek(0)
            out.seek(0)
            return status, out.read(), err.read()

    return run


@pytest.mark.parametrize("kind", LOADERS)
def test_a_script_that_is_killed_ends_as_the_bare_one(script, tmp_path, kind):
    """In the middle of its second epoch, for which there may be workers already."""
    options = json.dumps(LOADERS[kind])
    status, bare, err = script("train.py", options)
    assert status == 0, err
    run = ("-m", "hookcore", "run", "-p", "checkpoint", "-o", "checkpoint.every_n_steps=1",
           "-o", "checkpoint.background=no")  # fmt: skip
    status, _, err = script(*run, "train.py", options, KILL_AT="9")
    assert status == -signal.SIGKILL, err
    last = (tmp_path / "checkpoints/train/latest").resolve().name
    assert last.startswith("epoch-0002-step-")
    status, resumed, err = script(*run, "--resume", "train.py", options, KILL_AT="9")
    assert status == 0, err
    assert last in err
    assert resumed == bare
