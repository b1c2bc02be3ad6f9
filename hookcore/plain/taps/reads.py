"""Reads of tensors' values while a plugin's hook runs: on an accelerator each one waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from hookcore.ledger.account import Meter

_READS = frozenset(
    getattr(holder, name)
    for holder in (torch, torch.Tensor)
    for name in (
        # a value becomes Python's, a text or an array of NumPy's
        "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__complex__",
        "__index__", "__contains__", "__format__", "__repr__", "__array__",
        # a value decides what comes next
        "equal", "allclose", "is_nonzero",
        # how much there is of the result depends on it
        "nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount",
    )
    if hasattr(holder, name)
)  # fmt: skip
_MOVES = frozenset({torch.Tensor.to, torch.Tensor.type, torch.Tensor.copy_})


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
        if (
            func in _READS
            or (func in _MOVES and _came_home(args, result))
            or (func is torch.Tensor.__getitem__ and _is_by_value(args[1]))
            or (func is torch.where and len(args) == 1 and not kwargs)
        ):
            self._meter.here.reads += 1
        return result


def _came_home(args: tuple[Any, ...], result: Any) -> bool:
    """Whether a tensor was brought to the host; ``type()`` alone gives a text."""
    if not isinstance(result, torch.Tensor) or result.device.type != "cpu":
        return False
    return any(isinstance(arg, torch.Tensor) and arg.device.type != "cpu" for arg in args)


def _is_by_value(index: Any) -> bool:
    """Whether a tensor's values say how much is taken: a mask, or a bound of a slice."""
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            if any(isinstance(bound, torch.Tensor) for bound in bounds):
                return True
        elif isinstance(part, torch.Tensor) and part.dtype in (torch.bool, torch.uint8):
            return True
    return False
