"""A thousand workers are forked under a live display and a busy writer, and none of them hangs."""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
import threading
import time

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.plugins]

FORKING = """
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Numbers(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        print("item", i, file=sys.stderr)
        return torch.full((64,), float(i))


def main():
    model = nn.Linear(64, 40_000)  # 10 MB: the writer is busy all the time
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    for epoch in range(int(sys.argv[1])):
        for part in DataLoader(Numbers(), 4, num_workers=4, multiprocessing_context="fork"):
            optimizer.zero_grad()
            model(part).mean().backward()
            optimizer.step()
    print("done")


main()
"""


def test_a_thousand_workers(yard, times, monkeypatch):
    epochs = times(25, 250)
    monkeypatch.delenv("HOOKCORE_ONLY")
    monkeypatch.setenv("TERM", "xterm")
    name = yard.put("forking.py", FORKING)
    master, slave = pty.openpty()
    seen = bytearray()

    def read():
        while True:
            try:
                seen.extend(os.read(master, 65536))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def on_a_terminal():
        os.dup2(slave, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    options = ["-o", "checkpoint.every_n_steps=1", "-o", "checkpoint.keep_last=1"]
    child = yard.begin(*options, "-o", "progress.mode=live", name, epochs, before=on_a_terminal)
    limit = time.monotonic() + 60 + 6 * epochs
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > limit:
            os.kill(child, signal.SIGKILL)
            pytest.fail(f"it hangs: {seen[-2000:].decode(errors='replace')}")
        time.sleep(0.1)
    ended = yard.wait(child)
    os.close(slave)
    text = seen.decode(errors="replace")

    assert ended.out == "done\n", text[-2000:]
    assert len(re.findall(r"item \d+", text)) == 16 * epochs
    wrote = re.search(r"wrote (\d+) checkpoints", text)
    assert wrote is not None, text[-2000:]
    print(f"{4 * epochs} workers forked, {wrote[1]} checkpoints written meanwhile, none hung")
