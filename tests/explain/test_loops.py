"""What is found in loops of several shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

MODEL = """
import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(64, 4), torch.randn(64, 1)


def made():
    model = nn.Linear(4, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, optimizer, i=0):
    optimizer.zero_grad()
    loss = (model(x[i : i + 8]) - y[i : i + 8]).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss
"""


def test_helpers(desk):
    """Epochs around a training and a testing function: each role, object and metric is named."""
    pytest.importorskip("sklearn")
    text = (EXAMPLES / "digits.py").read_text()
    desk.write("digits.py", text)
    lines = text.splitlines()
    epoch, batch, validation = (
        f"digits.py:{lines.index(line) + 1}"
        for line in (
            "    for epoch in range(args.epochs):",
            "    for images, labels in loader:",
            "        for images, labels in loader:",
        )
    )
    said = desk.explain("--json", "digits.py", "--epochs", "30")
    assert said.code == 0
    assert said.loops() == {"epoch": epoch, "batch": batch, "validation": validation}
    data = said.data
    assert [loop["total"] for loop in data["loops"]] == [30, 45, 1]
    assert data["tried"] == {"epochs": 1, "batches": 3, "steps": 3, "validations": 1}
    assert data["models"] == [
        {"name": "model", "class": "Net", "parameters": 17258, "trainable": 17258}
    ]
    assert data["optimizers"][0]["groups"] == [{"lr": 0.003, "parameters": 17258}]
    assert data["schedulers"] == []
    assert [(one["name"], one["batches"], one["batch_size"]) for one in data["loaders"]] == [
        ("train_loader", 45, 32),
        ("test_loader", 1, 500),
    ]
    metrics = {metric["name"]: metric for metric in data["metrics"]}
    assert metrics["test_loss"]["source"] == "validation"
    assert metrics["train_loss"]["where"] == epoch
    assert data["resume"]["possible"]
    assert data["resume"]["verdict"] == "exact"
    assert data["not_understood"] == []
    assert data["files"] == []


def test_steps(desk):
    """A loop of steps goes on until it has validated once."""
    pytest.importorskip("sklearn")
    desk.write("digits_steps.py", (EXAMPLES / "digits_steps.py").read_text())
    said = desk.explain("--json", "digits_steps.py", "--eval-every", "20")
    assert said.code == 0
    assert list(said.loops()) == ["batch"]
    assert said.data["tried"] == {"epochs": None, "batches": 20, "steps": 20, "validations": 1}
    assert {"val_loss", "accuracy"} <= {metric["name"] for metric in said.data["metrics"]}


def test_folds(desk):
    """A loop in which the model is made anew is around the fit, and only its first fit is tried."""
    desk.write("train.py", MODEL + """
for fold in range(4):
    model, optimizer = made()
    for epoch in range(5):
        for i in range(0, 64, 8):
            loss = step(model, optimizer, i)
""")
    said = desk.explain("--json", "train.py")
    assert said.code == 0
    assert said.loops() == {
        "around the fit": desk.at("train.py", "for fold in range(4):"),
        "epoch": desk.at("train.py", "for epoch in range(5):"),
        "batch": desk.at("train.py", "for i in range(0, 64, 8):"),
    }
    assert any("several fits" in doubt for doubt in said.data["not_understood"])


def test_endless(desk):
    """An endless loop that returns from inside: what comes of a stop is said."""
    desk.write("train.py", MODEL + """
def train():
    model, optimizer = made()
    count = 0
    while True:
        loss = step(model, optimizer)
        count += 1
        if count == 10_000_000:
            return loss.item()


train()
""")
    said = desk.explain("train.py")
    assert said.code == 0
    assert said.section("loops") == [
        f"batch          {desk.at('train.py', 'while True:')}  while in train()",
        "one loop round the step: its iterations are batches",
        "controlled: its iterations are batches; a stop ends it",
    ]
    assert "train() returns None" in " ".join(said.section("stop"))
    assert "no validation was seen" in " ".join(said.section("not understood"))


def test_phases(desk):
    """One loop that trains and validates by a flag, workers and a scheduler in an object."""
    desk.write("train.py", """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self):
        data = TensorDataset(torch.randn(64, 4), torch.randn(64, 1))
        self.model = nn.Linear(4, 1)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.5)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)
        self.loaders = {
            "train": DataLoader(data, batch_size=8, num_workers=1),
            "val": DataLoader(data, batch_size=4),
        }

    def fit(self):
        for epoch in range(3):
            for phase in ("train", "val"):
                self.model.train(phase == "train")
                for inputs, targets in self.loaders[phase]:
                    with torch.set_grad_enabled(phase == "train"):
                        loss = (self.model(inputs) - targets).pow(2).mean()
                    if phase == "train":
                        self.optimizer.zero_grad()
                        loss.backward()
                        self.optimizer.step()
            self.scheduler.step()


if __name__ == "__main__":
    Trainer().fit()
""")
    said = desk.explain("--json", "train.py")
    assert said.code == 0
    assert list(said.loops()) == ["epoch", "between", "batch", "validation"]
    assert said.loops()["batch"] == said.loops()["validation"] == desk.at(
        "train.py", "for inputs, targets in self.loaders[phase]:"
    )
    data = said.data
    assert [(one["name"], one["role"], one["batches"]) for one in data["loaders"]] == [
        ("self.loaders['train']", "training", 8),
        ("self.loaders['val']", "validation", 16),
    ]
    assert data["schedulers"] == [{"name": "self.scheduler", "class": "StepLR"}]
    assert data["optimizers"][0]["groups"][0]["lr"] == 0.25


def test_generator(desk):
    """A generator's loop is not seen; the line that steps, and why, is named."""
    desk.write("train.py", MODEL + """
def training():
    model, optimizer = made()
    for i in range(10_000_000):
        yield step(model, optimizer)


for loss in training():
    print(loss)
""")
    said = desk.explain("train.py")
    assert said.code == 1
    doubts = " ".join(said.section("not understood"))
    at = desk.at("train.py", "optimizer.step()")
    assert f"an optimizer steps at {at} inside training(), a generator function" in doubts


def test_thread(desk):
    """Training in another thread is named; the trial ends though the thread would go on."""
    desk.write("train.py", MODEL + """
import threading


def train():
    model, optimizer = made()
    for i in range(10_000_000):
        step(model, optimizer)


threading.Thread(target=train, name="trainer").start()
""")
    said = desk.explain("train.py")
    assert said.code == 1
    assert "in the thread 'trainer'" in " ".join(said.section("not understood"))


def test_left_in_the_first_epoch(desk):
    """A break or return out of the outermost loop ends the trial there: nothing after it runs."""
    desk.write("train.py", MODEL + """
model, optimizer = made()
for epoch in range(5):
    for i in range(0, 64, 8):
        loss = step(model, optimizer, i)
    break
open("after.txt", "w").close()
""")
    said = desk.explain("--json", "train.py")
    assert said.code == 0
    assert said.data["files"] == []
    assert any("left by a break" in doubt for doubt in said.data["not_understood"])


def test_async(desk):
    """Training in an async function is named, though no loop of the script is seen at all."""
    desk.write("train.py", MODEL + """
import asyncio


async def train():
    model, optimizer = made()
    for i in range(10_000_000):
        step(model, optimizer)


asyncio.run(train())
""")
    said = desk.explain("train.py")
    assert said.code == 1
    assert "inside train(), an async function" in " ".join(said.section("not understood"))
    verdict = " ".join(said.section("resume"))
    assert "refused: no resume: no training loop was recognised" in verdict
    assert "hookcore.epochs(...)" in verdict


@pytest.mark.parametrize(
    ("verdict", "epochs", "batches", "why", "remedy"),
    [
        ("exact", "range(5)", "range(0, 64, 8)", None, None),
        ("exact-at-epoch", "range(5)", "(i for i in range(0, 64, 8))", "generator", "list(...)"),
        ("observe-only", "(i for i in range(5))", "range(0, 64, 8)", "generator", "list(...)"),
    ],
)
def test_what_a_resume_can_promise(desk, verdict, epochs, batches, why, remedy):
    """With the place of what stands in the way, and what to change."""
    desk.write("train.py", MODEL + f"""
model, optimizer = made()
for epoch in {epochs}:
    for i in {batches}:
        loss = step(model, optimizer, i)
""")
    resume = desk.explain("--json", "train.py").data["resume"]
    assert resume["verdict"] == verdict
    assert resume["possible"] is verdict.startswith("exact")
    reason = resume["why"] or resume["inside"]
    if why is None:
        assert (reason, resume["remedy"]) == (None, None)
    else:
        assert why in reason and "the loop at train.py:" in reason
        assert remedy in resume["remedy"]
    said = " ".join(desk.explain("train.py").section("resume"))
    assert f"{verdict}: " in said
    assert reason is None or (reason in said and resume["remedy"] in said)


def test_two_verdicts(desk):
    """Of every loop: what is controlled in it, and what is not, with the reason and the place."""
    desk.write("train.py", MODEL + """
def stream(model, optimizer):
    for i in range(0, 64, 8):
        optimizer.step()
        yield i


def train():
    model, optimizer = made()
    for number in range(5):
        for chunk in range(2):
            for i in range(0, 64, 8):
                loss = step(model, optimizer, i)
        for i in range(0, 64, 16):
            model.forward(x[i : i + 8])
    if loss < 0:
        for i in range(3):
            optimizer.step()


train()
""")
    where = desk.at("train.py", "for number in range(5):")
    inner = desk.at("train.py", "for i in range(0, 64, 16):")
    said = desk.explain(
        "--json", "--loop", f"{inner}=validation", "--loop", f"{where}=epoch", "train.py"
    )
    assert said.code == 0
    loops = {loop["role"]: loop for loop in said.data["loops"]}
    assert loops["epoch"]["reason"] == f"declared by --loop {where}=epoch"
    assert loops["validation"]["where"] == inner
    assert loops["validation"]["reason"] == f"declared by --loop {inner}=validation"
    assert all(loop["controlled"] or loop["not"] for loop in loops.values())
    others = {loop["where"]: loop["not"] for loop in said.data["other_loops"]}
    assert others[desk.at("train.py", "for i in range(3):")] == "was not reached in the trial"
    generator = int(desk.at("train.py", "def stream(model, optimizer):").rpartition(":")[2]) + 1
    assert "stream() is a generator function" in others[f"train.py:{generator}"]


def test_a_comment_that_ignores(desk):
    """It is said that it took."""
    desk.write("train.py", MODEL + """
model, optimizer = made()
for number in range(2):  # hookcore: ignore
    for epoch in range(5):
        for i in range(0, 64, 8):
            step(model, optimizer, i)
""")
    said = desk.explain("--json", "train.py")
    at = desk.at("train.py", "for number in range(2):  # hookcore: ignore")
    loops = {loop["where"]: loop for loop in said.data["loops"]}
    assert loops[at]["reason"] == "declared by its comment, # hookcore: ignore"


def test_loops_without_a_source(desk):
    """The loop that only calls them has no role, and the reason is given."""
    text = "def train(model, optimizer):\n    for i in range(3): step(model, optimizer)\n"
    desk.write("train.py", f"{MODEL}\nexec({text!r})\nfor seed in range(2): train(*made())\n")
    said = desk.explain("--json", "train.py")
    assert said.loops() == {}
    (doubt,) = [one for one in said.data["not_understood"] if "not seen" in one]
    assert doubt.endswith("made by exec or eval, as <string>: there is no source")
