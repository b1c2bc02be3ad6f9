"""The mean of the losses: its numbers, when it is read, and what reading costs."""

from __future__ import annotations

import math

import pytest

pytestmark = pytest.mark.torch


def feed(values, smoothing=0.5):
    import torch

    from hookcore_lr.smoothed import Smoothed

    mean = Smoothed(smoothing)
    for value in values:
        mean.add(torch.tensor(value, requires_grad=True) * 1.0)
    return mean


def test_it_is_an_exponential_mean():
    """The first loss starts it; a loss that is not finite leaves it alone."""
    assert feed([4.0, 2.0, 1.0]).state_dict()["mean"] == pytest.approx(2.0)
    assert feed([4.0, math.nan, 2.0, math.inf, 1.0]).state_dict()["mean"] == pytest.approx(2.0)
    assert feed([math.nan, 4.0, 2.0]).state_dict()["mean"] == pytest.approx(3.0)


def test_several_elements_count_by_their_mean():
    """As ``loss.backward(gradient)`` on a vector."""
    import torch

    mean = feed([])
    mean.add(torch.tensor([1.0, 3.0]))
    mean.add(torch.tensor([[4.0]], dtype=torch.bfloat16))
    assert mean.state_dict()["mean"] == pytest.approx(3.0)


def test_a_value_is_read_an_interval_later():
    """Whatever the device, so that runs repeat."""
    import torch

    mean = feed([])
    assert mean.read() is None
    mean.add(torch.tensor(4.0))
    assert mean.read() is None
    mean.add(torch.tensor(2.0))
    assert mean.read() == 4.0
    assert mean.read() == 3.0


def test_adding_reads_nothing():
    """No value goes to the host while losses arrive: on a device that would be a wait."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    mean = feed([1.0])
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    with Reads() as reads:
        for _ in range(5):
            mean.add(torch.tensor(3.0), scaler)
        assert reads.count == 0
        mean.read()
        assert reads.count == 0
        mean.read()
        assert reads.count == 1


def test_a_scaler_s_factor_is_taken_out():
    """The scale may change; the loss is the loss."""
    import torch

    mean = feed([])
    for scale in (2.0**16, 4.0):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        mean.add(scaler.scale(torch.tensor(3.0)), scaler)
    mean.add(torch.tensor(3.0), torch.amp.GradScaler("cpu", enabled=False))
    assert mean.state_dict()["mean"] == pytest.approx(3.0)


def test_no_graph_is_kept():
    """The mean pins no activations."""
    import torch

    mean = feed([1.0, 2.0])
    assert not mean._mean.requires_grad
    loss = torch.ones((), requires_grad=True) * 2
    mean.add(loss)
    loss.add_(5)
    assert mean.state_dict()["mean"] == pytest.approx(1.75)


def test_a_resume():
    """Mean and the value on its way travel as numbers."""
    import torch

    mean, again = feed([4.0, 2.0]), feed([])
    mean.read()
    again.load_state_dict(mean.state_dict(), "cpu")
    for it in (mean, again):
        it.add(torch.tensor(1.0))
    assert mean.read() == again.read() == 3.0
    assert mean.read() == again.read() == 2.0
    empty = feed([])
    empty.load_state_dict(feed([]).state_dict(), "cpu")
    assert empty.read() is None


def test_on_a_gpu_nothing_waits():
    """The same numbers, with torch set to raise where a call waits for the device."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    mean, there = feed([4.0]), feed([])
    there.add(torch.tensor(4.0, device="cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        numbers = []
        for value in (2.0, 1.0, 5.0):
            mean.add(torch.tensor(value))
            there.add(torch.full((), value, device="cuda"))
            numbers.append((mean.read(), there.read()))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [a for a, _ in numbers] == [b for _, b in numbers]
