"""Reads of tensors' values while a plugin's hook runs: on an accelerator each one waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from hookcore.ledger.account import Meter

_READS = frozenset({
    torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu,
    torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.__complex__,
    torch.Tensor.__index__, torch.Tensor.__contains__, torch.Tensor.nonzero, torch.nonzero,
    torch.equal, torch.Tensor.equal, torch.allclose, torch.Tensor.allclose, torch.is_nonzero,
})  # fmt: skip


class Reads(TorchFunctionMode):
    """Counts the calls, of torch's own Python functions, that give a tensor's value to Python.

    In place only while a hook runs: the training's own calls never pass through it.

    Args:
        meter: Where it counts.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count, and do what was asked for."""
        result = func(*args, **(kwargs or {}))
        if func in _READS or (func is torch.Tensor.to and _came_home(args, result)):
            self._meter.reads += 1
        return result


def _came_home(args: tuple[Any, ...], result: Any) -> bool:
    """Whether ``to`` has brought a tensor to the host."""
    return bool(args) and result.device.type == "cpu" != args[0].device.type
