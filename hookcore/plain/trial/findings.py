"""What a trial has found, as plain values that a report is made of."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hookcore.plain import table
from hookcore.plain.roles import Roles
from hookcore.plain.sites import Loop
from hookcore.plain.table import Site
from hookcore.plain.trial.doubts import article, doubts
from hookcore.plain.trial.host import Drawn, Met, Trial
from hookcore.plain.trial.stopping import stopping
from hookcore.plain.trial.tally import Tally
from hookcore.plain.trial.unseen import unseen

if TYPE_CHECKING:
    from hookcore.plain.trial.names import Names

Where = Callable[[str, int], str]

_DECLARE = "say which loops they are:  hookcore.epochs(...) and hookcore.batches(...)"
_UNSAVED = "have the state_dict of each object be read without an error"
_EVALUATED = "a trained model is called in it, in eval mode or without gradients"


def findings(host: Trial, tally: Tally, where: Where) -> dict[str, Any]:
    """Describe the fit that is open, or say why there is none.

    Args:
        host: The trial's host.
        tally: Its listener.
        where: Gives a file and line as the user reads them.
    """
    roles, fit = host.recognition.roles, host.life.fit
    found: dict[str, Any] = {
        "recognised": roles is not None and fit is not None,
        "loops": [],
        "events": dict(tally.counts),
        "claims": host.run.claims,
        "not_understood": doubts(host, where),
    }
    found["other_loops"] = list(_others(host, where))
    found["resume"] = _resume(host)
    if roles is None or fit is None:
        return found
    from hookcore.plain.trial.names import Names  # with a fit, the script has imported torch

    names = Names(host.names, roles.outer.site.module)
    found["loops"] = list(_loops(host, roles, where))
    found["tried"] = {
        "epochs": fit.epoch + 1 if fit.has_epochs else None,
        "batches": fit.batches,
        "steps": fit.step,
        "validations": fit.validations,
    }
    found["models"] = [_model(model, names) for model in fit.models]
    found["optimizers"] = [_optimizer(one, names) for one in fit.optimizers]
    found["schedulers"] = [_named(one, names) for one in fit.schedulers]
    found["scalers"] = [_named(one, names) for one in fit.scalers]
    found["loaders"] = [_loader(drawn, names, where) for drawn in host.drawn]
    found["metrics"] = list(_metrics(host, tally))
    found["stopping"] = stopping(roles.outer.site)
    return found


# -- loops -----------------------------------------------------------------------------------


def _loops(host: Trial, roles: Roles, where: Where) -> Iterator[dict[str, Any]]:
    fit = host.life.fit
    assert fit is not None
    resume = _resume(host)
    resumes = "" if resume["possible"] else f"no resume begins at it: {resume['why']}"
    for loop in host.stack[: host.stack.index(roles.outer)]:
        why = "each of its iterations is a fit of its own: the trained parameters, or their "
        why += "optimizer, are made anew in it"
        why = _with_origin(host, loop, "ignore", why)
        row = _row("around the fit", loop.site, _total(host, loop), why, where)
        yield {**row, "controlled": "", "not": "no event is its own, and no stop ends it"}
    if roles.epochs:
        why = _with_origin(host, roles.outer, "epoch", roles.reason)
        row = _row("epoch", roles.outer.site, _total(host, roles.outer), why, where)
        yield {**row, "controlled": "its iterations are epochs; a stop ends it", "not": resumes}
    for loop in roles.between:
        why = "stands between the epochs and the batches; plugins hear nothing of it"
        row = _row("between", loop.site, _total(host, loop), why, where)
        controlled = "a stop that is for now ends it"
        yield {**row, "controlled": controlled, "not": "its iterations are no event"}
    if roles.batch is not roles.outer or not roles.epochs:
        inner = "the innermost loop around the optimizer's step"
        why = _with_origin(host, roles.batch, "batch", inner if roles.epochs else roles.reason)
        row = _row("batch", roles.batch.site, _total(host, roles.batch), why, where)
        now = "that is for now " if roles.epochs else ""
        controlled = f"its iterations are batches; a stop {now}ends it"
        yield {**row, "controlled": controlled, "not": "" if roles.epochs else resumes}
    for number in host.evaluated_at:
        site, met = table.SITES[number], host.met.get(number, Met())
        said = host.overrides.role(site) == "validation"
        why = f"declared by {host.overrides.origin(site)}" if said else _EVALUATED
        row = _row("validation", site, met.total, why, where)
        controlled = "its iterations are batches of a validation"
        yield {**row, "controlled": controlled, "not": "a stop does not end it"}


def _with_origin(host: Trial, loop: Loop, role: str, reason: str) -> str:
    """Why a loop has its role, and who said so."""
    if loop.said != role:
        return reason
    origin = host.overrides.origin(loop.site)
    return f"declared by {origin}" if origin else reason


def _row(role: str, site: Site, total: int | None, why: str, where: Where) -> dict[str, Any]:
    return {
        "role": role,
        "where": where(site.path, site.line),
        "kind": site.kind,
        "scope": site.scope,
        "total": total,
        "reason": why,
    }


def _total(host: Trial, loop: Loop) -> int | None:
    return loop.total if loop.total is not None else host.met.get(loop.site.id, Met()).total


def _others(host: Trial, where: Where) -> Iterator[dict[str, Any]]:
    """Loops that have no role in the fit; those of the user's files alone are sites."""
    roles = host.recognition.roles
    taken = set(host.evaluated_at) | {loop.site.id for loop in host.stack}
    if roles is not None:
        taken |= {loop.site.id for loop in (roles.outer, *roles.between, roles.batch)}
    for site in list(table.SITES.values()):
        if site.id in taken or site.ordinal < 0:
            continue
        met = host.met.get(site.id)
        if met is None and not site.may_step:
            continue
        why = _why_none(host, site, met)
        row = _row("none", site, None if met is None else met.total, why, where)
        yield {**row, "controlled": "", "not": why}
    for one in unseen():
        for loop in one.loops:
            kind = "for" if isinstance(loop, (ast.For, ast.AsyncFor)) else "while"
            why = f"{one.name}() is {article(one.kind)}: its loops are not followed"
            yield {
                "role": "none", "where": where(one.path, loop.lineno), "kind": kind,
                "scope": one.name, "total": None, "reason": why, "controlled": "", "not": why,
            }  # fmt: skip


def _why_none(host: Trial, site: Site, met: Met | None) -> str:
    said = host.overrides.role(site)
    if said is not None:
        return f"{host.overrides.origin(site)} says: {said}"
    if met is None:
        return "was not reached in the trial"
    if met.over_models:
        return "goes over models or optimizers, each of which steps in turn"
    return "no optimizer stepped and no trained model was evaluated in it"


# -- objects ---------------------------------------------------------------------------------


def _named(thing: Any, names: Names) -> dict[str, Any]:
    return {"name": names.of(thing), "class": type(thing).__name__}


def _model(model: Any, names: Names) -> dict[str, Any]:
    parameters = list(model.parameters())
    return {
        **_named(model, names),
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }


def _optimizer(optimizer: Any, names: Names) -> dict[str, Any]:
    return {
        **_named(optimizer, names),
        "groups": [
            {"lr": _plain(group.get("lr")), "parameters": sum(p.numel() for p in group["params"])}
            for group in optimizer.param_groups
        ],
    }


def _loader(drawn: Drawn, names: Names, where: Where) -> dict[str, Any]:
    loader, site = drawn.loader, table.SITES[drawn.site]
    role = "validation" if drawn.role == "validation" else "training"
    return {
        **_named(loader, names),
        "role": "other" if drawn.role is None else role,
        "where": where(site.path, site.line),
        "dataset": type(loader.dataset).__name__,
        "samples": _length(loader.dataset),
        "batches": drawn.total,
        "batch_size": loader.batch_size,
        "workers": loader.num_workers,
    }


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except Exception:  # noqa: BLE001 - a user's __len__ may raise anything; then there is none
        return None


# -- values ----------------------------------------------------------------------------------


def _metrics(host: Trial, tally: Tally) -> Iterator[dict[str, Any]]:
    for name in host.run.metrics.names:
        yield {
            "name": name,
            "value": _plain(host.run.metrics[name]),
            "source": tally.sources.get(name, ""),
            "where": host.scalars.places.get(name, ""),
        }


def _plain(value: Any) -> float | str | None:
    """A number as JSON has it; inf and nan become text."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _resume(host: Trial) -> dict[str, Any]:
    """What a resume can promise: exact, exact-at-epoch, observe-only or refused; and why."""
    notes = [] if host.snapshot is None else list(host.snapshot.notes)
    if host.recognition.roles is None:
        return _verdict("refused", "no training loop was recognised", _DECLARE, notes)
    why = host.verdict()
    if host.unsaved is not None:
        return _verdict("refused", host.unsaved, _UNSAVED, notes)
    if why is not None:
        return _verdict("observe-only", why, why.remedy, notes[1:])
    if host.snapshot is not None and host.snapshot.header.kind != "epoch":
        said, _, remedy = notes.pop(0).partition(": ")[2].partition("\n")
        return _verdict("observe-only", said, remedy.strip(), notes)
    if host.inside:
        return _verdict("exact-at-epoch", host.inside, host.inside.remedy, notes)
    return _verdict("exact", None, None, notes)


def _verdict(word: str, why: str | None, remedy: str | None, notes: list[str]) -> dict[str, Any]:
    possible = word.startswith("exact")
    return {
        "verdict": word,
        "possible": possible,
        "why": None if possible else why,
        "inside": why if possible else None,
        "remedy": remedy,
        "notes": notes,
    }
