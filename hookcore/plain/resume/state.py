"""Capture: what a run needs to go on from a loop's head, as one snapshot."""

from __future__ import annotations

import copy
import io
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from hookcore.errors import Concern
from hookcore.plain import table
from hookcore.plain.buffers import empty_ones
from hookcore.plain.resume import rng
from hookcore.plain.resume.constants import Constants
from hookcore.plain.resume.levels import Levels, around, concern_inside, concern_of
from hookcore.plain.resume.made import made_by, rebuilt, unmade
from hookcore.plain.resume.outside import place, without
from hookcore.plain.resume.paths import name_of
from hookcore.plain.resume.reach import GRADIENT, GROUPS, Reach
from hookcore.plain.resume.reading import draws
from hookcore.plain.resume.slots import KEEPS_RESULTS
from hookcore.plain.resume.turning import place_of
from hookcore.snapshot import Header, ObjectRecord, Snapshot

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop
    from hookcore.snapshot.model import Kind
    from hookcore.training import Fit


def capture(host: Plain, loop: Loop | None, names: dict[str, Any], reason: str) -> Snapshot:
    """The state of the training at a head, where it is whole.

    Args:
        host: The host; its fit is open.
        loop: The loop whose head it is; None where it is none of the fit's.
        names: Names of the loop's frame and their values.
        reason: Why it was asked for.
    """
    fit, run = host.life.fit, host.run
    assert fit is not None
    roles = host.recognition.roles
    assert roles is not None
    if host.taps is not None:
        host.taps.let_go_of_schedulers(fit)
    site = roles.outer.site if loop is None else loop.site
    frame = {} if loop is None or site.module_level else names
    still = None  # nothing is known of the names of a loop that is not rewritten
    if loop is not None and table.is_rewritten(site.path):
        still = host.heads.still(around(host, loop).site)
    reach = Reach(frame, site.module, table.beside(site.path), still)
    levels = Levels(host, loop, reach)
    lost = _add_fit_objects(reach, fit, levels)
    outside: dict[str, Any] = {}
    objects = [
        record_of(path, thing, outside)
        for path, thing in tuple(reach.objects.items())
        if host.taps is None or not host.taps.feeds.reads_from_state(thing)
    ]
    reach.left_out(outside)
    verdict = host.verdict() or levels.concern
    notes: list[str] = []
    if loop is not None:
        if verdict is None and lost:
            verdict = Concern(
                f"no name of the loop leads to {lost[0]}", "keep it in a variable, or on self"
            )
        if verdict is None:
            anew = Constants(site).anew(goes_on=False)
            stateful, notes = left_out(reach, levels.constants, anew)
        else:
            stateful, notes = left_out(reach, None)
        notes += _kept_results(reach)
        known = host.heads.parts
        verdict = verdict or stateful or rebuilt(reach, known, site.scope, levels.anew)
    records: list[dict[str, Any]] = []
    if verdict is None:
        records, verdict = levels.records()
    if verdict is not None and loop is not None:
        notes.insert(0, f"it cannot be resumed from: {verdict.at(site.where).lines}")
    whole = loop is not None and verdict is None
    kind: Kind = ("epoch" if loop is roles.outer else "mid-epoch") if whole else "partial"
    return Snapshot(
        header=Header(
            kind=kind,
            reason=reason,
            run=run.name,
            argv=run.argv,  # type: ignore[arg-type] # mypy takes the converter's own type variable
        ),
        position={
            **_counters(fit, inside=loop is not None and loop is not roles.outer),
            **(levels.position() if whole else {}),
            "made": made_by(reach, levels.constants) if whole else {},
            "models": [reach.path_of(model) for model in fit.models],
            "optimizers": [reach.path_of(optimizer) for optimizer in fit.optimizers],
            "iterators": {path: place_of(it) for path, it in reach.iterators.items()},
        },
        objects=objects,
        variables=_variables(reach, levels.constants) if whole else {},
        levels=records if whole else [],
        rng={
            "generators": {p: rng.take_generator(g) for p, g in reach.generators.items()},
            "streams": rng.take(),
        },
        plugins=plugin_states(host),
        metrics=dict(run.metrics),
        notes=notes,
    )


def emergency(host: Plain, fit: Fit, reason: str) -> Snapshot:
    """Weights alone, after an exception in the middle of a batch: nobody can resume from it."""
    run = host.run
    return Snapshot(
        header=Header(
            kind="emergency",
            reason=reason,
            run=run.name,
            argv=run.argv,  # type: ignore[arg-type] # as above
        ),
        position={**_counters(fit), "models": [_name(fit, model) for model in fit.models]},
        objects=[record_of(_name(fit, model), model) for model in fit.models],
        metrics=dict(run.metrics),
    )


def verdict(host: Plain, *, inside: bool = False) -> Concern | None:
    """Why the fit's outermost loop cannot be continued from a checkpoint, or None.

    Args:
        host: The host.
        inside: Whether in the middle of an epoch, too.
    """
    roles = host.recognition.roles
    if host.taps is None or roles is None:
        return Concern("no training loop of torch has been recognised", "see:  hookcore explain")
    if host.recognition.by_call:
        return Concern(
            "each call of the instrumented function is an epoch; who calls it is not known",
            "instrument() the function that holds the loop over epochs, or use hookcore run",
        ).at(roles.outer.site.where)
    why = concern_of(host, roles.outer)
    if why is None and inside and roles.batch in host.stack:
        why = concern_inside(host, roles.batch)
    return None if why is None else why.at(roles.outer.site.where)


def plugin_states(host: Plain) -> dict[str, dict[str, Any]]:
    """States of the plugins that have one, and where those stand that want each n-th event."""
    states: dict[str, dict[str, Any]] = {}
    counted = host.life.dispatch.counted
    for record in host.run.plugins:
        if record.status != "active":
            continue
        found: dict[str, Any] = {}
        take = getattr(record.plugin, "state_dict", None)
        if take is not None:
            found["state"] = take()
        if record.name in counted:
            found["counted"] = counted[record.name]
        if found:
            states[record.name] = {"version": record.version, **found}
    return states


def kind_of(thing: Any) -> Any:
    """What an object is to a checkpoint."""
    if isinstance(thing, torch.nn.Module):
        return "module"
    if isinstance(thing, Optimizer):
        return "optimizer"
    if isinstance(thing, (LRScheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)):
        return "scheduler"
    return "scaler" if isinstance(thing, torch.amp.GradScaler) else "stateful"


def class_name(thing: Any) -> str:
    """An object's class, only compared and shown."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def left_out(
    reach: Reach, constants: Constants | None, anew: Collection[str] = ()
) -> tuple[Concern | None, list[str]]:
    """What could not be taken: why nobody can resume without it, and what is only left out.

    Args:
        reach: What the loop's names lead to.
        constants: Tells what the loop can have to do with.
        anew: Names that it binds before it reads them.
    """
    verdict: Concern | None = None if constants is None else unmade(reach, constants)
    notes = []
    if constants is not None:
        for path in (path for path in reach.deep if constants.concerns(path)):
            verdict = verdict or Concern(
                f"{path} lies in too many objects within objects",
                "keep them in a list, or in a dictionary, beside each other",
            )
    for path, value in reach.unknown.items():
        if constants is not None and not constants.concerns(path):
            continue
        if name_of(path) in anew:
            continue
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if hasattr(type(value), "__next__") and not isinstance(value, io.IOBase):
            verdict = verdict or Concern(
                f"{path} is a {kind}, whose place cannot be saved",
                "make it a list, or give it state_dict and load_state_dict, or make it anew in "
                "each epoch and save at the ends of epochs",
            )
        else:
            notes.append(f"{path}, a {kind}, is left as the script makes it")
    return verdict, notes


def _kept_results(reach: Reach) -> list[str]:
    """What is to be said of functions that have kept results, and may have drawn them."""
    kept = {p: f for p, f in reach.definitions.items() if isinstance(f, KEEPS_RESULTS)}
    modules = frozenset(file.module for file in table.rewritten()) if kept else frozenset()
    found = {p: f for p, f in kept.items() if f.__module__ in modules and draws(f, modules)}
    return [
        f"{path} keeps results, which may be random; a resume makes them anew"
        for path, function in (found | reach.caches).items()
        if function.cache_info().currsize
    ]


def held(reach: Reach, constants: Constants) -> dict[str, Any]:
    """The plain values that the loop can have changed."""
    return {
        path: slot.value
        for path, slot in reach.slots.items()
        if not constants.holds(path, slot.value)
    }


def _variables(reach: Reach, constants: Constants) -> dict[str, Any]:
    found = held(reach, constants) | reach.kept
    for path, tensor in reach.tensors.items():
        if tensor.grad is not None:
            found[path + GRADIENT] = tensor.grad
    return found


def record_of(path: str, thing: Any, outside: dict[str, Any] | None = None) -> ObjectRecord:
    """One object with its state.

    Args:
        path: What it is called.
        thing: The object.
        outside: Takes what is in its state and no checkpoint can hold, by path. Of an optimizer
            these are the settings of groups; what it keeps of a tensor it cannot be without.
    """
    kind = kind_of(thing)
    state = thing.state_dict()
    if kind == "optimizer":
        groups, left = without({GROUPS: state[GROUPS]})
        state = {**state, **groups} if left else state
    else:
        state, left = without(state)
    record = ObjectRecord(path, kind, class_name(thing), state)
    if outside is not None:
        others = {keys: part for keys, part in left.items() if not isinstance(part, torch.Tensor)}
        outside |= {place(path, keys): part for keys, part in others.items()}
    if kind == "module":
        buffers = ((n, b) for n, b in thing.named_buffers() if n not in state and not b.is_meta)
        record.extras = {
            "buffers": dict(buffers),
            "empty": empty_ones(thing),
            "training": {n: m.training for n, m in thing.named_modules()},
            "requires_grad": {n: p.requires_grad for n, p in thing.named_parameters()},
            "grads": {n: p.grad for n, p in thing.named_parameters() if p.grad is not None},
        }
    elif kind == "optimizer":
        record.extras = {"stepped": getattr(thing, "_opt_called", False)}
    if left and kind != "optimizer":
        record.extras["outside"] = [list(keys) for keys in left]
    return record


def settings_of(thing: Any) -> Any:
    """The small part of an object's state that code may read before it trains; None for others."""
    kind = kind_of(thing)
    if kind == "scheduler":
        return copy.deepcopy(without(thing.state_dict())[0])
    if kind == "optimizer":
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in thing.param_groups
        ]
        stepped = getattr(thing, "_opt_called", False)
        return copy.deepcopy({"groups": without(groups)[0], "stepped": stepped})
    return None


def _add_fit_objects(reach: Reach, fit: Fit, levels: Levels) -> list[str]:
    """Have every object of the fit in the snapshot; names those that no name leads to."""
    modules = [t for t in reach.objects.values() if isinstance(t, torch.nn.Module)]
    modules += levels.modules()
    inside = {id(m) for module in modules for m in module.modules()}
    lost = []
    for thing in (*fit.models, *fit.optimizers, *fit.schedulers):
        if levels.leads_to(thing) or levels.comes_again(thing):
            continue
        if reach.path_of(thing) is None and id(thing) not in inside:
            path = _name(fit, thing)
            reach.objects[path] = thing
            lost.append(f"{path} ({type(thing).__name__})")
    known = {id(p) for m in (*modules, *fit.models) for p in m.parameters()}
    known |= {id(tensor) for tensor in reach.tensors.values()}
    lost += [
        f"a tensor that {_name(fit, optimizer)} changes"
        for optimizer in fit.optimizers
        if any(id(p) not in known for group in optimizer.param_groups for p in group["params"])
    ]
    return lost


def _name(fit: Fit, thing: Any) -> str:
    for word, group in (("model", fit.models), ("optimizer", fit.optimizers),
                        ("scheduler", fit.schedulers)):  # fmt: skip
        for i, known in enumerate(group):
            if known is thing:
                return word if len(group) == 1 else f"{word}{i}"
    return type(thing).__name__


def _counters(fit: Fit, *, inside: bool = False) -> dict[str, Any]:
    return {
        "fit": fit.index,
        "epoch": fit.epoch + 1,
        "batch": fit.batch + 1 if inside else 0,
        "epochs_done": fit.epochs_done,
        "batches": fit.batches,
        "step": fit.step,
        "samples": fit.samples,
        "validations": fit.validations,
    }
