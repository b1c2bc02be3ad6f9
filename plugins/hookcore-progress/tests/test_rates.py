"""Speed and time left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore_progress.rates import Outlook, Window, outlook


def seen(*pairs):
    window = Window()
    for now, done in pairs:
        window.add(now, done)
    return window


def test_no_rate_without_two_counts():
    assert Window().per_second is None
    assert seen((0, 0), (5, 0)).per_second is None


def test_rate():
    assert seen((0, 0), (1, 10), (2, 20)).per_second == 10


def test_recent_rate_counts():
    """A slow start is forgotten."""
    window = seen((0, 0), (60, 1))
    for second in range(61, 90):
        window.add(second, (second - 60) * 100)
    assert window.per_second == pytest.approx(100, rel=0.02)


def test_slow_batches_have_a_rate():
    assert seen(*((60 * n, n) for n in range(10))).per_second == pytest.approx(1 / 60)


def test_a_stall_shows():
    window = seen((0, 0), (1, 10))
    window.add(10, 10)
    assert window.per_second == 1


def test_waiting_for_the_next_batch_is_no_stall():
    window = seen((0, 0), (10, 1), (20, 2))
    window.add(29, 2)
    assert window.per_second == pytest.approx(0.1)


def test_a_validation_does_not_count():
    window = seen((0, 0), (1, 10))
    window.pause(1)
    window.go_on(101)
    window.add(102, 20)
    assert window.per_second == 10


def test_going_back_begins_anew():
    assert seen((0, 0), (1, 100), (2, 5)).per_second is None


def test_restart():
    window = seen((0, 0), (1, 10))
    window.restart()
    window.add(2, 1000)
    window.add(3, 1010)
    assert window.per_second == 10


def test_left_without_epochs():
    assert outlook(epoch=None, epochs=None, batch=25, batches=100, per_second=5) == Outlook(
        0.25, 15
    )


def test_left_of_the_epoch_only():
    found = outlook(epoch=3, epochs=None, batch=25, batches=100, per_second=5)
    assert found == Outlook(0.25, 15, whole=False)


def test_left_by_batches():
    found = outlook(epoch=1, epochs=4, batch=50, batches=100, per_second=10)
    assert found == Outlook(0.375, 25)


def test_left_by_what_epochs_take():
    """Validation included, once an epoch has shown how long it is."""
    found = outlook(
        epoch=1, epochs=4, batch=50, batches=100, per_second=10, epoch_seconds=30, into_epoch=6
    )
    assert found == Outlook(0.375, 24 + 60)


def test_nothing_known():
    assert outlook(epoch=None, epochs=None, batch=7, batches=None, per_second=3) == Outlook()


@given(
    epoch=st.none() | st.integers(0, 50),
    epochs=st.none() | st.integers(0, 50),
    batch=st.integers(0, 500),
    batches=st.none() | st.integers(0, 400),
    per_second=st.none() | st.floats(0, 1e6),
    epoch_seconds=st.none() | st.floats(0, 1e6),
    into_epoch=st.floats(0, 1e6),
)
def test_always_in_range(**known):
    found = outlook(**known)
    assert found.fraction is None or 0 <= found.fraction <= 1
    assert found.seconds is None or found.seconds >= 0
