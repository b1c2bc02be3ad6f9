"""What is measured of one training: calls, time, batches kept alive, reads that would wait."""

from __future__ import annotations

import contextlib
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import torch
from jobs import Job
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Row = Callable[[Job], Any]
"""Trains ``job.model``."""


@attrs.frozen
class Taken:
    """One training, measured.

    Attributes:
        step: Median microseconds between two training forwards of an epoch: no set-up, no
            boundary of an epoch, nothing that happens in less than half of the steps.
        fit: Microseconds of the whole call, divided by the steps.
        weights: What it trained, to see that all rows train the same.
    """

    step: float
    fit: float
    weights: dict[str, torch.Tensor]


def timed(row: Row, workload: str, steps: int | None = None) -> Taken:
    """Train once and look at the clock."""
    with _job(workload, steps) as job:
        began = time.perf_counter_ns()
        row(job)
        fit = (time.perf_counter_ns() - began) / 1e3 / job.total
        step = statistics.median(job.steps_of()) / 1e3
        weights = {name: p.detach().clone() for name, p in job.model.state_dict().items()}
        return Taken(step, fit, weights)


def calls(row: Row, workload: str = "tiny", steps: int = 10) -> float:
    """Function calls of a step, Python's and C's: the same on every machine, however busy."""
    with _job(workload, steps) as job, _counting() as counted:
        job.model.clock = counted
        row(job)
        return statistics.median(job.steps_of())


def mean_calls(row: Row, workload: str = "tiny", steps: int = 100) -> float:
    """The same as a mean: with what happens in some steps only, and at no epoch's boundary."""
    with _job(workload, steps) as job, _counting() as counted:
        job.model.clock = counted
        row(job)
        gaps = job.steps_of()[job.steps - 1 :]  # the first epoch learns what the loops are
        return sum(gaps) / len(gaps)


@contextlib.contextmanager
def _counting() -> Iterator[Callable[[], int]]:
    seen = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield lambda: seen
    finally:
        sys.setprofile(None)


@contextlib.contextmanager
def _job(workload: str, steps: int | None) -> Iterator[Job]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        job = Job(workload, Path(folder), steps)
        gc.collect()
        with contextlib.redirect_stdout(job.sink), contextlib.redirect_stderr(job.sink):
            yield job


# -- what must not happen --------------------------------------------------------------------


class Watched(torch.utils.data.TensorDataset):
    """A dataset whose batches are known by weak references."""

    def __init__(self, *tensors: Any) -> None:
        super().__init__(*tensors)
        self.alive: list[weakref.ref[Any]] = []
        self.most = 0

    def __getitems__(self, indices: list[int]) -> Any:
        self.most = max(self.most, sum(known() is not None for known in self.alive))
        return indices

    def batch(self, indices: list[int]) -> Any:
        """What the loader makes of the indices."""
        made = tuple(tensor[indices] for tensor in self.tensors)
        self.alive += map(weakref.ref, made)
        return made


def live_batches(row: Row, steps: int = 5) -> int:
    """Most tensors of earlier batches that are alive as the next one is fetched.

    A loop's own variables hold those of the batch before until they are bound anew: the bare
    loop has as many as its variables.
    """
    with _job("tiny", steps) as job:
        job.data = watched = Watched(*job.data.tensors)
        loader = torch.utils.data.DataLoader(watched, job.batch, collate_fn=watched.batch)
        type(job).loader, before = property(lambda _: loader), type(job).loader
        try:
            row(job)
        finally:
            type(job).loader = before  # type: ignore[method-assign]
        return watched.most


READS = (
    "item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__int__", "__float__", "__index__",
)  # fmt: skip


class Reads(TorchFunctionMode):
    """Counts the calls that wait for the device, as Python makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in READS
        return func(*args, **(kwargs or {}))


class Scalars(TorchDispatchMode):
    """Counts the operators that wait for the device, whoever calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name().partition("::")[2] in ("_local_scalar_dense", "nonzero")
        return func(*args, **(kwargs or {}))


def synchronisations(row: Row, steps: int = 10) -> tuple[int, int]:
    """Reads of tensors' values in one training: of Python's calls, and of operators."""
    found = []
    for mode in (Reads(), Scalars()):
        with _job("tiny", steps) as job, mode:
            row(job)
            found.append(mode.count)
    return found[0], found[1]


# -- once ------------------------------------------------------------------------------------


def import_seconds(statements: dict[str, str], rounds: int = 5) -> dict[str, float]:
    """Least CPU seconds of ``python -c STATEMENT``, interleaved; what fails is left out."""
    times: dict[str, list[float]] = {name: [] for name in statements}
    for number in range(rounds + 1):
        for name, statement in statements.items():
            began = _children()
            done = subprocess.run(
                [sys.executable, "-c", statement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            if number and not done.returncode:  # the first one fills the caches
                times[name].append(_children() - began)
    return {name: min(taken) for name, taken in times.items() if taken}


def _children() -> float:
    """CPU seconds of all children that are over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
