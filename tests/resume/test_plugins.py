"""Plugins' own states at heads inside an epoch: patience, rates and counters go on."""

from __future__ import annotations

import copy
import json
from typing import ClassVar

import pytest

import hookcore

torch = pytest.importorskip("torch")
earlystop = pytest.importorskip("hookcore_earlystop")
lr = pytest.importorskip("hookcore_lr")
progress = pytest.importorskip("hookcore_progress")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.plugins,
    pytest.mark.usefixtures("fewer_objects"),
]

SCORES = (1.0, 0.6, 0.7, 0.8, 0.5, 0.9, 0.6, 0.7)

LOOP = """
SCORES = {scores}

def evaluate(model, epoch):
    model.eval()
    with torch.no_grad():
        model(torch.ones(2, 3))
    return SCORES[epoch]

def train():
    model, optimizer = make()
    loader = DataLoader(Noisy(14), 4, shuffle=True)
    losses, rates = [], []
    for epoch in range(6):
        model.train()
        for i, x in enumerate(loader):
            losses.append(update(model, optimizer, x))
            rates.append(optimizer.param_groups[0]["lr"])
        val_loss = evaluate(model, epoch)
    return losses, rates, epoch, total(model)
""".replace("{scores}", repr(SCORES))

CONTROLS = {
    "early stopping": lambda: earlystop.EarlyStop(patience=2),
    "the best weights": lambda: earlystop.EarlyStop(patience=2, restore_best=True),
    "plateau": lambda: lr.LR(policy="plateau", patience=0, factor=0.5),
    "warm-up": lambda: lr.LR(policy="warmup", steps=11),
    "one cycle": lambda: lr.LR(policy="one_cycle", total_steps=20, max_lr=0.2),
    "cosine by step": lambda: lr.LR(policy="cosine", per="step", t_max=17),
    "cosine by epoch": lambda: lr.LR(policy="cosine", t_max=5),
    "by the loss": lambda: lr.LR(policy="loss", interval=2, smoothing=0.5),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_goes_on_where_it_was(bench, keeper, control):
    """It does at each step what it does in a run that is not interrupted."""
    bench.load(LOOP)
    bare = bench.call()
    whole = bench.call(keeper("all"), plugins=[CONTROLS[control]()])
    assert whole.result != bare.result
    saved = whole.keeper.saved
    assert {snapshot.header.kind for snapshot in saved.values()} == {"mid-epoch"}
    for number in list(saved)[::2]:
        plugin = CONTROLS[control]()
        again = bench.call(keeper(start=copy.deepcopy(saved[number])), plugins=[plugin])
        assert again.keeper.resumed is not None
        assert (again.result, again.rng) == (whole.result, whole.rng), number


def test_patience_is_not_given_anew(bench, keeper):
    """The stop comes at the epoch where it comes without a resume, however late that began."""
    bench.load(LOOP)
    whole = bench.call(keeper("all"), plugins=[CONTROLS["early stopping"]()])
    assert whole.result[2] == 3  # two arrivals after the best one, of the second epoch
    last = list(whole.keeper.saved.values())[-1]
    assert last.position["epoch"] == 4
    again = bench.call(keeper(start=last), plugins=[CONTROLS["early stopping"]()])
    assert again.result[2] == 3
    afresh = copy.deepcopy(last)
    afresh.plugins.clear()
    assert bench.call(keeper(start=afresh), plugins=[CONTROLS["early stopping"]()]).result[2] == 5


@pytest.mark.parametrize("scores", [SCORES, (0.1, 0.6, 0.7)])
def test_the_weights_that_a_value_is_of_wait_for_it(bench, keeper, scores):
    """The model is evaluated amid an epoch, and trained on before the value has its name."""
    early = LOOP.replace(repr(SCORES), repr(scores))
    early = early.replace("val_loss = evaluate(model, epoch)", "val_loss = found")
    early = early.replace(
        "            rates.append",
        "            if i == 1:\n"
        "                found = evaluate(model, epoch)\n"
        "                model.train()\n"
        "            rates.append",
    )
    bench.load(early)
    control = CONTROLS["the best weights"]
    whole = bench.call(keeper("all"), plugins=[control()])
    assert whole.result[2] == 2 + scores.index(min(scores[:3]))
    for number, snapshot in whole.keeper.saved.items():
        again = bench.call(keeper(start=copy.deepcopy(snapshot)), plugins=[control()])
        assert again.result == whole.result, number


def test_counters_and_time_go_on(bench, keeper, tmp_path):
    bench.load(LOOP)
    files = [tmp_path / "whole.json", tmp_path / "again.json"]
    shown = [progress.Progress(mode="json", file=file) for file in files]
    whole = bench.call(keeper("all"), plugins=[shown[0]])
    snapshot = list(whole.keeper.saved.values())[9]
    snapshot.plugins["progress"]["state"]["elapsed"] += 1000
    bench.call(keeper(start=snapshot), plugins=[shown[1]])
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    counted = ("event", "epoch", "step", "batches")
    ends = [{name: of[-1][name] for name in counted if name in of[-1]} for of in rows]
    assert ends[0] == ends[1]
    assert rows[0][-1]["elapsed"] < 1000 < rows[1][-1]["elapsed"]


class Sometimes:
    """Wants some events only, and keeps no state."""

    name = "sometimes"
    every: ClassVar = {
        "on_batch_end": 3, "on_optimizer_step_end": 5, "on_epoch_start": 2, "on_epoch_end": 2,
    }  # fmt: skip

    def __init__(self):
        self.seen, self.at = [], {}

    @hookcore.hookimpl
    def on_batch_end(self, fit, batch):
        self.seen.append(("batch", fit.epoch, batch))

    @hookcore.hookimpl
    def on_optimizer_step_end(self, fit):
        self.seen.append(("step", fit.step))

    @hookcore.hookimpl
    def on_epoch_start(self, epoch):
        self.seen.append(("start", epoch))

    @hookcore.hookimpl
    def on_epoch_end(self, epoch):
        self.seen.append(("end", epoch))

    @hookcore.hookimpl
    def on_checkpoint_save(self, fit):
        self.at[fit.batches] = len(self.seen)


@pytest.mark.parametrize("heads", ["all", "epochs"])
def test_who_wants_each_nth_event_gets_the_same_ones(bench, keeper, heads):
    """The count goes on: no call is left out, none comes twice, wherever the run was left."""
    bench.load(LOOP)
    whole = Sometimes()
    saved = bench.call(keeper(heads), plugins=[whole]).keeper.saved
    assert len(saved) >= 6
    for number in list(saved)[:-1]:
        after = Sometimes()
        again = bench.call(keeper(start=copy.deepcopy(saved[number])), plugins=[after])
        assert again.keeper.resumed is not None
        assert after.seen == whole.seen[whole.at[number] :], number


def test_a_training_that_had_ended_ends_again(bench, keeper):
    """What a plugin does at its end is done again: the best weights are put back."""

    class Told(keeper):
        @hookcore.hookimpl
        def on_train_start(self, fit):
            self.events.append("start")

        @hookcore.hookimpl
        def on_train_end(self, fit, how):
            counted = fit.epoch, fit.epochs_done, fit.step, len(fit.models), len(fit.optimizers)
            self.events.append((*counted, how))

    bench.load(LOOP)
    best = earlystop.EarlyStop(patience=9, restore_best=True)
    whole = bench.call(Told("epochs"), plugins=[best])
    last = list(whole.keeper.saved.values())[-1]
    assert whole.result != bench.call().result  # the best weights are not the last ones
    best = earlystop.EarlyStop(patience=9, restore_best=True)
    again = bench.call(Told(start=copy.deepcopy(last)), plugins=[best])

    assert again.keeper.events == ["start", (5, 6, 24, 1, 1, "finished")]
    assert again.keeper.events[-1] == whole.keeper.events[-1]
    assert again.keeper.resumed is not None
    assert again.result == whole.result
