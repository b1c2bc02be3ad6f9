"""What the opening lines of a training say is in a resume's way: who mends it can resume."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch

SCRIPT = """
import json, os, signal, sys, torch, hookcore
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(0)
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loader = DataLoader(torch.randn(12, 2), 4, shuffle=True)
losses = []

def update(x):
    optimizer.zero_grad()
    loss = (model(x) ** 2).mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if len(losses) == 8 and "die" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)

{body}
print("RESULT", json.dumps([losses, torch.rand(1).item()]))
"""
OPTIONS = (
    "only=['checkpoint'], resume='auto', "
    "options=dict(checkpoint=dict(background=False, every_n_steps=2))"
)
BY_HAND = f"""
with hookcore.run({OPTIONS}, name="train"):
    for epoch in hookcore.epochs(range(4)):
        for x in hookcore.batches(loader):
            update(x)
"""
FUNCTION = f"""
def train():
    for epoch in range(4):
        for x in loader:
            update(x)
train = hookcore.instrument(train, {OPTIONS})
train()
"""
EACH_EPOCH = f"""
def epoch():
    for x in loader:
        update(x)
epoch = hookcore.instrument(epoch, {OPTIONS})
for _ in range(4):
    epoch()
"""
IN_INIT = """
class Trainer:
    def __init__(self):
        for epoch in range(4):
            for x in loader:
                update(x)
Trainer()
"""
IN_METHOD = """
class Trainer:
    def __init__(self):
        self.train()
    def train(self):
        for epoch in range(4):
            for x in loader:
                update(x)
Trainer()
"""
AT_THE_TOP = """
for epoch in range(4):
    for x in loader:
        update(x)
"""
BEGUN_BEFORE = f"""
batches = iter(DataLoader(torch.randn(48, 2), 4, shuffle=True))
def train():
    for epoch, x in enumerate(batches):
        update(x)
train = hookcore.instrument(train, {OPTIONS})
train()
"""
BEGUN_INSIDE = f"""
data = DataLoader(torch.randn(48, 2), 4, shuffle=True)
def train():
    batches = iter(data)
    for epoch, x in enumerate(batches):
        update(x)
train = hookcore.instrument(train, {OPTIONS})
train()
"""
OVER_THE_LOADER = f"""
data = DataLoader(torch.randn(48, 2), 4, shuffle=True)
def train():
    for epoch, x in enumerate(data):
        update(x)
train = hookcore.instrument(train, {OPTIONS})
train()
"""

REMEDIES = {
    "is not rewritten: run it with hookcore run": (
        BY_HAND, "python", "is not rewritten",
        "run the script with hookcore run", BY_HAND, "hookcore run",
    ),
    "is not rewritten: instrument() the function": (
        BY_HAND, "python", "is not rewritten",
        "or instrument() the function that holds the loop", FUNCTION, "python",
    ),
    "is an epoch: instrument() what holds the epochs": (
        EACH_EPOCH, "python", "each call of the instrumented function is an epoch",
        "instrument() the function that holds the loop over epochs", FUNCTION, "python",
    ),
    "is an epoch: use hookcore run": (
        EACH_EPOCH, "python", "each call of the instrumented function is an epoch",
        "or use hookcore run", EACH_EPOCH, "hookcore run",
    ),
    "in an __init__: move it into a function": (
        IN_INIT, "hookcore run", "stands where its variables cannot be restored",
        "move it into a function", IN_METHOD, "hookcore run",
    ),
    "in an __init__: move it to the top": (
        IN_INIT, "hookcore run", "stands where its variables cannot be restored",
        "or to the top of the script", AT_THE_TOP, "hookcore run",
    ),
    "begun before: call iter() inside": (
        BEGUN_BEFORE, "python", "how far the DataLoader of the loop",
        "call iter() of the DataLoader inside the run", BEGUN_INSIDE, "python",
    ),
    "begun before: loop over the DataLoader": (
        BEGUN_BEFORE, "python", "how far the DataLoader of the loop",
        "or loop over the DataLoader itself", OVER_THE_LOADER, "python",
    ),
}  # fmt: skip


def started(desk, way, *args):
    if way == "python":
        return desk.bare("train.py", *args)
    options = "-o", "checkpoint.background=no", "-o", "checkpoint.every_n_steps=2", "--resume"
    return desk.run(*options, "train.py", *args)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_that_is_taken(desk, remedy):
    """Killed in the third epoch, the mended script goes on with the same bits."""
    broken, way, why, words, mended, new_way = REMEDIES[remedy]
    desk.put("train.py", SCRIPT.replace("{body}", broken))
    said = started(desk, way)
    assert why in said.err
    assert words in said.err
    whole = said.result
    desk.put("train.py", SCRIPT.replace("{body}", mended))
    (desk.folder / "checkpoints").rename(desk.folder / "earlier")
    assert started(desk, new_way, "die").status == -9
    resumed = started(desk, new_way)

    assert why not in resumed.err
    assert "hookcore: continues from checkpoints/train/" in resumed.err
    assert resumed.result == whole
