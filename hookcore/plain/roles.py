"""Who is epoch, who is batch: read off the stack of running loops at the first optimizer step."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from hookcore.plain.sites import Loop, counts, loaders_in

_EPOCH_NAME = re.compile(r"epoch|^ep$", re.IGNORECASE)


@attrs.frozen
class Roles:
    """The loops of one fit.

    Attributes:
        outer: The fit's outermost loop: its epochs, or its batches where there is one level.
        batch: The batch loop.
        between: Loops between the two.
        epochs: Whether ``outer`` counts epochs.
        reason: Why these, in one sentence for ``explain``.
    """

    outer: Loop
    batch: Loop
    between: tuple[Loop, ...]
    epochs: bool
    reason: str


def assign(stack: Sequence[Loop], born: int) -> Roles | None:
    """Read the roles off the stack at the moment of a fit's first step.

    Args:
        stack: The loops that are running, outermost first.
        born: Clock at which the youngest of the trained parameters and their optimizer was made.

    Returns:
        The roles, or None where no loop is running that could have one.
    """
    loops = [loop for loop in stack if may_have_role(loop)]
    while len(loops) > 1 and (loops[-1].over_models or _only_steps(loops)):
        loops.pop()
    if not loops:
        return None
    declared_batch = _declared(loops, "batch")
    if declared_batch is not None:
        loops = loops[: loops.index(declared_batch) + 1]
    declared_epoch = _declared(loops, "epoch")
    if declared_epoch is not None:
        inside = loops[loops.index(declared_epoch) :]
        reason = f"{declared_epoch.site.where} is declared as the loop of epochs"
    else:
        inside = [loop for loop in loops if loop.began > born]
        reason = "the outermost loop that the trained parameters and their optimizer outlive"
        if len(inside) < 2:
            inside = loops[-2:]
            if len(inside) == 2 and inside[0].began <= born:
                reason = "two levels are left, though the parameters are made anew in each epoch"
        while len(inside) > 1 and inside[0].over_models:
            inside = inside[1:]
            reason = "the outermost loop inside the one that trains model after model"
    outer, batch = inside[0], inside[-1]
    if outer is batch:
        return _one_level(outer)
    return Roles(outer, batch, tuple(inside[1:-1]), True, reason)


def may_have_role(loop: Loop) -> bool:
    """Whether a loop that is running can be an epoch's or a batch's.

    One that is fetching cannot: what trains then is its iterable, a generator.
    """
    ours = loop.said not in ("ignore", "validation")
    return ours and loop.inside and loop.role != "validation"


def _only_steps(loops: Sequence[Loop]) -> bool:
    """Whether the innermost loop calls what steps, callbacks say, after the backward around it."""
    inner = loops[-1]
    if inner.backward_in >= 0 or counts(inner) or loaders_in(inner.iterable):
        return False
    return any(loop.backward_in >= 0 for loop in loops)


def _one_level(loop: Loop) -> Roles:
    site = loop.site
    if loop.said == "epoch":
        return Roles(loop, loop, (), True, f"{site.where} is declared as the loop of epochs")
    named = next((name for name in (*site.targets, *site.mentions) if _EPOCH_NAME.search(name)), "")
    if named:
        return Roles(loop, loop, (), True, f"one loop; '{named}' says that it counts epochs")
    return Roles(loop, loop, (), False, "one loop round the step: its iterations are batches")


def _declared(loops: Sequence[Loop], role: str) -> Loop | None:
    return next((loop for loop in loops if loop.said == role), None)
