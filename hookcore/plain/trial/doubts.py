"""What a trial did not understand, and why: one sentence each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hookcore.plain import table
from hookcore.plain.trial.unseen import unseen

if TYPE_CHECKING:
    from hookcore.plain.trial.host import Trial
    from hookcore.plain.trial.strays import Place

Where = Callable[[str, int], str]


def doubts(host: Trial, where: Where) -> list[str]:
    """Everything that a user should know before trusting what was recognised.

    Args:
        host: The trial's host.
        where: Gives a file and line as the user reads them.
    """
    found = [
        f"{where(file.path, 1).rpartition(':')[0]} is left as it is: {file.reason}"
        for file in list(table.FILES.values())
        if file.reason is not None
    ]
    found += [
        f"{where(one.path, one.line)}: {one.name}() is {article(one.kind)}, "
        "and its loops are not seen"
        for one in unseen()
    ]
    found += _nothing(host, where) if host.life.fit is None else _little(host, where)
    return list(dict.fromkeys(found))


def article(kind: str) -> str:
    """A word for people, with its article."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _nothing(host: Trial, where: Where) -> Iterator[str]:
    """Why no fit was recognised."""
    strays = host.strays
    if strays is None:
        yield "the script did not import torch"
        return
    for place in strays.steps:
        yield _stray(place, where)
    if strays.steps:
        return
    if strays.backward is not None:
        at = where(strays.backward.path, strays.backward.line)
        yield f"no optimizer of torch stepped; a backward pass was started at {at}"
        if _compiled_something():
            yield "what happens inside a function that torch.compile has compiled is not heard"
    elif host.run.fits == 0:
        yield "no optimizer stepped, and no backward pass was started"
    # Imported by multiprocessing when the first process of that kind is started.
    if any(name.startswith("multiprocessing.popen_") for name in tuple(sys.modules)):
        yield "the script started other processes; what trains in them is not seen"


def _compiled_something() -> bool:
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo is not None and bool(dynamo.counters["stats"])


def _stray(place: Place, where: Where) -> str:
    at = where(place.path, place.line)
    if place.thread:
        return (
            f"an optimizer steps at {at} in the thread {place.thread!r}; "
            "hookcore follows the thread that the script begins in"
        )
    if place.suspended:
        return (
            f"an optimizer steps at {at} inside {place.suspender}(), {article(place.suspended)}, "
            "whose loops are not seen"
        )
    if place.why:
        return f"an optimizer steps at {at}, and the loops round it are not seen: {place.why}"
    if place.caller is not None:
        return (
            f"an optimizer steps at {at}, called from {where(*place.caller)}; "
            "that file is not taken for the script's own, and its loops are not seen"
        )
    return f"an optimizer steps at {at}, with no loop around it that hookcore sees"


def _little(host: Trial, where: Where) -> Iterator[str]:
    """What of a fit that was recognised may be wrong or missing."""
    fit, roles = host.life.fit, host.recognition.roles
    if fit is None or roles is None:
        return
    around = host.stack[: host.stack.index(roles.outer)] if roles.outer in host.stack else []
    for loop in around:
        at = where(loop.site.path, loop.site.line)
        yield f"there are several fits, one an iteration of {at}; the first alone was tried"
    if host.left_how in ("broke", "returned"):
        word = {"broke": "break", "returned": "return"}[host.left_how]
        count = f"{fit.epoch + 1} epochs" if fit.has_epochs else f"{fit.batches} batches"
        yield f"the outermost loop was left by a {word} after {count} of the trial"
    if fit.validations == 0 and (fit.epochs_done or not fit.has_epochs):
        tried = f"{fit.epochs_done} epochs, " if fit.has_epochs else ""
        yield f"no validation was seen in {tried}{fit.batches} batches; --steps N looks further"
    strays = host.strays
    if strays is not None and strays.evaluation is not None:
        at = where(strays.evaluation.path, strays.evaluation.line)
        yield f"a validation before the first step, as after the eval() at {at}, is none to plugins"
    if strays is not None:
        for place in strays.steps:
            yield _stray(place, where)
    if not fit.models:
        yield "no torch module owns the parameters that are trained: there is no model to plugins"
