"""What plugins cost: the accounts, the table at the end, and a budget for observers."""

from __future__ import annotations

import re
import threading
import time

import pytest

import hookcore
from hookcore import batches, epochs, hookimpl, log, validation

OTHERS = {"only": [], "quiet": True}


def plugin(name, hooks, **declared):
    """An object with these hooks and declarations."""
    body = {event: hookimpl(function) for event, function in hooks.items()}
    return type(name.title(), (), {"name": name, **declared, **body})()


def busy(seconds):
    """A hook that takes its time, and counts its calls."""

    def on_batch_end(self, batch):
        self.calls = [*getattr(self, "calls", ()), batch]
        time.sleep(seconds)

    return on_batch_end


def train(count=4, length=3, body=lambda: None):
    """A training of no torch."""
    for _ in epochs(range(count)):
        for _ in batches(range(length)):
            body()


def rows(text):
    """Plugin, event and numbers of each row that stands in a table."""
    found = {}
    for line in text.splitlines():
        row = re.fullmatch(r"    (\S+) +(\S+(?: \S+)?) +(\d+)  +(\S+) +(\S+) +(\S+) +(\d+)", line)
        if row:
            plugin, event, calls, each, batch, share, reads = row.groups()
            found[plugin, event] = {
                "calls": int(calls), "each": float(each), "batch": batch, "share": share,
                "reads": int(reads),
            }  # fmt: skip
    return found


# -- the accounts ----------------------------------------------------------------------------


def test_a_run_ends_with_what_each_hook_cost(capsys):
    """Calls, microseconds and share, by plugin and event; quiet or not, for it was asked for."""
    slow = plugin("slow", {"on_batch_end": busy(0.002), "on_epoch_end": lambda self: None})
    with hookcore.run(plugins=[slow], cost=True, **OTHERS):
        train()
    said = capsys.readouterr().err
    assert re.search(r"hookcore: cost: 12 batches in \d+\.\d s, \d+ us each; waiting", said)
    found = rows(said)
    assert found["slow", "on_batch_end"]["calls"] == 12
    assert found["slow", "on_batch_end"]["each"] >= 2000
    assert float(found["slow", "on_batch_end"]["share"].rstrip("%")) > 1
    assert found["slow", "on_epoch_end"]["calls"] == 4
    assert [event for name, event in found if name == "slow"] == ["on_batch_end", "on_epoch_end"]


def test_without_being_asked_it_says_nothing(capsys):
    """And dispatch has the hooks themselves."""
    quick = plugin("quick", {"on_batch_end": busy(0)})
    with hookcore.run(plugins=[quick], **OTHERS) as run:
        assert run.control.dispatch.ledger is None
        train()
    assert "cost" not in capsys.readouterr().err


def test_a_hook_that_leads_to_another_pays_for_itself_alone(capsys):
    """The time of a listener of what it logs is the listener's."""

    def on_batch_end(self, run):
        run.log(value=1.0)

    def on_log(self):
        time.sleep(0.005)

    one, two = plugin("one", {"on_batch_end": on_batch_end}), plugin("two", {"on_log": on_log})
    with hookcore.run(plugins=[one, two], cost=True, **OTHERS):
        train(1, 4)
    found = rows(capsys.readouterr().err)
    assert found["two", "on_log"]["each"] >= 5000
    assert found["one", "on_batch_end"]["each"] < found["two", "on_log"]["each"]


def test_only_calls_that_were_made_count(capsys):
    """An event that a plugin's own rate holds back is none."""
    rare = plugin("rare", {"on_batch_end": busy(0)}, every={"on_batch_end": 5})
    with hookcore.run(plugins=[rare], cost=True, **OTHERS):
        train(4, 3)
    assert rows(capsys.readouterr().err)["rare", "on_batch_end"]["calls"] == 2


def test_several_fits_are_one_account(capsys):
    """The table is the run's."""
    quick = plugin("quick", {"on_batch_end": busy(0), "on_train_end": lambda self: None})
    with hookcore.run(plugins=[quick], cost=True, **OTHERS):
        train()
        train()
    said = capsys.readouterr().err
    assert "cost: 24 batches" in said
    assert rows(said)["quick", "on_train_end"]["calls"] == 2


def test_what_runs_outside_a_fit_is_no_share_of_it(capsys):
    """Shares are of the training's time, and together no more than all of it."""
    early = plugin("early", {
        "on_run_start": lambda self: time.sleep(0.05),
        "on_run_end": lambda self: time.sleep(0.05),
        "on_batch_end": lambda self: None,
    })  # fmt: skip
    with hookcore.run(plugins=[early], cost=True, **OTHERS):
        train()
    said = capsys.readouterr().err
    found = rows(said)
    for event in ("on_run_start", "on_run_end"):
        assert found["early", event]["each"] >= 50_000
        assert (found["early", event]["batch"], found["early", event]["share"]) == ("-", "-")
    shares = [float(row["share"].rstrip("%")) for row in found.values() if row["share"] != "-"]
    assert sum(shares) <= 100
    assert float(re.search(r"plugins: (\S+)%", said)[1]) <= 100


def test_what_a_plugin_has_a_head_call_is_on_its_account(capsys):
    """It takes the training's time like a hook."""

    def on_epoch_end(self, run, epoch):
        if epoch < 3:
            run.at_head(lambda: time.sleep(0.01), by=self.name)

    late = plugin("late", {"on_epoch_end": on_epoch_end})
    with hookcore.run(plugins=[late], cost=True, **OTHERS):
        train()
    found = rows(capsys.readouterr().err)["late", "at_head"]
    assert found["calls"] == 3
    assert found["each"] >= 10_000


def test_batches_that_are_left_in_the_middle_count_too(capsys):
    """What a batch takes is not told of fewer than there were."""
    quick = plugin("quick", {"on_batch_end": busy(0)})
    with hookcore.run(plugins=[quick], cost=True, **OTHERS):
        for _ in epochs(range(4)):
            for batch in batches(range(9)):
                if batch == 2:
                    break
    said = capsys.readouterr().err
    assert "cost: 12 batches in" in said
    assert rows(said)["quick", "on_batch_end"]["calls"] == 12


def test_data_that_comes_late_is_a_share(capsys):
    """What the head of the batch loop waits for, listeners aside."""

    def late():
        for i in range(5):
            time.sleep(0.01)
            yield i

    slow = plugin("slow", {"on_batch_start": lambda self: time.sleep(0.01)})
    with hookcore.run(plugins=[slow], cost=True, **OTHERS):
        for _ in epochs(range(3)):
            for _ in batches(late()):
                pass
    said = capsys.readouterr().err
    share = int(re.search(r"waiting for data: (\d+)%", said)[1])
    assert 10 <= share <= 90, said


def test_the_start_of_a_pass_is_waiting_for_data(capsys):
    """Where it starts its workers, say; of the first pass nobody knows yet."""

    class Data:
        def __iter__(self):
            time.sleep(0.02)
            return iter(range(2))

    with hookcore.run(cost=True, **OTHERS):
        for _ in epochs(range(4)):
            for _ in batches(Data()):
                pass
    assert int(re.search(r"waiting for data: (\d+)%", capsys.readouterr().err)[1]) > 50


def test_a_loop_that_counts_waits_for_no_data(capsys):
    """What its body fetches is not told apart, and not called nothing."""
    with hookcore.run(cost=True, **OTHERS):
        train(2, 3, body=lambda: time.sleep(0.001))
    assert "waiting for data: not known (no `for` over data)" in capsys.readouterr().err


def test_a_run_without_a_training_has_its_table(capsys):
    """Shares of nothing are not made up."""
    quick = plugin("quick", {"on_run_start": lambda self: None})
    with hookcore.run(plugins=[quick], cost=True, **OTHERS):
        pass
    said = capsys.readouterr().err
    assert "cost: no training was recognised" in said
    assert rows(said)["quick", "on_run_start"]["share"] == "-"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_run_the_table_comes(capsys, error):
    """With what was spent until then."""
    quick = plugin("quick", {"on_batch_end": busy(0)})
    left = iter(range(100))

    def body():
        if next(left) == 7:
            raise error

    with pytest.raises(error), hookcore.run(plugins=[quick], cost=True, **OTHERS):
        train(body=body)
    assert rows(capsys.readouterr().err)["quick", "on_batch_end"]["calls"] == 8


def test_a_hook_that_raises_is_isolated_and_paid_for(capsys):
    """Measured or not, it fails alone."""

    def on_batch_end(self):
        time.sleep(0.002)
        raise ValueError("no")

    broken = plugin("broken", {"on_batch_end": on_batch_end})
    well = plugin("well", {"on_batch_end": busy(0)})
    with hookcore.run(plugins=[broken, well], cost=True, **OTHERS):
        train()
    said = capsys.readouterr().err
    assert "plugin 'broken' raised in on_batch_end; it is switched off" in said
    assert rows(said)["broken", "on_batch_end"]["calls"] == 1
    assert rows(said)["broken", "on_batch_end"]["each"] >= 2000
    assert rows(said)["well", "on_batch_end"]["calls"] == 12


def test_an_interrupt_inside_a_hook_goes_through(capsys):
    """The next span is no part of the one that was left."""

    def on_batch_end(self, batch):
        if batch == 1:
            raise KeyboardInterrupt

    asked = plugin("asked", {"on_batch_end": on_batch_end, "on_run_end": lambda self: None})
    with (
        pytest.raises(KeyboardInterrupt),
        hookcore.run(plugins=[asked], cost=True, **OTHERS) as run,
    ):
        train()
    assert rows(capsys.readouterr().err)["asked", "on_run_end"]["calls"] == 1
    assert not run.control.dispatch.ledger.meter.here.watching


def test_only_rank_zero_speaks(capsys, monkeypatch):
    """One table for all ranks."""
    monkeypatch.setenv("RANK", "1")
    quick = plugin("quick", {"on_batch_end": busy(0)})
    with hookcore.run(plugins=[quick], cost=True, **OTHERS):
        train()
    assert capsys.readouterr().err == ""


def test_logging_from_another_thread_is_no_harm(capsys):
    """Its hooks are measured, in whatever thread they run."""
    quick = plugin("quick", {"on_log": lambda self: None, "on_batch_end": busy(0)})
    with hookcore.run(plugins=[quick], cost=True, **OTHERS) as run:
        other = threading.Thread(target=lambda: [run.log(x=1.0) for _ in range(50)])
        other.start()
        train(20, 20)
        other.join()
    found = rows(capsys.readouterr().err)
    assert found["quick", "on_log"]["calls"] == 50
    assert found["quick", "on_batch_end"]["calls"] == 400


def test_what_another_thread_does_is_not_taken_off_this_one_s(capsys):
    """Both ran all of the time, whichever began and ended inside the other."""

    def log_from_aside(self, run):
        other = threading.Thread(target=lambda: run.log(x=1.0))
        other.start()
        time.sleep(0.03)
        other.join()

    on_log = {"on_log": lambda self: time.sleep(0.02)}
    aside = plugin("aside", {**on_log, "on_epoch_end": log_from_aside})
    with hookcore.run(plugins=[aside], cost=True, **OTHERS):
        train(3, 2)
    found = rows(capsys.readouterr().err)
    assert found["aside", "on_epoch_end"]["each"] >= 30_000
    assert found["aside", "on_log"]["each"] >= 20_000


# -- the budget ------------------------------------------------------------------------------


def test_an_observer_over_its_budget_rests(capsys):
    """It is called less often, and that is said once, at once."""
    slow = plugin("slow", {"on_batch_end": busy(0.03)})
    with hookcore.run(plugins=[slow], budget="1%", only=[]):
        train(2, 20, body=lambda: time.sleep(0.001))
    said = capsys.readouterr().err
    assert 1 <= len(slow.calls) < 10
    assert said.count("is over its budget") == 1
    assert "may take 1%" in said
    assert "--budget off" in said
    assert re.search(rf"slow rested in {40 - len(slow.calls)} of 40 batches", said)
    assert "cost:" not in said


def test_an_observer_that_keeps_its_budget_is_always_called(capsys):
    """Nothing is said and nothing is left out."""
    quick = plugin("quick", {"on_batch_end": busy(0)})
    with hookcore.run(plugins=[quick], budget="50%", only=[]):
        train(2, 20, body=lambda: time.sleep(0.001))
    assert len(quick.calls) == 40
    assert "budget" not in capsys.readouterr().err


def test_a_rest_is_over_when_the_time_is_earned():
    """The share is kept in the long run: it is called again."""
    slow = plugin("slow", {"on_batch_end": busy(0.02)})
    with hookcore.run(plugins=[slow], budget="20%", **OTHERS):
        train(1, 400, body=lambda: time.sleep(0.002))
    assert 12 <= len(slow.calls) <= 60  # 0.2 s saved up, and a fifth of the time that passes
    assert slow.calls[-1] > 300


def test_a_batch_is_seen_whole_or_not_at_all():
    """No end without its start."""
    seen = []

    def on_batch_start(self, batch):
        seen.append(("start", batch))
        time.sleep(0.02)

    def on_batch_end(self, batch):
        seen.append(("end", batch))

    slow = plugin("slow", {"on_batch_start": on_batch_start, "on_batch_end": on_batch_end})
    with hookcore.run(plugins=[slow], budget="1%", **OTHERS):
        train(3, 10, body=lambda: time.sleep(0.001))
    assert seen[::2] == [("start", batch) for _, batch in seen[1::2]]
    assert [word for word, _ in seen] == ["start", "end"] * (len(seen) // 2)
    assert len(seen) < 60


def test_batches_of_a_validation_are_rested_in_one_by_one(capsys):
    """A long one is not heard to its end, nor missed from its start."""
    slow = plugin("slow", {"on_validation_batch_end": busy(0.03)})
    with hookcore.run(plugins=[slow], budget="1%", only=[]) as run:
        for _ in epochs(range(2)):
            for _ in batches(range(3)):
                pass
            with validation():
                for _ in range(50):
                    run.control.start_validation_batch()
                    run.control.end_validation_batch()
                    time.sleep(0.001)
    assert 1 <= len(slow.calls) < 20
    rested = f"rested in {100 - len(slow.calls)} of 100 batches"
    assert rested in capsys.readouterr().err


@pytest.mark.parametrize("role", ["control", "persist"])
def test_who_controls_never_rests(capsys, role):
    """The training depends on it; its share is said at the end."""
    slow = plugin("slow", {"on_batch_end": busy(0.02)}, role=role)
    with hookcore.run(plugins=[slow], budget="1%", only=[]):
        train(1, 10)
    assert len(slow.calls) == 10
    said = capsys.readouterr().err
    assert "over its budget" not in said
    assert f"more than the budget; it is no observer ({role}) and never rests" in said


def test_what_comes_once_is_never_left_out():
    """Starts, ends and a validation's values reach an observer that rests."""
    slow = plugin("slow", {
        "on_batch_end": busy(0.05),
        "on_epoch_end": lambda self, epoch: self.epochs.append(epoch),
        "on_log": lambda self, metrics, source: self.sources.append((source, tuple(metrics))),
        "on_validation_end": lambda self, metrics: self.sources.append(("end", tuple(metrics))),
    }, epochs=[], sources=[])  # fmt: skip
    with hookcore.run(plugins=[slow], budget="1%", **OTHERS):
        for _ in epochs(range(3)):
            for _ in batches(range(5)):
                log(loss=1.0)
            with validation():
                log(val_loss=2.0)
    assert len(slow.calls) < 15
    assert slow.epochs == [0, 1, 2]
    assert slow.sources.count(("log", ("val_loss",))) == 3
    assert slow.sources.count(("end", ("val_loss",))) == 3
    assert 1 <= slow.sources.count(("log", ("loss",))) < 15


def test_a_hook_that_raises_spends_its_budget_too(capsys):
    """It is switched off like any other."""

    def on_batch_end(self):
        raise ValueError("no")

    with hookcore.run(plugins=[plugin("bad", {"on_batch_end": on_batch_end})], budget="1%",
                      only=[]):  # fmt: skip
        train()
    assert "'bad' raised in on_batch_end; it is switched off" in capsys.readouterr().err


# -- torch -----------------------------------------------------------------------------------

LOOP = """
def train():
    model = make(); optimizer = sgd(model)
    for epoch in range(2):
        for x, y in loader(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            loss.item()
            optimizer.step()
"""


@pytest.mark.torch
def test_a_read_of_a_tensor_is_its_reader_s(lab, capsys):
    """The loop's own reads are not counted; a hook's are, whatever they are called."""

    def on_backward_end(self, loss):
        value = loss.detach()
        value.item(), float(value), bool(value > 0), value.cpu(), value.tolist()

    looks = plugin("looks", {"on_backward_end": on_backward_end, "on_batch_end": busy(0)})
    module = lab.module(LOOP)
    lab.play(module.train, plugins=[looks], quiet=True, settings={"cost": True})
    said = capsys.readouterr().err
    found = rows(said)
    assert found["looks", "on_backward_end"]["reads"] == 5 * (
        found["looks", "on_backward_end"]["calls"]
    )
    assert found["looks", "on_batch_end"]["reads"] == 0
    assert "on an accelerator each one waits" in said


LOOKS = {
    "a text": 'f"{t.sum():.3f}"',
    "a picture": "str(t)",
    "percent": "'%.1f' % t.sum()",
    "a test": "1 if t.sum() == 3 else 2",
    "a place": "[5, 6][t.argmin()]",
    "bounds": "t[: t.argmin()]",
    "a mask": "t[t > 0]",
    "places": "torch.where(t > 0)",
    "nonzero": "t.nonzero()",
    "values": "t.unique()",
    "chosen": "torch.masked_select(t, t > 0)",
    "membership": "1.0 in t",
    "a list": "t.tolist()",
    "an array": "t.numpy()",
    "NumPy's own way": "numpy.asarray(t)",
}


def reads(lab, capsys, look):
    """Calls of a hook that looks so at a tensor, and the reads on its account."""
    module = lab.module(f"{LOOP}\ndef look(t):\n    {look}\n")
    looks = plugin(
        "looks",
        {"on_backward_end": lambda self, loss: module.look(loss.detach() * module.torch.ones(3))},
    )
    lab.play(module.train, plugins=[looks], quiet=True, settings={"cost": True})
    found = rows(capsys.readouterr().err)["looks", "on_backward_end"]
    return found["calls"], found["reads"]


@pytest.mark.torch
@pytest.mark.parametrize("look", LOOKS)
def test_a_read_is_one_however_it_is_written(lab, capsys, look):
    """Each of these waits for the device where the tensor lives on one."""
    source = LOOKS[look]
    if "numpy" in source:
        pytest.importorskip("numpy")
        source = f"import numpy; {source}"
    called, read = reads(lab, capsys, source)
    assert read == called > 0


@pytest.mark.torch
@pytest.mark.parametrize(
    "look", ["t * 2", "t.shape", "t.double()", "t[1:]", "t[t.argmin()]", "torch.where(t > 0, t, 0)"]
)
def test_what_leaves_the_values_alone_is_no_read(lab, capsys, look):
    """Arithmetic, shapes, slices and choices by place are queued like the training's own work."""
    called, read = reads(lab, capsys, look)
    assert called > 0
    assert read == 0


@pytest.mark.torch
@pytest.mark.parametrize(
    ("way", "count"),
    [
        ("far.to('cpu')", 1),
        ("near.copy_(far)", 1),
        ("far.to(torch.float64)", 0),
        ("near.to(torch.float64)", 0),
    ],
)
def test_a_way_home_is_a_read(lab, way, count):
    """Of a tensor on an accelerator, here one that torch only pretends to have."""
    from torch._subclasses import FakeTensorMode

    from hookcore.ledger.account import Meter
    from hookcore.plain.taps.reads import Reads

    module = lab.module(f"def go(far, near):\n    {way}\n")
    meter = Meter()
    with FakeTensorMode():
        far, near = (module.torch.empty(3, device=where) for where in ("cuda", "cpu"))
        with Reads(meter):
            module.go(far, near)
    assert meter.here.reads == count


@pytest.mark.torch
def test_hookcore_s_own_work_has_rows(lab, capsys):
    """What recognising a training and reading its state take."""
    saver = plugin(
        "saver",
        {
            "on_epoch_end": lambda self, run: run.capture("each epoch"),
            "on_checkpoint_save": lambda self, snapshot: None,
        },
        role="persist",
    )
    lab.play(lab.module(LOOP).train, plugins=[saver], quiet=True, settings={"cost": True})
    found = rows(capsys.readouterr().err)
    assert found["hookcore", "recognition"]["calls"] == 1
    assert found["hookcore", "capture"]["calls"] >= 2


SCRIPT = """
import torch

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    for batch in range(4):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
raise ValueError("the script's own")
"""


@pytest.mark.torch
@pytest.mark.slow
def test_a_script_that_fails_ends_with_its_table_and_its_own_traceback(child, tmp_path):
    """Asked for on the command line or by the environment; the exit code is the script's."""
    (tmp_path / "train.py").write_text(SCRIPT)
    nothing = {"HOOKCORE_ONLY": ""}
    typed = child("-m", "hookcore", "run", "-q", "--cost", "train.py", **nothing)
    told = child("-m", "hookcore", "run", "-q", "train.py", **nothing, HOOKCORE_COST="1")
    for done in (typed, told):
        assert done.returncode == 1
        assert re.search(r"hookcore: cost: 12 batches in .* us each; waiting for", done.stderr)
        assert rows(done.stderr)["hookcore", "recognition"]["calls"] == 1
        assert done.stderr.rstrip().endswith("ValueError: the script's own")
        assert "ledger" not in done.stderr

