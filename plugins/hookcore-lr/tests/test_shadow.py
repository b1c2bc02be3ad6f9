"""torch's schedulers on a shadow give torch's numbers, and leave no trace."""

from __future__ import annotations

import warnings

import hypothesis
import pytest
from hypothesis import strategies as st

from hookcore_lr import LR
from hookcore_lr.hands import groups_of
from hookcore_lr.policies import Policy

pytestmark = pytest.mark.torch


class Fit:
    epoch, has_epochs, total_epochs, total_batches = -1, True, 5, 6


def make_optimizer(kind):
    import torch

    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}]
    if kind == "adam":
        return torch.optim.AdamW(groups, lr=0.1)
    return torch.optim.SGD(groups, lr=0.1, momentum=0.5)


def schedulers():
    from torch.optim import lr_scheduler as s

    return {
        "warmup": ({"steps": 7, "start_factor": 0.2},
                   lambda o: s.LinearLR(o, start_factor=0.2, total_iters=7)),
        "one_cycle": (
            {"max_lr": (1.0, 0.5), "three_phase": True, "anneal": "linear", "pct_start": 0.2},
            lambda o: s.OneCycleLR(o, [1.0, 0.5], total_steps=30, three_phase=True,
                                   anneal_strategy="linear", pct_start=0.2, cycle_momentum=False)),
        "one_cycle+momentum": (
            {"max_lr": 1.0, "total_steps": 30, "cycle_momentum": True, "div_factor": 10.0},
            lambda o: s.OneCycleLR(o, 1.0, total_steps=30, div_factor=10.0)),
        "cosine": ({"per": "step", "eta_min": 0.001},
                   lambda o: s.CosineAnnealingLR(o, 30, eta_min=0.001)),
    }  # fmt: skip


def momentum_of(optimizer):
    return [g["betas"][0] if "betas" in g else g["momentum"] for g in optimizer.param_groups]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["warmup", "one_cycle", "one_cycle+momentum", "cosine"])
def test_schedules(kind, name):
    """Each rate of each step is the one that a user's scheduler would set."""
    options, make = schedulers()[name]
    user = make_optimizer(kind)
    plugin = LR(policy=name.partition("+")[0], **options)
    course = Policy(plugin, "lr").course(groups_of(make_optimizer(kind)), Fit)
    scheduler = make(user)
    for _ in range(29):
        assert course.lrs == [g["lr"] for g in user.param_groups]
        if course.momenta is not None:
            assert course.momenta == momentum_of(user)
        user.step()
        scheduler.step()
        course.advance(0.0, 0)


def test_held_at_the_end():
    """Longer than planned: torch would raise, or go up again."""
    for name in ("warmup", "one_cycle", "cosine"):
        plugin = LR(policy=name, **schedulers()[name][0])
        course = Policy(plugin, "lr").course(groups_of(make_optimizer("sgd")), Fit)
        for _ in range(30):
            course.advance(0.0, 0)
        assert course.over
        last = course.lrs
        for _ in range(30):
            course.advance(0.0, 0)
        assert course.lrs == last


@pytest.mark.parametrize("name", ["warmup", "one_cycle", "one_cycle+momentum", "cosine"])
@pytest.mark.parametrize("cut", [0, 1, 8, 29])
def test_schedules_resume(name, cut):
    """Going on from its state is going on, bit for bit."""
    plugin = LR(policy=name.partition("+")[0], **schedulers()[name][0])
    whole, again = (
        Policy(plugin, "lr").course(groups_of(make_optimizer("sgd")), Fit) for _ in range(2)
    )
    for _ in range(cut):
        whole.advance(0.0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.load_state_dict(whole.state_dict())
        for _ in range(12):
            assert (whole.lrs, whole.momenta, whole.over) == (again.lrs, again.momenta, again.over)
            whole.advance(0.0, 0)
            again.advance(0.0, 0)


@hypothesis.given(
    values=st.lists(st.integers(-5, 5).map(float), max_size=40),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 0.1, 1.0]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 2),
    min_lr=st.sampled_from([None, 0.005, (0.01, 0.0)]),
    cut=st.integers(0, 40),
)
def test_plateau(values, mode, patience, threshold, threshold_mode, cooldown, min_lr, cut):
    """ReduceLROnPlateau's numbers, through a resume."""
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    options = {"patience": patience, "threshold": threshold, "threshold_mode": threshold_mode}
    options |= {"cooldown": cooldown, "factor": 0.3}
    user = make_optimizer("sgd")
    lower = list(min_lr) if isinstance(min_lr, tuple) else min_lr or 0
    scheduler = ReduceLROnPlateau(user, mode=mode, min_lr=lower, **options)
    policy = Policy(LR(policy="plateau", min_lr=min_lr, **options), "lr")
    groups = groups_of(make_optimizer("sgd"))
    course = policy.plateau(groups, mode)
    for i, value in enumerate(values):
        if i == cut:
            before, course = course, policy.plateau(groups, mode)
            course.load_state_dict(before.state_dict())
        scheduler.step(value)
        course.advance(value, 0)
        assert course.lrs == [g["lr"] for g in user.param_groups]


def test_no_global_hook_fires():
    """A mark of torch's keeps the shadow's step from its hooks; if it moves, this says so."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    fired = []
    handle = register_optimizer_step_pre_hook(lambda *_: fired.append(1))
    try:
        plugin = LR(policy="warmup", steps=3)
        course = Policy(plugin, "lr").course(groups_of(make_optimizer("sgd")), Fit)
        course.advance(0.0, 0)
        assert fired == []
        make_optimizer("sgd").step()
        assert fired == [1]
    finally:
        handle.remove()


def test_no_random_number_is_drawn():
    """Making a shadow leaves the generator alone."""
    import torch

    torch.manual_seed(3)
    before = torch.get_rng_state()
    for name in ("warmup", "one_cycle", "cosine"):
        plugin = LR(policy=name, **schedulers()[name][0])
        Policy(plugin, "lr").course(groups_of(make_optimizer("sgd")), Fit).advance(0.0, 0)
    assert torch.equal(before, torch.get_rng_state())
