"""Courses that are plain arithmetic, and the lines about changes; no torch."""

from __future__ import annotations

import math
from types import SimpleNamespace

import hypothesis
import pytest
from hypothesis import strategies as st

import hookcore
from hookcore_lr.courses import FunctionCourse, LossCourse
from hookcore_lr.report import Report, cut

losses = st.lists(st.one_of(st.floats(0, 10), st.just(math.nan)), max_size=30)


def course(base=(0.1,), **more):
    options = {"grow": 1.1, "shrink": 0.5, "target": None, "lower": [1e-3], "upper": [1.0]}
    return LossCourse(base, **{**options, **more})


@hypothesis.given(losses)
def test_loss_course(values):
    """Grown for each fall, shrunk for each rise, within bounds."""
    it = course()
    lr, before = 0.1, None
    for value in values:
        it.advance(value, 0)
        if math.isnan(value):
            pass
        else:
            if before is not None and value < before:
                lr = min(lr * 1.1, 1.0)
            elif before is not None and value > before:
                lr = max(lr * 0.5, 1e-3)
            before = value
        assert it.lrs == [lr]
        assert 1e-3 <= lr <= 1.0


def test_loss_target():
    """At or below it, falling is no reason to grow."""
    it = course(target=1.0)
    for value in (3.0, 2.0, 1.0, 0.5):
        it.advance(value, 0)
    assert it.lrs == pytest.approx([0.1 * 1.1 * 0.5 * 0.5])


def test_a_rate_outside_its_bounds():
    """It is not pulled in at once, and does not go further out."""
    it = course(base=[5.0])
    it.advance(2.0, 0)
    it.advance(1.0, 0)
    assert it.lrs == [5.0]
    it.advance(2.0, 0)
    assert it.lrs == [2.5]


@hypothesis.given(losses, losses)
def test_loss_course_resumes(first, second):
    """Going on from its state is going on."""
    whole, again = course(), course()
    for value in first:
        whole.advance(value, 0)
    again.load_state_dict(whole.state_dict())
    for value in second:
        whole.advance(value, 0)
        again.advance(value, 0)
    assert whole.lrs == again.lrs


def test_function_course():
    """Called with what it names, once a group."""
    calls = []

    def function(step, epoch, lr, base_lr, group):
        calls.append((step, epoch, lr, base_lr, group))
        return 0.5

    it = FunctionCourse([0.4, 0.2], function, "factor")
    it.advance(math.nan, 7)
    assert calls == [
        (0, 0, 0.4, 0.4, 0),
        (0, 0, 0.2, 0.2, 1),
        (1, 7, 0.2, 0.4, 0),
        (1, 7, 0.1, 0.2, 1),
    ]


@pytest.mark.parametrize("given", [math.nan, math.inf, -1.0, None, "much"])
def test_a_function_that_returns_no_rate(given):
    """Said with what it returned."""
    with pytest.raises(hookcore.HookcoreError) as caught:
        FunctionCourse([0.1], lambda: given, "factor")
    assert repr(given) in caught.value.what


# -- lines ---------------------------------------------------------------------------------


def optimizer(*lrs):
    return SimpleNamespace(param_groups=[{"lr": lr} for lr in lrs])


def setting(one, *lrs):
    for group, lr in zip(one.param_groups, lrs, strict=True):
        group["lr"] = lr


def test_a_change_alone_is_said_at_once():
    """With its step and author; groups that change alike are one line."""
    lines = []
    report, one = Report(lines.append), optimizer(0.1, 0.1)
    report.start([one])
    setting(one, 0.05, 0.05)
    report.changed(one, 0, 0.05, 100, "StepLR", has_epochs=True)
    report.changed(one, 1, 0.05, 100, "StepLR", has_epochs=True)
    setting(one, 0.05, 0.01)
    report.changed(one, 1, 0.01, 300, "the loop", has_epochs=True)
    assert lines == [
        "lr 0.1 -> 0.05 at step 100 (StepLR)",
        "lr (group 1) 0.05 -> 0.01 at step 300 (the loop)",
    ]


@pytest.mark.parametrize("epochs", [True, False])
def test_changes_with_every_step_are_summed_up(epochs):
    """A thousand changes make few lines, and none is lost."""
    lines = []
    report, one = Report(lines.append), optimizer(0.0)
    report.start([one])
    for step in range(1, 1001):
        setting(one, step / 1000)
        report.changed(one, 0, step / 1000, step, "LinearLR", has_epochs=epochs)
        if epochs and step % 100 == 0:
            report.epoch_ended()
    report.ended()
    assert 5 <= len(lines) <= 13
    assert lines[0] == "lr 0 -> 0.001 at step 1 (LinearLR)"
    ends = [line.split(" -> ")[1].split()[0] for line in lines]
    begins = [line.split()[1] for line in lines]
    assert begins[1:] == ends[:-1]
    assert ends[-1] == "1"


def test_many_epochs_do_not_flood():
    """After ten lines only doublings and halvings are worth one."""
    lines = []
    report, one = Report(lines.append), optimizer(1.0)
    report.start([one])
    for epoch in range(500):
        setting(one, 0.99**epoch)
        report.changed(one, 0, 0.99**epoch, 100 * epoch, "ExponentialLR", has_epochs=True)
        report.epoch_ended()
    report.ended()
    assert 10 < len(lines) < 20


def test_a_rate_that_no_step_used_is_not_told():
    """A schedule sets one more when the last step is done."""
    lines = []
    report, one = Report(lines.append), optimizer(1.0)
    report.start([one])
    for step in range(1, 4):
        setting(one, 1.0 + step)
        report.changed(one, 0, 1.0 + step, step, "x", has_epochs=True)
    setting(one, 9.0)
    report.ended()
    assert lines[-1] == "lr 2 -> 4 in 2 changes, steps 2 to 3 (x)"


def test_several_optimizers_have_names():
    """By kind and number."""
    lines = []
    report, one, two = Report(lines.append), optimizer(1.0), optimizer(2.0)
    report.start([one, two])
    setting(two, 1.0)
    report.changed(two, 0, 1.0, 5, "x", has_epochs=False)
    # One that was made later: there is nothing to compare with.
    report.changed(optimizer(9.0), 0, 9.0, 5, "x", has_epochs=False)
    report.told(optimizer(1.0))
    assert lines == ["lr of SimpleNamespace 1 2 -> 1 at step 5 (x)"]


def test_cut():
    """Pairs that read alike are no change."""
    assert cut([0.1, 0.1], [0.01, 0.01]) == "0.1 -> 0.01"
    assert cut([0.1], [0.1000001]) == ""
