"""The rows that are hookcore's: a copy of the loops, instrumented, under some plugins."""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import loops
from jobs import Job

import hookcore

PLUGINS = ("progress", "lr", "earlystop", "checkpoint")


def bare(job: Job) -> None:
    """The loop as it stands."""
    loops.train(job.model, job.sgd(), job.loader, job.epochs)


def scheduled(job: Job) -> None:
    """The loop with a schedule a step and a validation an epoch, and no more."""
    optimizer = job.sgd()
    loops.train_and_validate(
        job.model, optimizer, job.loader, job.epochs, job.schedule(optimizer), job.validation
    )


def by_hand(job: Job) -> None:
    """The loop with the four features written into it."""
    optimizer = job.sgd()
    loops.train_by_hand(
        job.model, optimizer, job.loader, job.epochs, job.schedule(optimizer), job.validation,
        job.folder, job.sink,
    )  # fmt: skip


def hookcore_off(job: Job, only: Sequence[str] = (), **call: Any) -> None:
    """The bare loop inside a run, with these plugins or none."""
    with opened(job, only, **call):
        instrumented().train(job.model, job.sgd(), job.loader, job.epochs)


def hookcore_on(job: Job, only: Sequence[str] = PLUGINS, **call: Any) -> None:
    """The loop with a schedule and a validation of its own; bar, stop, checkpoint by plugins."""
    optimizer = job.sgd()
    with opened(job, only, **call):
        instrumented().train_and_validate(
            job.model, optimizer, job.loader, job.epochs, job.schedule(optimizer), job.validation
        )


def opened(job: Job, only: Sequence[str], **call: Any) -> Any:
    """A run with these plugins at their defaults, but for the place and patience of all rows."""
    options = {
        "checkpoint": {"directory": str(job.folder)},
        "earlystop": {"patience": loops.PATIENCE},
    }
    mine = {name: options[name] for name in only if name in options}
    return hookcore.run(only=only, options=mine, **call)


@functools.cache
def instrumented() -> Any:
    """A second copy of the loops with sites in it, so that the first one stays bare.

    Its attribute ``instrumented`` can take them back.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        module = module_of(Path(folder), "bench_loops", Path(loops.__file__).read_text())
        module.instrumented = hookcore.instrument(module.train)
    return module


def module_of(folder: Path, name: str, text: str) -> Any:
    """A module of this text, in a file of its own."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
