"""Plugins are named with what would reach them; none acts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.plugins]

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
    model.eval()
    with torch.no_grad():
        val_loss = model(torch.randn(8, 4)).pow(2).mean().item()
    model.train()
"""


def test_events(desk):
    """Each active plugin with the events that fired; a blocked one with the reason."""
    desk.write("train.py", TRAIN)
    said = desk.explain("--json", "-p", "no:progress", "train.py", plugins=True)
    assert said.code == 0
    rows = {row["name"]: row for row in said.data["plugins"]}
    assert rows["earlystop"]["status"] == "active"
    assert rows["earlystop"]["fired"]["on_validation_end"] == 1
    assert "on_train_end" in rows["earlystop"]["later"]
    assert (rows["progress"]["status"], rows["progress"]["reason"]) == (
        "blocked",
        "-p no:progress",
    )


def test_none_acts(desk):
    """The checkpoint plugin writes nothing, and progress draws nothing."""
    desk.write("train.py", TRAIN)
    said = desk.explain("-v", "-o", "checkpoint.every_n_epochs=1", "train.py", plugins=True)
    assert said.code == 0
    assert said.section("files that the script wrote, in the copy") == ["none"]
    assert said.section("what the script printed") == ["nothing"]
    assert desk.files == ["train.py"]


def test_wrong_option(desk):
    """A wrong option ends it before anything runs."""
    desk.write("train.py", TRAIN)
    said = desk.explain("-o", "earlystop.patiense=3", "train.py", plugins=True)
    assert said.code == 2
    assert "patiense" in said.err


SPARING = """
import hookcore

class Sparing:
    every = {"on_batch_end": 3}
    at_most_every = {"on_batch_start": 0.5}

    @hookcore.hookimpl
    def on_batch_start(self):
        pass

    @hookcore.hookimpl
    def on_batch_end(self):
        pass
"""


def test_who_wants_some_events_only(desk):
    """How often it is called is said beside how often the event fires."""
    desk.write("train.py", TRAIN)
    desk.write("site/hookcore_sparing.py", SPARING)
    info = "site/hookcore_sparing-0.1.dist-info"
    desk.write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hookcore-sparing\nVersion: 0.1\n")
    desk.write(f"{info}/entry_points.txt", "[hookcore]\nsparing = hookcore_sparing:Sparing\n")
    where = os.pathsep.join([str(desk.folder / "site"), str(ROOT)])
    said = desk.command("explain", "-v", "train.py", PYTHONPATH=where, HOOKCORE_ONLY="sparing")
    words = " ".join(said.out.split())
    assert "(it takes one of 3)" in words
    assert "(it takes one in 0.5 s)" in words
