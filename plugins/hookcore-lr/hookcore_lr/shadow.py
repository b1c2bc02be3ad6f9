"""torch's own schedulers, at work on an optimizer that holds nothing.

The user's optimizer would get new keys in its ``state_dict`` and a wrapped ``step`` from a
scheduler; a shadow takes these instead, and only the rates are copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import Optimizer

from hookcore_lr.hands import put_momentum


class Shadow(Optimizer):
    """An optimizer with the groups of another one and no parameters to speak of.

    Args:
        groups: ``lr`` and, where there is one, ``momentum`` or ``betas`` of each group.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        mine = [{"params": [torch.zeros(0)], **group} for group in groups]
        super().__init__(mine, {name: value for group in groups for name, value in group.items()})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing. A scheduler wants to have seen a step before its own first one."""

    # torch wraps a step that lacks this mark so that its global hooks fire, and hookcore would
    # take the shadow for an optimizer that trains. A test holds torch to it.
    step.hooked = True  # type: ignore[attr-defined]


class _Shadowed:
    """What both kinds of courses do with their shadow."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.base = [float(group["lr"]) for group in groups]
        self.momenta: list[float] | None = None
        self.over = False
        self.lrs = self.base
        self._shadow = Shadow(groups)

    def _read(self) -> None:
        """The rates for the next step, one a group."""
        self.lrs = [float(group["lr"]) for group in self._shadow.param_groups]

    def _put(self, lrs: Sequence[float]) -> None:
        for group, lr in zip(self._shadow.param_groups, lrs, strict=True):
            group["lr"] = lr
        self.lrs = list(lrs)


class ScheduleCourse(_Shadowed):
    """Rates by the count: a scheduler of torch, held at its last value when it is through.

    Args:
        groups: As for :class:`Shadow`.
        make: Makes the scheduler.
        length: Advances until it is through.
        cycles_momentum: Whether the scheduler moves momentum or beta1 too.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        make: Callable[[Optimizer], lr_scheduler.LRScheduler],
        length: int,
        *,
        cycles_momentum: bool = False,
    ) -> None:
        super().__init__(groups)
        self._scheduler = make(self._shadow)
        self._shadow.step()
        self._length, self._done = length, 0
        self._cycles = cycles_momentum
        self._read()

    def advance(self, value: float, epoch: int) -> None:  # noqa: ARG002 - a course's signature
        """One step of the scheduler."""
        if self._done < self._length:
            self._done += 1
            self._scheduler.step()
            self._read()

    def _read(self) -> None:
        super()._read()
        self.over = self._done >= self._length
        if self._cycles:
            self.momenta = [
                group["betas"][0] if "betas" in group else group["momentum"]
                for group in self._shadow.param_groups
            ]

    def state_dict(self) -> dict[str, Any]:
        """Its count, and the rates: torch's schedulers compute each from the one before."""
        return {"lrs": self.lrs, "momenta": self.momenta, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the options are those of now."""
        self._done = self._scheduler.last_epoch = min(state["done"], self._length)
        self._put(state["lrs"])
        if self._cycles and state["momenta"] is not None:
            for group, momentum in zip(self._shadow.param_groups, state["momenta"], strict=True):
                put_momentum(group, momentum)
        self._read()


class PlateauCourse(_Shadowed):
    """Rates by a monitored value: ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    Args:
        groups: As for :class:`Shadow`.
        mode: Whether lower or higher values are better.
        min_lr: Lower bounds, one a group.
        **options: The scheduler's others, by their names.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        *,
        mode: Literal["min", "max"],
        min_lr: Sequence[float],
        **options: Any,
    ) -> None:
        super().__init__(groups)
        self._scheduler = lr_scheduler.ReduceLROnPlateau(
            self._shadow, mode=mode, min_lr=list(min_lr), **options
        )

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._scheduler.best if math.isfinite(self._scheduler.best) else None

    def advance(self, value: float, epoch: int) -> None:  # noqa: ARG002 - a course's signature
        """Count a value."""
        self._scheduler.step(value)
        self._read()

    def state_dict(self) -> dict[str, Any]:
        """Its counts."""
        counting = self._scheduler
        return {
            "lrs": self.lrs,
            "best": counting.best,
            "bad": counting.num_bad_epochs,
            "cooldown": counting.cooldown_counter,
            "values": counting.last_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the options are those of now."""
        counting = self._scheduler
        counting.best, counting.num_bad_epochs = state["best"], state["bad"]
        counting.cooldown_counter, counting.last_epoch = state["cooldown"], state["values"]
        self._put(state["lrs"])
