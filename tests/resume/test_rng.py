"""A mark is another once a number was drawn, from whatever generator of the process."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

import numpy
import torch

from hookcore.plain.resume import rng

pytestmark = pytest.mark.torch

DRAWS = {
    "python": random.random,
    "python's normal": lambda: random.gauss(0, 1),
    "torch": lambda: torch.rand(1),
    "torch's order": lambda: torch.randperm(3),
    "numpy": numpy.random.rand,
    "numpy's integer": lambda: numpy.random.randint(3),
    "numpy's order": lambda: numpy.random.permutation(3),
}


@pytest.fixture
def put_back():
    """The generators are left as they were."""
    states = rng.take()
    yield
    rng.put(states)


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_draw_is_seen(draw):
    """By the next look; and looking draws nothing."""
    for _ in range(700):  # past the end of a generator's table
        one, two = rng.mark(), rng.mark()
        assert rng.same(one, two)
        draw()
        assert not rng.same(two, rng.mark())


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "Philox"])
def test_numpys_generator_may_be_another(kind):
    """One that somebody has put in; its kind changes how its state is read."""
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(getattr(numpy.random, kind)(3))
    try:
        one = rng.mark()
        assert rng.same(one, rng.mark())
        numpy.random.rand()
        assert not rng.same(one, rng.mark())
    finally:
        numpy.random.set_bit_generator(before)
