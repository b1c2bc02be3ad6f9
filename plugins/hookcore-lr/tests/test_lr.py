"""The plugin in plain, instrumented PyTorch loops, against the loop with its own scheduler."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from pathlib import Path

import pytest

import hookcore
from hookcore_lr import LR

pytestmark = pytest.mark.torch


def printed(call, *args, **kwargs):
    """What a call returns and prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = call(*args, **kwargs)
    return result, out.getvalue()


def flat(rates):
    """The rates of all steps and groups in a row."""
    return [rate for step in rates for rate in step]


def bits(model, optimizer, used):
    """Everything that must not change by one bit."""
    import torch

    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "used": used,
        "attributes": sorted(vars(optimizer)),
    }


def same(a, b):
    import torch

    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def schedulers():
    """Options, the same as a user's own, and where he would step it."""
    from torch.optim import lr_scheduler as s

    return {
        "plateau": ({"patience": 1, "threshold": 0.01, "factor": 0.5, "cooldown": 1}, "by_value",
                    lambda o: s.ReduceLROnPlateau(o, patience=1, threshold=0.01, factor=0.5,
                                                  cooldown=1)),
        "warmup": ({"steps": 20}, "per_step", lambda o: s.LinearLR(o, total_iters=20)),
        "one_cycle": ({"max_lr": 0.5, "cycle_momentum": True}, "per_step",
                      lambda o: s.OneCycleLR(o, 0.5, total_steps=49)),
        "cosine": ({}, "per_epoch", lambda o: s.CosineAnnealingLR(o, 12)),
        "cosine_steps": ({"per": "step"}, "per_step", lambda o: s.CosineAnnealingLR(o, 48)),
        "function": ({"function": "lr_functions:halve"}, "per_epoch",
                     lambda o: s.LambdaLR(o, lambda epoch: 0.5**epoch)),
    }  # fmt: skip


@pytest.fixture
def functions(monkeypatch):
    """The module lr_functions."""
    path = Path(__file__).with_name("functions.py")
    spec = importlib.util.spec_from_file_location("lr_functions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "lr_functions", module)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize(
    "name", ["plateau", "warmup", "one_cycle", "cosine", "cosine_steps", "function"]
)
def test_as_a_scheduler_in_the_loop(loops, instrumented, functions, kind, name):
    """The rates of all steps and the final weights are those of a user's own scheduler."""
    options, place, make = schedulers()[name]
    if name == "one_cycle":
        # torch's needs one step more than there are: its first step() comes after the first rate.
        options = {**options, "total_steps": 49}
    (mine, _, their_used), _ = printed(loops.train, kind=kind, **{place: make})
    plugin = LR(policy=name.partition("_steps")[0], **options)
    loop = instrumented(loops.train, plugin)
    (model, optimizer, used), _ = printed(loop, kind=kind)
    assert used == their_used
    assert len({tuple(rates) for rates in used}) > 1
    assert same(dict(mine.state_dict()), dict(model.state_dict()))
    plain = printed(loops.train, 0, kind=kind)[0][1]
    keys = [set(group) for group in plain.state_dict()["param_groups"]]
    assert [set(group) for group in optimizer.state_dict()["param_groups"]] == keys
    assert "step" not in vars(optimizer)


def test_observing_changes_no_bit(loops, instrumented):
    """Long enough that plateau would have cut, and it says so; when asked for, it does cut."""
    before, before_out = printed(loops.train)
    before = bits(*before)
    said = []
    plugin = LR(patience=1, threshold=0.01)
    result, out = printed(instrumented(loops.train, plugin, Listener(said)))
    assert same(before, bits(*result))
    assert out == before_out
    would = [text for text in said if "policy plateau would set lr" in text]
    assert would
    acting = LR(policy="plateau", patience=1, threshold=0.01)
    changed, _ = printed(instrumented(loops.train, acting))
    assert not same(before, bits(*changed))


class Listener:
    """Keeps hookcore's own lines and every lr event."""

    def __init__(self, said=None):
        self.said = [] if said is None else said
        self.changes, self.scheduler_steps = [], []

    @hookcore.hookimpl(tryfirst=True)
    def on_run_start(self, run):
        for name in ("say", "warn"):
            original = getattr(run, name)

            def keep(text, original=original):
                self.said.append(text)
                original(text)

            setattr(run, name, keep)

    @hookcore.hookimpl
    def on_lr_change(self, fit, group, old, new):
        self.changes.append((fit.step, group, old, new))


class SchedulerListener(Listener):
    @hookcore.hookimpl
    def on_scheduler_step(self, scheduler):
        self.scheduler_steps.append(type(scheduler).__name__)


def test_observing_reports_the_loop_s_scheduler(loops, instrumented):
    """By its name, in few lines; and says nothing of a plateau."""
    from torch.optim.lr_scheduler import OneCycleLR, StepLR

    listener = Listener()
    printed(
        instrumented(loops.train, LR(patience=0), listener),
        per_epoch=lambda o: StepLR(o, 20, 0.1),
        epochs=60,
    )
    lines = [text for text in listener.said if text.startswith("lr ")]
    assert lines == [
        "lr (group 0) 0.1 -> 0.01 at step 80 (StepLR)",
        "lr (group 1) 0.05 -> 0.005 at step 80 (StepLR)",
        "lr (group 0) 0.01 -> 0.001 at step 160 (StepLR)",
        "lr (group 1) 0.005 -> 0.0005 at step 160 (StepLR)",
    ]
    assert not [text for text in listener.said if "would" in text]
    listener.said.clear()
    printed(
        instrumented(loops.train, LR(), listener),
        per_step=lambda o: OneCycleLR(o, 1.0, total_steps=49),
    )
    assert 3 < len([text for text in listener.said if "OneCycleLR" in text]) < 40


@pytest.mark.parametrize("policy", ["plateau", "loss", "warmup", "cosine", "one_cycle"])
def test_stands_down_for_a_scheduler(loops, instrumented, policy):
    """The loop's own scheduler has the say, from the first step; said once."""
    from torch.optim.lr_scheduler import ExponentialLR

    needed = {"warmup": {"steps": 3}, "one_cycle": {"max_lr": 1.0}, "plateau": {"patience": 0}}
    theirs = bits(*printed(loops.train, per_epoch=lambda o: ExponentialLR(o, 0.8))[0])
    listener = Listener()
    loop = instrumented(loops.train, LR(policy=policy, **needed.get(policy, {})), listener)
    result, _ = printed(loop, per_epoch=lambda o: ExponentialLR(o, 0.8))
    assert same(theirs, bits(*result))
    down = [text for text in listener.said if "stands down" in text]
    assert down == [
        f"lr: policy {policy} stands down and only observes: the loop has its own ExponentialLR"
    ]


def test_stands_down_for_a_rate_set_by_hand(loops, instrumented):
    """Where the loop sets lr itself; what was set before stays as the loop leaves it."""
    listener = Listener()
    plugin = LR(policy="warmup", steps=100)
    loop = instrumented(loops.train, plugin, listener)
    (_, _, used), _ = printed(loop, by_hand=lambda epoch: 0.1 if epoch < 3 else 0.02)
    # The loop sets the same rate to both groups before the first step: from there it starts.
    assert used[0] == [pytest.approx(0.1 / 3)] * 2
    assert used[4:] == [[0.1, 0.1]] * 8 + [[0.02, 0.02]] * 36
    down = [text for text in listener.said if "stands down" in text]
    assert len(down) == 1
    assert "the loop sets lr itself (0.1 at step 4)" in down[0]


def test_stands_down_between_its_own_writes(loops, instrumented):
    """A rate that is set where no step comes between is not written over."""
    listener = Listener()
    plugin = LR(policy="plateau", monitor="lr_told", mode="min", patience=0, factor=0.5)
    with hookcore.run(plugins=[plugin, listener], only=[], strict=True):
        model, optimizer = loops.build()
        for epoch in hookcore.epochs(range(4)):
            for _ in hookcore.batches(range(2)):
                loops.F.cross_entropy(model(loops.X), loops.Y).backward()
                optimizer.step()
            if epoch == 2:
                optimizer.param_groups[0]["lr"] = 0.3
            hookcore.log(lr_told=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.025]
    assert [text for text in listener.said if "stands down" in text]


def test_another_holder(loops, instrumented):
    """Of two plugins that claim the rate, one has the say."""

    class First:
        claims = ("lr",)
        name = "a_first"

        @hookcore.hookimpl
        def on_run_end(self):
            pass

    (_, _, used), _ = printed(
        instrumented(loops.train, LR(policy="warmup", steps=100), First()), epochs=2
    )
    assert used == [[0.1, 0.05]] * 8


def test_an_optimizer_made_later(loops, instrumented):
    """It gets the policy for its first step, and a course of its own."""
    used = instrumented(loops.late_optimizer, LR(policy="warmup", steps=4, start_factor=0.2))()
    assert flat(used) == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01, 0.01])


@pytest.mark.parametrize("policy", ["warmup", "plateau"])
def test_every_fit_starts_anew(loops, instrumented, policy):
    """A schedule begins again from the loop's rate, not from where it left it."""
    plugin = (
        LR(policy="cosine", t_max=3) if policy == "warmup" else LR(policy="plateau", patience=0)
    )
    used = instrumented(loops.twice, plugin)()
    if policy == "warmup":
        assert used[:6] == used[6:]
        assert used[0] == [0.1, 0.05] > used[2] > used[4]
    else:
        assert used == [[0.1, 0.05]] * 12


def test_a_rate_that_is_a_tensor(loops, instrumented):
    """It is filled in place: whoever holds it sees it."""
    plugin = LR(policy="warmup", steps=5, start_factor=0.5)
    optimizer, lr, used = instrumented(loops.capturable, plugin)()
    assert optimizer.param_groups[0]["lr"] is lr
    assert flat(used) == pytest.approx([0.005, 0.006, 0.007, 0.008, 0.009, 0.01])


def test_by_the_step_s_own_loss(loops, instrumented):
    """It changes the rate, the same way each time, within its bounds."""
    plugins = [LR(policy="loss", interval=2, max_lr=0.15, min_lr=0.02) for _ in range(2)]
    runs = [printed(instrumented(loops.train, p), epochs=20)[0] for p in plugins]
    assert same(bits(*runs[0]), bits(*runs[1]))
    rates = [pair[0] for pair in runs[0][2]]
    assert rates[:6] == [0.1] * 6  # two values must have been read before the first decision
    assert len(set(rates)) > 5
    assert 0.02 <= min(rates) < max(rates) <= 0.15


def test_by_a_scaled_loss(loops, instrumented):
    """Mixed precision multiplies the loss that backward sees; the rate does not notice."""
    scaled = instrumented(loops.scaled, LR(policy="loss", interval=1))()
    plain = instrumented(loops.unscaled, LR(policy="loss", interval=1))()
    assert flat(scaled) == pytest.approx(flat(plain))
    assert len(set(flat(plain))) > 5


def test_intervention_is_an_event(loops, instrumented):
    """Each change reaches on_lr_change before the step that uses it, the first one too."""
    listener = Listener()
    (_, _, used), _ = printed(
        instrumented(loops.train, LR(policy="warmup", steps=3, start_factor=0.25), listener),
        epochs=2,
    )
    mine = [(step, old, new) for step, group, old, new in listener.changes if group == 0]
    assert [new for _, _, new in mine] == [used[i][0] for i in range(4)]
    assert mine[0] == (0, 0.1, used[0][0])


def test_shadows_are_nobody_s_schedulers(loops, instrumented):
    """Other plugins see no scheduler step where the loop has no scheduler."""
    listener = SchedulerListener()
    loop = instrumented(loops.train, LR(policy="warmup", steps=30), listener)
    printed(loop)
    assert listener.scheduler_steps == []
    assert loop.run.fit.step == 48
    assert len(loop.run.fit.optimizers) == 1


def test_unknown_total_is_a_usage_error(loops):
    """Said at the first step, when the loop is known."""

    def train():
        with hookcore.run(plugins=[LR(policy="one_cycle", max_lr=1.0)], only=[]):
            model, optimizer = loops.build()
            for _ in hookcore.batches(i for i in range(5)):
                loops.F.cross_entropy(model(loops.X), loops.Y).backward()
                optimizer.step()

    with pytest.raises(hookcore.UsageError, match=r"needs lr\.total_steps"):
        train()


def test_a_function_that_fails_is_switched_off(loops, functions):
    """The training goes on at the rate that it had."""
    plugin = LR(policy="function", function="lr_functions:bad", per="step")
    with hookcore.run(plugins=[plugin], only=[]) as run:
        model, optimizer = loops.build()
        for _ in hookcore.batches(range(6)):
            loops.F.cross_entropy(model(loops.X), loops.Y).backward()
            optimizer.step()
    assert run.fit.step == 6
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("name", ["plateau", "warmup", "one_cycle", "cosine", "function", "loss"])
def test_state_goes_out_and_in(loops, functions, name):
    """A run that is cut after four epochs and resumed uses the rates of one that is not."""
    import torch

    options = {"patience": 0, "threshold": 0.5} if name == "plateau" else {}
    options |= {"warmup": {"steps": 13}, "one_cycle": {"max_lr": 0.5, "total_steps": 30},
                "cosine": {"t_max": 10}, "function": {"function": "lr_functions:halve"},
                "loss": {"interval": 2}}.get(name, {})  # fmt: skip

    def go(plugin, model, optimizer, epochs, used):
        optimizer.register_step_pre_hook(
            lambda one, *_: used.append([group["lr"] for group in one.param_groups])
        )
        with hookcore.run(plugins=[plugin, Resume(plugin)], only=[], strict=True):
            for _ in hookcore.epochs(range(epochs)):
                for _ in hookcore.batches(range(3)):
                    optimizer.zero_grad()
                    loops.F.cross_entropy(model(loops.X), loops.Y).backward()
                    optimizer.step()
                hookcore.log(val_loss=loops.evaluate(model))

    class Resume:
        """What the core does: states in before the run, on_resume right after on_train_start."""

        after = ("lr",)
        name = "resume"
        state = None
        kept = None

        def __init__(self, plugin):
            self.plugin = plugin

        @hookcore.hookimpl
        def on_run_start(self):
            if self.state is not None:
                self.plugin.load_state_dict(self.state)

        @hookcore.hookimpl
        def on_train_start(self, fit):
            if self.state is not None:
                fit.epoch += 4
                self.plugin.on_resume(fit)

        @hookcore.hookimpl(tryfirst=True)
        def on_train_end(self):
            Resume.kept = self.plugin.state_dict()

    whole, model, first = [], *loops.build()
    go(LR(policy=name, **options), model, first, 8, whole)
    used, model, second = [], *loops.build()
    go(LR(policy=name, **options), model, second, 4, used)
    third = torch.optim.SGD([{"params": g["params"]} for g in second.param_groups], lr=9.0)
    third.load_state_dict(second.state_dict())
    Resume.state = Resume.kept
    go(LR(policy=name, **options), model, third, 4, used)
    assert used == whole
    assert len({tuple(rates) for rates in whole}) > 2
