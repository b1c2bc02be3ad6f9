"""What may go again: arithmetic alone, no torch."""

from __future__ import annotations

import math

import pytest

from hookcore_checkpoint.retention import Kept, best, surplus

NAN = float("nan")


def lower(new, old):
    return not math.isnan(new) and (old is None or new < old)


def higher(new, old):
    return not math.isnan(new) and (old is None or new > old)


def run(*values, kinds=(), fits=()):
    return [
        Kept(i, i, kinds[i] if kinds else "epoch", fits[i] if fits else 0, value)
        for i, value in enumerate(values)
    ]


def stays(found, keep_last, keep_best=0, better=lower):
    gone = {one.key for one in surplus(found, keep_last, keep_best, better)}
    return [one.key for one in found if one.key not in gone]


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "kept"),
    [
        (1, 0, [5]),
        (2, 0, [4, 5]),
        (0, 0, [0, 1, 2, 3, 4, 5]),
        (9, 0, [0, 1, 2, 3, 4, 5]),
        (1, 1, [2, 5]),
        (1, 2, [2, 4, 5]),
        (2, 1, [2, 4, 5]),
        (1, 9, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_last_and_best(keep_last, keep_best, kept):
    assert stays(run(0.9, 0.8, 0.3, 0.7, 0.5, 0.6), keep_last, keep_best) == kept


def test_of_equals_the_first_is_best_and_nan_is_none():
    found = run(NAN, 0.5, None, 0.5, NAN)

    assert [one.key for one in best(found, 9, lower)] == [1, 3]
    assert [one.key for one in best(found, 1, lower)] == [1]
    assert best(run(NAN, None), 1, lower) == []


def test_higher_may_be_better():
    assert stays(run(0.1, 0.9, 0.2, 0.3), 1, 1, higher) == [1, 3]


def test_the_one_to_resume_from_stays():
    """However many others came after it, in another fit even."""
    found = run(*[None] * 5, kinds=["epoch", *["mid-epoch"] * 3, "emergency"])
    assert stays(found, 1) == [0, 3, 4]

    found = run(None, None, None, kinds=["epoch", "mid-epoch", "mid-epoch"], fits=[0, 1, 1])
    assert stays(found, 1) == [0, 2]


def test_each_fit_has_its_own():
    found = run(0.5, 0.1, 0.4, 0.9, 0.2, 0.3, fits=[0, 0, 0, 1, 1, 1])

    assert stays(found, 1) == [2, 5]
    assert stays(found, 1, 1) == [1, 2, 4, 5]


def test_weights_of_an_emergency_are_no_best():
    assert best(run(0.1, kinds=["emergency"]), 1, lower) == []


def test_numbers_and_not_the_order_of_the_listing_decide():
    found = run(*[None] * 4)

    assert stays(list(reversed(found)), 2) == [3, 2]
