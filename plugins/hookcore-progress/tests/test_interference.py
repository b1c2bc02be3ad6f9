"""With and without: the same results, random numbers, prints and variables."""

from __future__ import annotations

import json
import sys
import threading

import pytest

import hookcore
from hookcore_progress import Progress

NUMBERS = """
    import random
    def loop(plugins):
        random.seed(7)
        weight, seen = 0.0, []
        with hookcore.run(only=[], plugins=plugins):
            for epoch in hookcore.epochs(range(3)):
                for batch in hookcore.batches(range(8)):
                    time.sleep(0.02)
                    weight += random.gauss(0, 1) - 0.1 * weight
                    hookcore.log(loss=weight)
                    seen.append(sorted(locals()))
                print("epoch", epoch, weight)
        return weight, seen, random.getstate()
    bare = loop([])
    out, err, excepthook = sys.stdout, sys.stderr, sys.excepthook
    assert loop([Progress(OPTIONS)]) == bare
    assert (sys.stdout, sys.stderr, sys.excepthook) == (out, err, excepthook)
"""


@pytest.mark.parametrize(
    "options", ["mode='lines', every_seconds=0.01", "mode='json', every_seconds=0.01"]
)
def test_numbers(run_script, options):
    ran = run_script(NUMBERS.replace("OPTIONS", options))
    assert ran.returncode == 0, ran.stderr
    half = len(ran.stdout) // 2
    assert ran.stdout[:half] == ran.stdout[half:]


def test_numbers_on_a_terminal(in_terminal):
    ran = in_terminal(NUMBERS.replace("OPTIONS", ""), rows=30)
    assert ran.end() == 0, ran.text
    theirs = [line for line in ran.screen.lines if line.startswith("epoch ")]
    assert theirs[:3] == theirs[3:]


TORCH = """
import json, sys
import torch, hookcore
from hookcore_progress import Progress

def validate(model, data):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x in data:
            total += model(x).pow(2).mean().item()
    return total / len(data)

def train():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = torch.utils.data.DataLoader(torch.randn(256, 8), 8, shuffle=True)
    history = []
    for epoch in range(6):
        model.train()
        for x in data:
            optimizer.zero_grad()
            loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        val_loss = validate(model, data)
        history.append(val_loss)
        names = sorted(locals())
    state = [p.tolist() for p in model.parameters()], torch.get_rng_state().tolist()
    return json.dumps([history, names, state])
"""


@pytest.mark.torch
def test_a_loop_of_torch(run_script, tmp_path):
    """An unedited loop, its variables read by the display as often as it can."""
    (tmp_path / "loop.py").write_text(TORCH)
    ran = run_script(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import loop
        bare = loop.train()
        shown = hookcore.instrument(
            loop.train, only=[], plugins=[Progress(mode="json", every_seconds=0.002)]
        )
        print(shown() == bare)
    """)
    assert ran.stdout == "True\n", ran.stderr
    records = [json.loads(x) for x in ran.stderr.splitlines() if x.startswith("{")]
    ticks = [record["metrics"] for record in records if record["event"] == "progress"]
    assert any("loss" in metrics for metrics in ticks)
    assert "val_loss" in records[-1]["metrics"]
    assert records[-1]["step"] == 192


@pytest.mark.torch
def test_the_loss_is_read_without_edits(run_script, tmp_path):
    (tmp_path / "loop.py").write_text(TORCH)
    ran = run_script(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import loop
        hookcore.instrument(loop.train, only=[], plugins=[Progress()])()
    """)
    last = [line for line in ran.stderr.splitlines() if "batches in" in line][-1]
    assert ", loss " in last
    assert ", val_loss " in last


def calls_of(plugins, batches):
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    with hookcore.run(only=[], plugins=plugins, quiet=False):
        for epoch in hookcore.epochs(range(3)):
            for batch in hookcore.batches(range(batches)):
                if batch == 0 and epoch > 0:  # the first epoch learns what the loops are
                    sys.setprofile(profile)
            sys.setprofile(None)
    return count


def test_no_call_is_added_to_a_batch(capfd):
    """Counted in the training's thread; what is per epoch cancels out."""
    added = []
    for plugins in ([], [Progress(mode="lines", every_seconds=1000)]):
        more, fewer = calls_of(plugins, 1100), calls_of(plugins, 100)
        added.append(more - fewer)
    # The display asks for the loop's variables four times a second: a handful in all.
    assert abs(added[1] - added[0]) < 100


def test_no_thread_is_left(capfd):
    before = threading.active_count()
    calls_of([Progress(mode="lines")], 5)
    assert threading.active_count() == before
