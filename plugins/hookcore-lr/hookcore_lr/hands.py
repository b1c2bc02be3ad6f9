"""The one place that writes into the user's optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from hookcore_lr.courses import Course


@attrs.define(eq=False)
class Grip:
    """One optimizer in hand.

    Attributes:
        course: Where its rates go.
        written: The rates as they were last written, or found, one a group.
    """

    course: Course
    written: list[float]


class Hands:
    """Writes ``lr``, and momentum where a course moves it, and nothing else.

    No key is added to a parameter group and no method is wrapped. A rate that is a tensor
    (``capturable``) is filled in place.
    """

    def __init__(self) -> None:
        self._grips: dict[Any, Grip] = {}
        # What the loop had set, and what was written last: a fit that begins with the latter
        # begins again from the former.
        self._before: WeakKeyDictionary[Any, tuple[list[float], list[float]]] = WeakKeyDictionary()

    def __contains__(self, optimizer: object) -> bool:
        return optimizer in self._grips

    def __iter__(self) -> Iterator[tuple[Any, Grip]]:
        return iter(tuple(self._grips.items()))

    def get(self, optimizer: Any) -> Grip | None:
        """The optimizer's grip, where it is in hand."""
        return self._grips.get(optimizer)

    def take(
        self,
        optimizer: Any,
        make: Callable[[list[dict[str, Any]]], Course],
        *,
        anew: bool,
        state: Any = None,
    ) -> None:
        """Take an optimizer in hand and write its first rates.

        Args:
            optimizer: One of the user's.
            make: Makes the course from the groups' rates.
            anew: Whether a rate that an earlier fit's course has left there begins again from what
                the loop had set; else it goes on from where it is.
            state: Of the course, when a run is resumed.
        """
        groups = groups_of(optimizer)
        found = [group["lr"] for group in groups]
        base, written = self._before.get(optimizer, (found, found))
        if state is not None:
            base = state["base"]
        elif found != written or not anew:
            base = found
        if len(base) == len(groups):
            for group, lr in zip(groups, base, strict=True):
                group["lr"] = lr
        course = make(groups)
        if state is not None:
            course.load_state_dict(state["course"])
        grip = self._grips[optimizer] = Grip(course, found)
        self.write(optimizer, grip)

    def write(self, optimizer: Any, grip: Grip) -> bool:
        """Write the course's rates; False, and nothing written, where the loop has set others."""
        lrs, written = grip.course.lrs, grip.written
        groups = optimizer.param_groups
        for group, lr in zip(groups, written, strict=False):
            # Reading a tensor would wait for its device, and its float32 is not what was written.
            if not _is_tensor(group["lr"]) and group["lr"] != lr:
                return False
        if lrs != written:
            for group, lr in zip(groups, lrs, strict=False):  # groups added later are left alone
                if _is_tensor(group["lr"]):
                    group["lr"].fill_(lr)
                else:
                    group["lr"] = lr
            grip.written = lrs
        momenta = grip.course.momenta
        if momenta is not None:
            for group, momentum in zip(groups, momenta, strict=False):
                put_momentum(group, momentum)
        self._before[optimizer] = (grip.course.base, lrs)
        return True

    def is_ours(self, optimizer: Any, group: int, lr: float) -> bool:
        """Whether this rate is the one that was written there."""
        grip = self._grips.get(optimizer)
        if grip is None or group >= len(grip.written):
            return False
        return lr == grip.written[group] or _is_tensor(optimizer.param_groups[group]["lr"])

    def release(self) -> None:
        """Let go of all optimizers, as they are."""
        self._grips.clear()


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """What a course needs of an optimizer's groups: ``lr``, and ``momentum`` or ``betas``."""
    return [
        {"lr": float(group["lr"])}
        | {key: group[key] for key in ("momentum", "betas") if key in group}
        for group in optimizer.param_groups
    ]


def put_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set a group's momentum, or the first of its betas."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _is_tensor(lr: Any) -> bool:
    return type(lr) is not float and hasattr(lr, "fill_")
