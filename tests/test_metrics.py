"""Values that stay on their device until somebody reads them."""

from __future__ import annotations

import math
import weakref

import pytest

from hookcore.metrics import Metrics, Readings, is_scalar, keep, number


class Lazy:
    """A number that counts how often it is read."""

    shape, dtype = (), "float32"

    def __init__(self, value):
        self.value, self.read = value, 0

    def item(self):
        self.read += 1
        return self.value


@pytest.mark.parametrize("value", [1, 2.5, True, math.nan, Lazy(1.0)])
def test_scalars(value):
    """Numbers of Python, and whatever has shape, dtype and item like one number."""
    assert is_scalar(value)


@pytest.mark.parametrize("value", [None, "1", [1.0], (1,), {"a": 1}, 1j, object(), print])
def test_no_scalars(value):
    """Everything else is no metric."""
    assert not is_scalar(value)


def test_reading_converts_once():
    """The device is waited for at the first reading, and never again."""
    lazy = Lazy(3.0)
    readings = Readings({"loss": lazy})
    assert "loss" in readings
    assert list(readings) == ["loss"]
    assert lazy.read == 0
    assert readings["loss"] == 3.0
    assert readings["loss"] == 3.0
    assert lazy.read == 1


def test_latest_waits_for_nothing():
    """The raw value, or None."""
    lazy = Lazy(3.0)
    readings = Readings({"loss": lazy})
    assert readings.latest("loss") is lazy
    assert readings.latest("other") is None
    assert lazy.read == 0


def test_showing_a_mapping_reads_nothing():
    """A debugger that shows it does not wait for the device."""
    lazy = Lazy(3.0)
    assert repr(Readings({"loss": lazy})) == "Readings(loss)"
    assert lazy.read == 0


def test_metrics_hold_the_latest_of_each_name():
    """In the order of their first arrival."""
    metrics = Metrics()
    metrics.arrive({"loss": 2.0, "acc": 0.5})
    new = metrics.arrive({"loss": 1.0})
    assert metrics.names == ("loss", "acc")
    assert dict(metrics) == {"loss": 1.0, "acc": 0.5}
    assert dict(new) == {"loss": 1.0}


def test_a_name_that_arrives_while_one_iterates():
    """A display's thread may iterate while the loop delivers."""
    metrics = Metrics()
    metrics.arrive({"a": 1.0, "b": 2.0})
    for _ in metrics:
        metrics.arrive({"c": 3.0})
    assert len(metrics) == 3


def test_refresh_asks_and_returns():
    """It is the host's to read, at the end of the batch."""
    asked = []
    Metrics(lambda: asked.append(True)).refresh()
    assert asked == [True]
    Metrics().refresh()


@pytest.mark.torch
def test_a_kept_tensor_pins_nothing():
    """No graph, no memory of a batch that it is a view of."""
    import torch

    weight = torch.ones(1000, requires_grad=True)
    big = weight * 2
    loss = big.sum()
    graph = weakref.ref(big)
    view = big[0]
    kept, other = keep(loss), keep(view)
    assert kept.grad_fn is None
    assert other.untyped_storage().nbytes() == 4
    del loss, view, big
    assert graph() is None
    assert number(kept) == 2000.0


@pytest.mark.torch
def test_tensors_that_are_scalars():
    """One element of whatever shape; complex ones are none."""
    import torch

    assert is_scalar(torch.tensor(1.0))
    assert is_scalar(torch.ones(1, 1))
    assert is_scalar(torch.tensor(True))
    assert not is_scalar(torch.ones(2))
    assert not is_scalar(torch.tensor(1j))
    assert not is_scalar(torch.nn.Linear(1, 1))
