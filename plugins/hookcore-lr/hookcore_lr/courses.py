"""Where a learning rate goes, one course an optimizer: plain arithmetic, no torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Protocol

import hookcore

ARGUMENTS = ("step", "epoch", "lr", "base_lr", "group")
"""What a function of the policy "function" may name."""


class Course(Protocol):
    """The learning rates of one optimizer's parameter groups, now and later."""

    @property
    def base(self) -> list[float]:
        """The rates that the loop set, one a group."""

    @property
    def lrs(self) -> list[float]:
        """The rates for the next step, one a group."""

    @property
    def momenta(self) -> list[float] | None:
        """Momentum or beta1 for the next step, where the course moves it; else None."""

    @property
    def over(self) -> bool:
        """Whether the rates will not change any more."""

    def advance(self, value: float, epoch: int) -> None:
        """Go on by one: a step, an epoch or an arrival, as the policy counts.

        Args:
            value: What arrived; NaN where the course goes by the count alone.
            epoch: Index of the epoch that the rates will be for, from 0.
        """

    def state_dict(self) -> dict[str, Any]:
        """Its place, as plain values, without the options."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a place."""


class LossCourse:
    """Grows the rate while the smoothed loss falls and shrinks it where the loss rises.

    The rule is the "bold driver" (Battiti, "Accelerated backpropagation learning", 1989; Vogl et
    al. 1988), taken from epochs to every few steps, and on a mean because a batch's loss is noisy:
    ``lr *= grow`` if it has fallen since the last decision, ``lr *= shrink`` if it has risen.

    Args:
        base: Rates that the loop set, one a group.
        grow: Factor where the loss fell, at least 1.
        shrink: Factor where it rose, at most 1.
        target: A loss as low as this makes the rate shrink; None for no target.
        lower: Lower bounds, one a group.
        upper: Upper bounds, one a group.
    """

    momenta = None
    over = False

    def __init__(
        self, base: Sequence[float], *, grow: float, shrink: float, target: float | None,
        lower: Sequence[float], upper: Sequence[float],
    ) -> None:  # fmt: skip
        self.base = list(base)
        self.lrs = list(base)
        self._grow, self._shrink, self._target = grow, shrink, target
        self._lower, self._upper = list(lower), list(upper)
        self._before: float | None = None

    def advance(self, value: float, epoch: int) -> None:  # noqa: ARG002 - a course's signature
        """Decide by the smoothed loss; a value that is not finite decides nothing."""
        if not math.isfinite(value):
            return
        before, self._before = self._before, value
        factor = 1.0
        if self._target is not None and value <= self._target:
            factor = self._shrink
        elif before is not None and value != before:
            factor = self._grow if value < before else self._shrink
        if factor != 1.0:
            bounds = zip(self.lrs, self._lower, self._upper, strict=True)
            # A rate that starts outside its bounds is not pulled in at once: it may only come back.
            self.lrs = [
                max(lr * factor, min(low, lr)) if factor < 1 else min(lr * factor, max(high, lr))
                for lr, low, high in bounds
            ]

    def state_dict(self) -> dict[str, Any]:
        """Rates, and the loss of the last decision."""
        return {"lrs": self.lrs, "before": self._before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.lrs, self._before = list(state["lrs"]), state["before"]


class FunctionCourse:
    """Asks a user's function.

    Args:
        base: Rates that the loop set, one a group.
        function: Called with those of :data:`ARGUMENTS` that it names.
        returns: Whether it returns a factor of the base rate, or the rate.
        epoch: Index of the first epoch.
    """

    momenta = None
    over = False

    def __init__(
        self, base: Sequence[float], function: Callable[..., Any], returns: Literal["factor", "lr"],
        epoch: int = 0,
    ) -> None:  # fmt: skip
        self.base = list(base)
        self.lrs = list(base)
        self._function, self._returns = function, returns
        self._wanted = wanted(function)
        self._calls = 0
        self._ask(epoch)

    def advance(self, value: float, epoch: int) -> None:  # noqa: ARG002 - a course's signature
        """The next rates."""
        self._calls += 1
        self._ask(epoch)

    def _ask(self, epoch: int) -> None:
        self.lrs = [self._one(group, epoch) for group in range(len(self.base))]

    def _one(self, group: int, epoch: int) -> float:
        base = self.base[group]
        values = (self._calls, epoch, self.lrs[group], base, group)
        known = dict(zip(ARGUMENTS, values, strict=True))
        given = self._function(**{name: known[name] for name in self._wanted})
        try:
            lr = float(given) * (base if self._returns == "factor" else 1.0)
        except (TypeError, ValueError):
            lr = math.nan
        if not math.isfinite(lr) or lr < 0:
            raise hookcore.HookcoreError(
                f"the function of policy 'function' returned {given!r}",
                f"a {self._returns} is a finite number, not below zero",
                "the learning rate stays as it was",
            )
        return lr

    def state_dict(self) -> dict[str, Any]:
        """Calls so far, and the rates."""
        return {"lrs": self.lrs, "calls": self._calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.lrs, self._calls = list(state["lrs"]), state["calls"]


def load_function(spelled: str, plugin: str) -> Callable[..., Any]:
    """The function behind ``module:name``.

    Raises:
        UsageError: It cannot be imported, is no function, or names unknown arguments.
    """
    what = f"{plugin}.function = {spelled!r} cannot be used"
    module, colon, name = spelled.partition(":")
    if not module or not colon or not name:
        raise hookcore.UsageError(what, "it is no module:name", "write:  package.module:function")
    try:
        function = import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as error:
        raise hookcore.UsageError(
            what,
            f"{type(error).__name__}: {error}",
            f'try it:  python -c "from {module} import {name}"',
        ) from error
    if not callable(function):
        raise hookcore.UsageError(
            what, f"it is a {type(function).__name__}, no function", "name a function"
        )
    unknown = [name for name in wanted(function) if name not in ARGUMENTS]
    if unknown:
        raise hookcore.UsageError(
            what,
            f"it asks for {', '.join(unknown)}",
            f"a function may name:  {', '.join(ARGUMENTS)}",
        )
    return function


def wanted(function: Callable[..., Any]) -> list[str]:
    """The arguments that a function names: those without a default, and those we know."""
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            return list(ARGUMENTS)
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if name in ARGUMENTS or parameter.default is parameter.empty:
            found.append(name)
    return found
