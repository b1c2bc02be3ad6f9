"""The mean of the steps' own losses, on their device, read without waiting for it."""

from __future__ import annotations

from typing import Any

import torch


class Smoothed:
    """An exponential mean that stays on the device; a value is read an interval after it was.

    ``mean = smoothing * mean + (1 - smoothing) * loss``; the first loss starts it, and a loss that
    is not finite leaves it as it is.

    The value that was current at one decision is asked for there and read at the next one. On a
    CUDA device the copy has long been made by then: what is waited for is an event some steps old,
    never the work in the queue. Which value decides does not depend on how fast the device is, so
    runs repeat bit for bit.

    Args:
        smoothing: Weight of the past, 0 to below 1.
    """

    def __init__(self, smoothing: float) -> None:
        self._weight = 1.0 - smoothing
        self._mean: torch.Tensor | None = None
        self._asked: _Asked | None = None

    @torch.no_grad()
    def add(self, loss: torch.Tensor, scaler: Any = None) -> None:
        """Take in a loss.

        Args:
            loss: What ``backward`` is called on; several elements count by their sum's gradient,
                so their mean is taken.
            scaler: The ``GradScaler`` that has scaled it, or None.
        """
        value = loss.detach()
        if value.dtype is not torch.float32:
            value = value.float()
        if value.dim():
            value = value.mean()
        if scaler is not None and scaler.is_enabled():
            # The scale is a tensor on the device; get_scale() would wait for it.
            value = value / scaler.scale(torch.ones_like(value))
        mean = self._mean
        if mean is None:
            self._mean = value.clone()
        else:
            moved = torch.lerp(mean, value, self._weight)
            started = torch.where(torch.isfinite(mean), moved, value)
            mean.copy_(torch.where(torch.isfinite(value), started, mean))

    def read(self) -> float | None:
        """The mean as it was at the last call, and ask for the one of now; None the first time."""
        before = self._asked
        self._asked = None if self._mean is None else _Asked(self._mean)
        return None if before is None else before.value()

    def state_dict(self) -> dict[str, Any]:
        """The mean and the value that was asked for, as numbers; waits for the device."""
        return {
            "mean": None if self._mean is None else float(self._mean),
            "asked": None if self._asked is None else self._asked.value(),
        }

    def load_state_dict(self, state: dict[str, Any], device: Any) -> None:
        """Go on from there."""
        mean, asked = (
            None if state[key] is None else torch.tensor(state[key], device=device)
            for key in ("mean", "asked")
        )
        self._mean = mean
        self._asked = None if asked is None else _Asked(asked)


class _Asked:
    """A value on its way to the host."""

    def __init__(self, value: torch.Tensor) -> None:
        self._event: Any = None
        if value.device.type == "cuda":
            self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._host.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._host = value.clone()

    def value(self) -> float:
        """The number. Waits for the copy alone, which is an interval old."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.item()
