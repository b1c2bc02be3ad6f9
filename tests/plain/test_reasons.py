"""Code without sites: whether it is in a loop now."""

from __future__ import annotations

import contextlib
import sys

import pytest

from hookcore.plain.loading.reasons import is_looping


def asks(found):
    """Note whether the caller is in a loop."""
    found.append(is_looping(sys._getframe(1)))
    return len(found)


def in_for(found):
    for _ in range(1):
        asks(found)


def in_while(found):
    while not found:
        asks(found)


def in_while_true(found):
    while True:
        if asks(found) > 0:
            break


def in_inner_block(found):
    for _ in range(1):
        try:
            with contextlib.suppress(ValueError):
                asks(found)
        finally:
            pass


def in_handler(found):
    for _ in range(1):
        try:
            raise ValueError
        except ValueError:
            asks(found)


def in_comprehension(found):
    return [asks(found) for _ in range(1)]


def before(found):
    asks(found)
    for _ in range(3):
        pass


def after(found):
    for _ in range(3):
        pass
    asks(found)


def behind_a_handler(found):
    try:
        len(found)
    except ValueError:
        print("never")
    asks(found)


def in_else(found):
    for _ in range(1):
        pass
    asks(found)


def in_a_call_of_a_loop(found):
    before(found)


def leaving(found):
    for _ in range(1):
        return asks(found)
    return None


@pytest.mark.parametrize(
    "function", [in_for, in_while, in_while_true, in_inner_block, in_handler, in_comprehension]
)
def test_in_a_loop(function):
    """What stands in a loop's body may run again."""
    found = []
    function(found)
    assert found == [True]


@pytest.mark.parametrize(
    "function", [before, after, behind_a_handler, in_else, in_a_call_of_a_loop, leaving]
)
def test_in_none(function):
    """What stands beside a loop, or leaves it, does not."""
    found = []
    function(found)
    assert found == [False]
