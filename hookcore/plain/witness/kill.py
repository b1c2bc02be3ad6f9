"""A death by SIGKILL at a wanted moment: nothing of the process gets to say a last word."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class MidStep(TorchFunctionMode):
    """Kills after the first change in place: one tensor is updated, the others are not.

    Begun as a step begins, and never left, for the step is the last thing that happens.

    Args:
        kill: Does it.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        super().__init__()
        self._kill = kill

    def begin(self) -> None:
        """See every function of torch from now on."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch in place of each of its functions."""
        del types
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__") and name != "requires_grad_":
            self._kill()
        return result


def die() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
