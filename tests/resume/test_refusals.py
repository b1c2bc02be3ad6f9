"""What a checkpoint does not fit is refused before a step is taken, with the difference named."""

from __future__ import annotations

import copy
import os
import re

import pytest

torch = pytest.importorskip("torch")

from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

import hookcore  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

SLICES = """
import os
SIZE, COUNT = int(os.environ["SIZE"]), int(os.environ["COUNT"])

def train():
    model, optimizer = make()
    data = torch.rand(COUNT, 3)
    losses = []
    for epoch in range(int(os.environ["EPOCHS"])):
        for start in range(0, COUNT, SIZE):
            losses.append(update(model, optimizer, data[start:start + SIZE]))
    return losses, total(model)
"""
LOADER = SLICES.replace("range(0, COUNT, SIZE)", "DataLoader(data, SIZE)").replace(
    "data[start:start + SIZE]", "start"
)
SPLIT = SLICES.replace("range(0, COUNT, SIZE)", "data.split(SIZE)").replace(
    "data[start:start + SIZE]", "start"
)
SIZES = {"slices": SLICES, "a loader": LOADER, "a split": SPLIT}


@pytest.fixture
def steps():
    """One entry for each step that an optimizer takes."""
    taken = []
    handle = register_optimizer_step_post_hook(
        lambda *_: taken.append(1)
    )
    yield taken
    handle.remove()


@pytest.fixture
def given(monkeypatch):
    """Gives the next run its arguments."""

    def give(size=4, count=12, epochs=2):
        monkeypatch.setenv("SIZE", str(size))
        monkeypatch.setenv("COUNT", str(count))
        monkeypatch.setenv("EPOCHS", str(epochs))

    give()
    return give


def saved(bench, keeper, at):
    whole = bench.call(keeper("all" if at == "mid-epoch" else "epochs"))
    return next(s for s in whole.keeper.saved.values() if s.header.kind == at)


@pytest.mark.parametrize("at", ["epoch", "mid-epoch"])
@pytest.mark.parametrize("kind", SIZES)
def test_batches_of_another_size(bench, keeper, given, steps, kind, at):
    bench.load(SIZES[kind])
    snapshot = saved(bench, keeper, at)
    given(size=6)
    steps.clear()
    with pytest.raises(hookcore.UsageError) as caught:
        bench.call(keeper(start=copy.deepcopy(snapshot)))
    assert caught.value.what == "this checkpoint belongs to a run with other loops"
    assert caught.value.why == "batches of the loop at loops.py:45 were of 4, now of 6"
    assert "--resume-mode weights" in caught.value.way_out
    assert steps == []


@pytest.mark.parametrize("kind", SIZES)
def test_an_epoch_of_another_length_is_not_continued_in_its_middle(bench, keeper, given, kind):
    bench.load(SIZES[kind])
    snapshot = saved(bench, keeper, "mid-epoch")
    given(count=20)
    with pytest.raises(hookcore.UsageError) as caught:
        bench.call(keeper(start=copy.deepcopy(snapshot)))
    assert caught.value.why == "the loop at loops.py:45 had 3 iterations, now 5"


@pytest.mark.parametrize("at", ["epoch", "mid-epoch"])
def test_more_epochs_are_allowed(bench, keeper, given, at):
    bench.load(LOADER)
    snapshot = saved(bench, keeper, at)
    given(epochs=4)
    assert bench.call(keeper(start=copy.deepcopy(snapshot))).result == bench.call().result


def test_fewer_epochs_than_are_done(bench, keeper, given, steps):
    """Nothing after the loop runs with a model that is not the checkpoint's."""
    bench.load(LOADER)
    given(epochs=3)
    snapshot = list(bench.call(keeper("epochs")).keeper.saved.values())[-1]
    given(epochs=2)
    steps.clear()
    with pytest.raises(hookcore.UsageError) as caught:
        bench.call(keeper(start=snapshot))
    assert caught.value.why == "the loop at loops.py:44 had done 3 iterations, now it has 2"
    assert steps == []


GROWING = """
import os
BASE = int(os.environ["SIZE"])

def loader_of(data, size):
    return DataLoader(data, size)

def one(model, optimizer, loader, losses):
    for x in loader:
        losses.append(update(model, optimizer, x))

def train():
    model, optimizer = make()
    data = torch.rand(12, 3)
    losses = []
    for epoch in range(4):
        size = {size}
        one(model, optimizer, loader_of(data, size), losses)
    return losses, total(model)
"""
GROWN = {
    "each epoch": "2 + epoch",
    "once": "4 if epoch < 2 else 6",
    "in a table": "[2, 3, 3, 6][epoch]",
}


@pytest.mark.parametrize("size", GROWN)
def test_batches_that_the_loop_itself_makes_larger_are_no_difference(bench, keeper, given, size):
    """Not in the very epoch where it goes on, either."""
    bench.load(GROWING.format(size=GROWN[size]))
    bare = bench.call()
    for at in ("epochs", "all"):
        for snapshot in bench.call(keeper(at)).keeper.saved.values():
            assert bench.call(keeper(start=copy.deepcopy(snapshot))).result == bare.result


def test_batches_that_the_user_makes_larger_are_one_though_the_loop_makes_them_too(
    bench, keeper, given, steps
):
    """What their size is made of shows it."""
    bench.load(GROWING.format(size="BASE + epoch // 2"))
    second = list(bench.call(keeper("epochs")).keeper.saved.values())[1]
    given(size=8)
    steps.clear()
    with pytest.raises(hookcore.UsageError) as caught:
        bench.call(keeper(start=second))
    assert caught.value.why == "batches of the loop at loops.py:44 were of 4, now of 9"
    assert steps == []


INLINE = GROWING.replace('BASE = int(os.environ["SIZE"])', "{top}")
ASKED = {
    "in the environment": ("", 'int(os.environ["SIZE"])'),
    "in a file": ("import json, pathlib", 'json.loads(FILE.read_text())["size"]'),
}


@pytest.mark.parametrize("where", ASKED)
def test_a_size_that_is_asked_for_in_the_loop_itself_is_the_users(
    bench, keeper, given, where, monkeypatch
):
    """Whatever names it: a variable of the environment, or a file beside the script."""
    monkeypatch.chdir(bench.folder)
    top, size = ASKED[where]
    top += f"\nFILE = pathlib.Path('{bench.folder}', 'config.json')" if top else ""
    bench.load(INLINE.format(top=top, size=size))

    def ask(size):
        given(size=size)
        config = bench.folder / "config.json"
        config.write_text(f'{{"size": {size}}}')
        os.utime(config, (0, 0))

    ask(4)
    first = next(iter(bench.call(keeper("epochs")).keeper.saved.values()))
    ask(6)
    with pytest.raises(hookcore.UsageError) as caught:
        bench.call(keeper(start=first))
    assert re.search(r"were of 4, now of 6", caught.value.why)


def test_what_an_earlier_version_wrote_of_loops_is_enough(bench, keeper, given):
    """Checkpoints that know nothing of sizes and lengths are continued as before."""
    bench.load(LOADER)
    bare = bench.call()
    for at in ("epoch", "mid-epoch"):
        snapshot = copy.deepcopy(saved(bench, keeper, at))
        position = snapshot.position
        for known in (position, *position["levels"]):
            for name in ("sizes", "total", "batch_sizes"):
                known.pop(name, None)
        assert bench.call(keeper(start=snapshot)).result == bare.result
