"""When to save: arithmetic alone, no torch."""

from __future__ import annotations

import threading

import pytest

from hookcore import UsageError
from hookcore_checkpoint.cadence import UNTIMED, Cadence, Schedule, plan
from hookcore_checkpoint.clock import Clock


@pytest.mark.parametrize(
    ("cadence", "words"),
    [
        (Cadence(), "each epoch (or validation, without epochs)"),
        (Cadence(epochs=1), "each epoch"),
        (Cadence(epochs=5), "every 5 epochs"),
        (Cadence(steps=100), "each epoch and every 100 steps"),
        (Cadence(epochs=0, steps=1, seconds=90), "each step and every 90 s"),
        (Cadence(epochs=0), "when the training ends early"),
    ],
)
def test_words(cadence, words):
    assert cadence.words() == words


def test_epochs_by_default():
    schedule = plan(Cadence(), has_epochs=True, step=0)

    assert [schedule.epoch_due(done, 4) for done in (1, 2, 3, 4)] == [True] * 4
    assert not schedule.validations
    assert schedule.seconds == 0


def test_every_n_epochs_and_the_last():
    schedule = plan(Cadence(epochs=3), has_epochs=True, step=0)

    assert [done for done in range(1, 9) if schedule.epoch_due(done, 8)] == [3, 6, 8]
    assert [done for done in range(1, 9) if schedule.epoch_due(done, None)] == [3, 6]
    assert not any(plan(Cadence(epochs=0), has_epochs=True, step=0).epoch_due(n, 2) for n in (1, 2))


def test_without_epochs():
    by_itself = plan(Cadence(), has_epochs=False, step=0)
    typed = plan(Cadence(steps=5, seconds=9), has_epochs=False, step=0)

    assert (by_itself.validations, by_itself.seconds) == (True, UNTIMED)
    assert (typed.validations, typed.seconds, typed.steps) == (False, 9, 5)
    assert not plan(Cadence(epochs=0), has_epochs=False, step=0).validations
    with pytest.raises(UsageError, match="every_n_steps"):
        plan(Cadence(epochs=2), has_epochs=False, step=0)


def heads(schedule, steps_at):
    """Steps at which a loop whose state can be read one batch later is saved."""
    saved, asked = [], False
    for step in steps_at:
        if asked and schedule.step_due(step):
            saved.append(step)
            schedule.saved(step)
            asked = schedule.next_is_due(step)
        if schedule.batch_ended(step):
            asked = True
    return saved


@pytest.mark.parametrize(
    ("steps_at", "saved"),
    [
        ([*range(1, 22)], [5, 10, 15, 20]),  # a step a batch
        ([batch // 3 for batch in range(1, 64)], [5, 10, 15, 20]),  # a step every third batch
        ([2 * batch for batch in range(1, 12)], [6, 10, 16, 20]),  # two optimizers a batch
    ],
)
def test_asked_ahead_the_multiple_is_met(steps_at, saved):
    assert heads(Schedule(steps=5, ahead=True), steps_at) == saved


def test_each_step_is_met_once_it_was_asked_for():
    assert heads(Schedule(steps=1, ahead=True), [*range(1, 6)]) == [2, 3, 4, 5]
    assert heads(Schedule(steps=2, ahead=True), [*range(1, 8)]) == [2, 4, 6]


def test_after_a_resume_the_count_goes_on():
    schedule = plan(Cadence(steps=10), has_epochs=True, step=25)

    due = [step for step in range(26, 45) if schedule.batch_ended(step)]
    assert due[:2] == [29, 30]  # first a batch ahead, for the loop to show its variables
    schedule.saved(30)
    assert not schedule.step_due(39)
    assert schedule.step_due(40)


def test_any_checkpoint_counts():
    schedule = Schedule(steps=10)
    schedule.saved(11)  # a signal's

    assert not schedule.step_due(19)
    assert schedule.step_due(20)


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_a_clock_that_never_rings(seconds):
    """Its thread does not die of a number that is too large for the system's clock."""
    clock = Clock(seconds, lambda: None)
    clock.wind()
    (thread,) = (t for t in threading.enumerate() if isinstance(t, threading.Timer))
    thread.join(0.05)

    assert thread.is_alive()
    clock.stop()
    thread.join(5)
    assert not thread.is_alive()
