"""Capture: what a run needs to go on from a loop's head, as one snapshot."""

from __future__ import annotations

import io
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from hookcore.plain import rng, table
from hookcore.plain.constants import Constants
from hookcore.plain.reach import GRADIENT, Reach
from hookcore.plain.turning import place_of
from hookcore.snapshot import Header, ObjectRecord, Snapshot

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop
    from hookcore.training import Fit

# Loggers, locks, parsers: what of theirs changes is not the training's.
_NO_STATE = {*sys.stdlib_module_names, "hookcore"}
_PURE = (range, list, tuple, str, dict, itertools.count)


def capture(host: Plain, loop: Loop | None, names: dict[str, Any], reason: str) -> Snapshot:
    """The state of the training at a head, where it is whole.

    Args:
        host: The host; its fit is open.
        loop: The fit's outermost loop, at its head; None at another head, from which a run cannot
            be continued yet.
        names: Names of the loop's frame and their values.
        reason: Why it was asked for.
    """
    fit, run = host.life.fit, host.run
    assert fit is not None
    roles = host.recognition.roles
    assert roles is not None
    site = roles.outer.site
    frame = {} if loop is None or site.module_level else names
    reach = Reach(frame, site.module, table.beside(site.path))
    lost = _add_fit_objects(reach, fit)
    verdict = host.verdict()
    notes: list[str] = []
    if loop is not None:
        verdict = verdict or (f"no name of the loop leads to {lost[0]}" if lost else None)
        stateful, notes = _left_out(reach, Constants(loop.site) if verdict is None else None)
        verdict = verdict or stateful
    if verdict is not None and loop is not None:
        notes.insert(0, f"it cannot be resumed from: {verdict}")
    whole = loop is not None and verdict is None
    return Snapshot(
        header=Header(
            kind="epoch" if whole else "mid-epoch",
            reason=reason,
            run=run.name,
            argv=run.argv,  # type: ignore[arg-type] # mypy takes the converter's own type variable
        ),
        position={
            **_position(host, loop if whole else None),
            "models": [reach.path_of(model) for model in fit.models],
            "iterators": {path: place_of(it) for path, it in reach.iterators.items()},
        },
        objects=[_record(path, thing) for path, thing in reach.objects.items()],
        variables=_variables(reach, loop) if whole and loop is not None else {},
        rng={
            "streams": rng.take(),
            "generators": {p: rng.take_generator(g) for p, g in reach.generators.items()},
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
        objects=[_record(_name(fit, model), model) for model in fit.models],
        metrics=dict(run.metrics),
    )


def verdict(host: Plain) -> str | None:
    """Why the fit's outermost loop cannot be continued from a checkpoint, or None."""
    roles = host.recognition.roles
    if host.taps is None or roles is None:
        return "no training loop of torch has been recognised"
    if host.recognition.by_call:
        return "each call of the instrumented function is an epoch; who calls it is not known"
    site = roles.outer.site
    if site.path not in {file.path for file in table.rewritten()}:
        return f"the loop at {site.where} is not rewritten"
    if not site.module_level and not site.names:
        return f"the loop at {site.where} stands where its variables cannot be restored"
    if site.kind == "comprehension":
        return f"the loop at {site.where} is a comprehension"
    if site.kind == "for" and not _pure(roles.outer.iterable):
        kind = type(roles.outer.iterable).__name__
        return f"the loop at {site.where} iterates over a {kind}, which cannot be wound forward"
    for loader in host.life.fit.loaders if host.life.fit is not None else ():
        if getattr(loader, "persistent_workers", False):
            return "a DataLoader keeps its workers from epoch to epoch, and their random states"
    return None


def site_key(loop: Loop, folder: str) -> list[Any]:
    """What identifies a loop in every process that runs the same script from the same folder."""
    return list(loop.site.key(folder))


def digests(loop: Loop, folder: str) -> dict[str, str]:
    """Digests of the syntax trees that the loop's resume depends on, by relative path."""
    found = {}
    for running in (*loop.host.stack[: loop.host.stack.index(loop)], loop):
        for file in table.rewritten():
            if file.path == running.site.path:
                found[os.path.relpath(file.path, folder)] = file.digest
    return found


def plugin_states(host: Plain) -> dict[str, dict[str, Any]]:
    """States of the plugins that have one."""
    states = {}
    for record in host.run.plugins:
        take = getattr(record.plugin, "state_dict", None)
        if record.status == "active" and take is not None:
            states[record.name] = {"version": record.version, "state": take()}
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


def _left_out(reach: Reach, constants: Constants | None) -> tuple[str | None, list[str]]:
    """What could not be taken: why nobody can resume without it, and what is only left out."""
    verdict: str | None = None
    notes = []
    for path, value in reach.unknown.items():
        if constants is not None and not constants.concerns(path):
            continue
        module = type(value).__module__
        kind = f"{module}.{type(value).__qualname__}"
        if hasattr(type(value), "__next__") and not isinstance(value, io.IOBase):
            verdict = verdict or f"{path} is a {kind}, whose place cannot be saved"
        elif module.partition(".")[0] not in _NO_STATE:
            notes.append(f"{path}, a {kind}, is left as the script makes it")
    return verdict, notes


def _variables(reach: Reach, loop: Loop) -> dict[str, Any]:
    constants = Constants(loop.site)
    found = {
        path: slot.value
        for path, slot in reach.slots.items()
        if not constants.holds(path, slot.value)
    }
    for path, tensor in reach.tensors.items():
        if tensor.grad is not None:
            found[path + GRADIENT] = tensor.grad
    return found


def _record(path: str, thing: Any) -> ObjectRecord:
    kind = kind_of(thing)
    record = ObjectRecord(path, kind, class_name(thing), thing.state_dict())
    if kind == "module":
        saved = record.state
        record.extras = {
            "buffers": {n: b for n, b in thing.named_buffers() if n not in saved},
            "training": {n: m.training for n, m in thing.named_modules()},
            "requires_grad": {n: p.requires_grad for n, p in thing.named_parameters()},
            "grads": {n: p.grad for n, p in thing.named_parameters() if p.grad is not None},
        }
    return record


def _add_fit_objects(reach: Reach, fit: Fit) -> list[str]:
    """Have every object of the fit in the snapshot; names those that no name leads to."""
    modules = [t for t in reach.objects.values() if isinstance(t, torch.nn.Module)]
    inside = {id(m) for module in modules for m in module.modules()}
    lost = []
    for thing in (*fit.models, *fit.optimizers, *fit.schedulers):
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


def _position(host: Plain, loop: Loop | None) -> dict[str, Any]:
    fit = host.life.fit
    assert fit is not None
    position = _counters(fit)
    if loop is not None:
        folder = str(host.run.folder)
        position |= {
            "site": site_key(loop, folder),
            "line": loop.site.line,
            "scope": loop.site.scope,
            "entry": host.entries[loop.site.id],
            "iteration": loop.index,
            "digests": digests(loop, folder),
        }
    return position


def _counters(fit: Fit) -> dict[str, Any]:
    return {
        "fit": fit.index,
        "epoch": fit.epoch + 1,
        "epochs_done": fit.epochs_done,
        "batches": fit.batches,
        "step": fit.step,
        "samples": fit.samples,
        "validations": fit.validations,
    }


def _pure(iterable: Any) -> bool:
    """Whether taking items again gives the same ones, and touches nothing else."""
    kind = type(iterable)
    if kind in (enumerate, zip, reversed):
        parts = iterable.__reduce__()[1]
        return all(_pure(p) for p in (parts if kind is zip else parts[:1]))
    if kind.__module__ == "builtins" and kind.__name__ in (
        "range_iterator", "list_iterator", "tuple_iterator", "longrange_iterator",
    ):  # fmt: skip
        return True
    if kind.__module__.startswith("tqdm"):
        return _pure(getattr(iterable, "iterable", None))
    return kind in _PURE
