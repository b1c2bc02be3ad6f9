"""Digests: the same for the same bits, another for any other."""

from __future__ import annotations

import argparse
import collections
import math
import random
import types

import pytest

torch = pytest.importorskip("torch")

from hookcore.plain.witness.digests import Digests, shown  # noqa: E402

pytestmark = pytest.mark.torch


class Mine:
    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def digest(value):
    found = Digests(lambda kind: kind in (Mine, Slotted)).of(value)
    return None if found is None else found[0]


def seeded(kind, number):
    made = kind()
    (made.manual_seed if kind is torch.Generator else made.seed)(number)
    return made


DIFFERENT = [
    (0, 1), (0, False), (0, 0.0), (0.0, -0.0), ("a", "b"), ("1", 1), (None, 0), (b"a", "a"),
    ([1, 2], [2, 1]), ([1, 2], (1, 2)), ([[1], 2], [1, [2]]), (["ab"], ["a", "b"]),
    ({"a": 1}, {"a": 2}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1}, {2}), ({1: 2}, {2: 1}),
    (collections.Counter("a"), {"a": 1}), (range(3), range(4)),
    (Mine(1), Mine(2)), (Mine([Mine(1)]), Mine([Mine(2)])), (Slotted(1), Slotted(2)),
    (argparse.Namespace(a=1), argparse.Namespace(a=2)),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(b=1)),
    (random.Random(1), random.Random(2)),
    (seeded(torch.Generator, 1), seeded(torch.Generator, 2)),
    (torch.zeros(3), torch.zeros(3, dtype=torch.float64)), (torch.zeros(2, 3), torch.zeros(3, 2)),
    (torch.tensor(0.0), torch.tensor(-0.0)),
    (torch.tensor([1.0]), torch.tensor([math.nextafter(1.0, 2.0)], dtype=torch.float64)),
    (torch.tensor([1, 2], dtype=torch.bfloat16), torch.tensor([1, 3], dtype=torch.bfloat16)),
    (torch.eye(2000).to_sparse(), (torch.eye(2000) * torch.arange(2000)).to_sparse()),
    (torch.nn.Dropout(0.1).train(), torch.nn.Dropout(0.1).eval()),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=map(str, range(len(DIFFERENT))))
def test_different(one, other):
    """Another value, type, order, sign of zero or mode is another digest."""
    assert digest(one) != digest(other)
    assert digest(one) == digest(one) is not None
    assert digest(other) is not None


def test_the_same():
    """Equal bits in other objects, other strides, another order of a set."""
    assert digest(torch.arange(4).reshape(2, 2).T) == digest(torch.tensor([[0, 2], [1, 3]]))
    assert digest({"a", "b", "c"}) == digest({"c", "b", "a"})
    assert digest(math.nan) == digest(math.nan)


def test_one_bit_of_a_large_tensor():
    """A single last bit is seen."""
    one = torch.zeros(100_000)
    other = one.clone()
    other[-1] = 1e-45
    assert digest(one) != digest(other)


def test_a_state_dict():
    """Objects with a state are read by it: optimizers and schedulers among them."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    before = digest(optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert digest(optimizer) != before


def test_what_cannot_be_read():
    """It has no digest; inside something else only its type counts."""
    assert digest(object()) is None
    assert digest([object(), 1]) == digest([object(), 1])
    assert digest([object(), 1]) != digest([object(), 2])


def test_what_holds_itself():
    """A cycle ends."""
    inner = [1]
    inner.append(inner)
    assert digest(inner) == digest(inner)


def test_temporary_tensors():
    """A tensor that is gone lends its digest to no other at the same address."""
    digests = Digests(lambda _: False)
    found = {digests.of([torch.full((3,), float(i))])[0] for i in range(50)}
    assert len(found) == 50


def test_numpy():
    """Arrays and scalars of numpy, by type and bytes."""
    numpy = pytest.importorskip("numpy")
    assert digest(numpy.float32(1)) != digest(numpy.float64(1))
    assert digest(numpy.arange(3)) == digest(numpy.arange(3))
    assert digest(numpy.arange(4)) != digest(numpy.arange(4).reshape(2, 2))
    assert digest(numpy.random.default_rng(1)) != digest(numpy.random.default_rng(2))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"), ("x" * 99, "'" + "x" * 56 + "..."), ([1, 2], "[1, 2]"),
        ([1, 2, 3, 4], "[..., 2, 3, 4]"), (torch.tensor([2.0]), "2.0"),
        (torch.zeros(2, 3), "a tensor of 2x3 numbers"), ({}, ""),
    ],
)  # fmt: skip
def test_shown(value, text):
    """Short values are shown."""
    assert shown(value) == text
