"""Plugins are named with what would reach them; none acts."""

from __future__ import annotations

import pytest

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
