"""What a loop costs that does not train, counted in calls."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("torch")

import ours
import torch

import hookcore

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

SOURCE = """
def counted(mark, entries, iterations):
    mark()
    for _ in range(entries):
        for i in range(iterations):
            bytearray(i)
    mark()

def waiting(mark, entries, iterations):
    mark()
    for _ in range(entries):
        i = 0
        while bytearray(i) is not None and i < iterations:
            i += 1
    mark()

def training(mark, optimizer, entries, iterations):
    for epoch in range(3):
        for batch in range(2):
            optimizer.step()
        mark()
        for _ in range(entries):
            for i in range(iterations):
                bytearray(i)
    mark()
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Loops of which nobody can read that they train nothing."""
    made = ours.module_of(tmp_path_factory.mktemp("idle"), "idle_loops", SOURCE)
    instrumented = hookcore.instrument(made.training)
    yield made
    instrumented.restore()


def calls(function, *arguments):
    """How many functions, Python's and C's, are called from the last but one mark to the last."""
    seen, marks = [], []
    sys.setprofile(lambda _frame, event, _argument: seen.append(event in ("call", "c_call")))
    try:
        function(*arguments, lambda: marks.append(sum(seen)))
    finally:
        sys.setprofile(None)
    return marks[-1] - marks[-2]


def of_each(train):
    """Calls of ten more entries, and of ten more iterations, each divided by ten.

    Args:
        train: Called with a function that marks, and how many entries and iterations there are.
    """
    floor, entries, iterations = (
        calls(lambda mark, size=size: train(mark, *size)) for size in ((1, 1), (11, 1), (1, 11))
    )
    return (entries - floor) / 10, (iterations - floor) / 10


@pytest.mark.parametrize(("name", "entry"), [("counted", 1), ("waiting", 0)])
def test_outside_a_run(module, name, entry):
    """A ``for`` asks once; a ``while`` only looks."""
    assert of_each(getattr(module, name)) == (entry, 0)


@pytest.mark.parametrize(("name", "entry"), [("counted", 1), ("waiting", 0)])
def test_in_a_run_after_a_hundred_passes(module, name, entry):
    """No training is known: it might have been one."""
    with hookcore.run(only=[], quiet=True):
        for _ in range(101):
            getattr(module, name)(list, 1, 1)
        assert of_each(getattr(module, name)) == (entry, 0)


@pytest.mark.parametrize("name", ["counted", "waiting"])
def test_in_a_run_after_one_long_pass(module, name):
    """Ten thousand iterations say as much."""
    with hookcore.run(only=[], quiet=True):
        getattr(module, name)(list, 1, 10_000)
        assert of_each(getattr(module, name))[1] == 0


def test_in_a_training_after_one_pass(module):
    """The first epoch has shown what it is: each more entry is one call, each iteration none."""

    def train(mark, entries, iterations):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(()))], 0.1)
        with hookcore.run(only=[], quiet=True):
            module.training(mark, optimizer, entries, iterations)

    assert of_each(train) == (1, 0)
