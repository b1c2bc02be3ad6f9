"""The diagram of the life cycle is the order in which events fire."""

from __future__ import annotations

import importlib
import re

import pages
import pytest

import hookcore
from hookcore.hookspecs import EVENTS
from hookcore.testing import Recorder

pytestmark = pytest.mark.torch

LOOP = """
import torch

def train():
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for epoch in range(3):
        model.train()
        for x in [torch.randn(8, 4) for _ in range(2)]:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            for x in [torch.randn(8, 4)]:
                val_loss = model(x).square().mean()
"""


def diagram() -> list[tuple[int, str]]:
    """Depth and event of each line of the page's diagram."""
    page = pages.ROOT / "docs" / "explanation" / "life-cycle.md"
    lines = re.findall(r"(?m)^( *)(on_\w+)", pages.blocks(page)[0].text)
    return [(len(indent) // 4, event) for indent, event in lines]


def test_the_diagram_has_every_event_that_has_a_place():
    """Three fire wherever there is occasion, and one in the place of another."""
    placed = {event for _, event in diagram()}
    assert set(EVENTS) - placed == {
        "on_log", "on_stop", "on_signal", "on_optimizer_step_skipped",
    }  # fmt: skip


def test_the_diagram_is_what_happens(tmp_path, monkeypatch):
    """The second epoch of a usual loop, and what is around it."""
    (tmp_path / "usual_loop.py").write_text(LOOP)
    monkeypatch.syspath_prepend(tmp_path)
    recorder = Recorder()

    train = importlib.import_module("usual_loop").train

    train = hookcore.instrument(train, plugins=[recorder], only=[], quiet=True)
    train()
    train.restore()

    names = recorder.names
    starts = [i for i, name in enumerate(names) if name == "on_epoch_start"]
    epoch = names[starts[1] : starts[2]]
    second = [i for i, name in enumerate(epoch) if name == "on_batch_start"][1]
    rest = epoch[epoch.index("on_validation_start") :]
    seen = [name for name in (*epoch[:second], *rest) if name != "on_log"]
    depths, events = zip(*diagram(), strict=True)
    first, last = events.index("on_epoch_start"), events.index("on_epoch_end")
    assert seen == list(events[first : last + 1])
    assert depths[first] == depths[last]
    assert names[:3] == ["on_run_start", "on_train_start", "on_epoch_start"]
    assert names[-3:] == ["on_epoch_end", "on_train_end", "on_run_end"]
