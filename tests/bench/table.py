"""What hookcore costs, in one table: ``tox -e bench``.

    python tests/bench/table.py [--workload tiny] [--rounds 11] [--json FILE]

Rows take turns inside each round; times are medians of differences and ratios within a round, and
the bare loop against itself says how much of them is noise. Times round an empty body, and what
happens once, are of the CPU, so that a busy machine makes less of a difference. Calls, batches
alive and reads of tensors are counted, and are the same on every machine.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import loops
import measures
import ours
import torch

import hookcore

FOUR = functools.partial(ours.hookcore_off, only=ours.PLUGINS)
MEASURED = functools.partial(ours.hookcore_off, only=ours.PLUGINS, cost=True)
ROWS: dict[str, tuple[measures.Row, str]] = {
    "bare, against itself": (ours.bare, "bare"),
    "no plugin": (ours.hookcore_off, "bare"),
    "four plugins, defaults": (FOUR, "bare"),
    "four plugins, --cost": (MEASURED, "bare"),
    "features by hand": (ours.by_hand, "bare"),
    "features by plugins": (ours.hookcore_on, "bare"),
}
"""What trains, and what it is compared with. The last two have a schedule a step as well."""
MODULES = 200
WORKLOADS = ("tiny", "small")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=11, help="rounds of the timing")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        _print_peak(arguments.peak)
        return
    figures = measure(arguments.workload, arguments.rounds)
    print("\n".join(lines(figures, arguments.workload)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1))


def measure(workloads: list[str], rounds: int) -> dict[str, Any]:
    """All figures, by name."""
    figures: dict[str, Any] = {"rows": {name: {} for name in ROWS}}
    floor = measures.calls(ours.bare)
    for name, (row, _) in ROWS.items():
        found = figures["rows"][name]
        found["calls"] = measures.calls(row) - floor
        found["mean calls"] = measures.mean_calls(row) - floor
        found["live"] = measures.live_batches(row) - measures.live_batches(ours.bare)
        found["reads"] = reads_in_ten_steps(row) - reads_in_ten_steps(ours.bare)
        found["peak"] = peak(name)
    for workload in workloads:
        for name, (step, ratio) in _times(workload, rounds).items():
            figures["rows"][name][workload] = step, ratio
    for name, us in empty_body(rounds).items():
        figures["rows"][name]["empty"] = us
    figures["import"] = importing(rounds)
    figures["instrument"] = {kind: instrumenting(kind, rounds) for kind in ("loops", "mixed")}
    figures["modules"] = importing_modules(rounds)
    figures["idle"] = idle(rounds)
    return figures


def lines(figures: dict[str, Any], workloads: list[str]) -> list[str]:
    """Markdown."""
    head = ["", "calls", "mean", "us round an empty body"]
    for workload in workloads:
        head += [f"{workload}: us a step", "ratio"]
    head += ["batches kept", "reads in ten steps", "peak MiB"]
    found = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in figures["rows"].items():
        cells = [name, f"{row['calls']:.0f}", f"{row['mean calls']:.2f}"]
        cells.append(f"{row['empty']:.2f}" if "empty" in row else "")
        for workload in workloads:
            step, ratio = row[workload]
            cells += [f"{step:+.1f}", f"{ratio:.3f}"]
        cells += [str(row["live"]), str(row["reads"]), f"{row['peak']:.0f}"]
        found.append(f"| {' | '.join(cells)} |")
    return [
        *found,
        "",
        f"import hookcore: {1e3 * figures['import']:.0f} ms over the interpreter",
        *(
            f"instrument(), 1,000 lines of {kind}: {1e3 * seconds:.0f} ms"
            for kind, seconds in figures["instrument"].items()
        ),
        f"{MODULES} modules of a script's own: {figures['modules']:.2f} s at its start",
        *(f"a loop that does not train, {what}: {us:.3f} us" for what, us in
          figures["idle"].items()),
    ]  # fmt: skip


# -- one figure each -------------------------------------------------------------------------


def _times(workload: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Median microseconds that a row adds to a step, and its ratio to the bare one."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
    for number in range(rounds + 1):
        names = random.sample(list(ROWS), len(ROWS))
        for name in names:
            row, _ = ROWS[name]
            reference = measures.timed(ours.bare, workload).step
            step = measures.timed(row, workload).step
            if number:  # the first one warms up
                pairs[name].append((step, reference))
    return {
        name: (
            statistics.median(step - reference for step, reference in taken),
            statistics.median(step / reference for step, reference in taken),
        )
        for name, taken in pairs.items()
    }


def reads_in_ten_steps(row: measures.Row) -> int:
    """Reads of tensors' values that ten more steps bring; those of epochs' ends cancel out."""
    ten, twenty = (measures.synchronisations(row, steps) for steps in (10, 20))
    return (twenty[0] - ten[0]) + (twenty[1] - ten[1])


def empty_body(rounds: int, batches: int = 20_000) -> dict[str, float]:
    """Median microseconds that an iteration takes over the bare loop's, where it does nothing.

    Of the second and third epoch: in the first the training is recognised, which is no batch's.
    """
    contexts: dict[str, tuple[Any, Callable[[], Any]]] = {
        "bare, against itself": (loops, contextlib.nullcontext),
        "no plugin": (ours.instrumented(), lambda: hookcore.run(only=[], quiet=True)),
        "four plugins, defaults": (ours.instrumented(), _quiet_four),
    }

    def us(of: Any, context: Callable[[], Any]) -> float:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(()))], 0.01)
        stamps: list[int] = []
        with context():
            of.empty(optimizer, 4, batches, lambda: stamps.append(time.thread_time_ns()))
        return (stamps[3] - stamps[1]) / 1e3 / (2 * batches)

    found: dict[str, list[float]] = {name: [] for name in contexts}
    for _ in range(rounds):
        for name, (of, context) in contexts.items():
            reference = us(loops, contextlib.nullcontext)
            found[name].append(us(of, context) - reference)
    return {name: statistics.median(taken) for name, taken in found.items()}


@contextlib.contextmanager
def _quiet_four() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        where = {"checkpoint": {"directory": folder}}
        with hookcore.run(only=ours.PLUGINS, options=where, quiet=True):
            yield


def importing(rounds: int) -> float:
    """CPU seconds of ``import hookcore`` over an interpreter that imports nothing."""
    taken = measures.import_seconds({"nothing": "pass", "hookcore": "import hookcore"}, rounds)
    return taken["hookcore"] - taken["nothing"]


def instrumenting(kind: str, rounds: int) -> float:
    """Least CPU seconds of ``instrument()`` on files of a thousand lines, each a fresh one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        taken = []
        for number in range(rounds):
            module = ours.module_of(Path(folder), f"lines_{kind}_{number}", thousand_lines(kind))
            began = time.process_time()
            hookcore.instrument(module.train)
            taken.append(time.process_time() - began)
        return min(taken)


def importing_modules(rounds: int) -> float:
    """CPU seconds that ``hookcore run`` adds to a script which only imports its own modules."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        script = Path(folder, "script.py")
        script.write_text("".join(f"import part_{number}\n" for number in range(MODULES)))
        for number in range(MODULES):
            loops = _TRAINING.format(number) if number % 5 == 0 else ""
            head = "class torch:\n    class nn:\n        Module = object\n"
            Path(folder, f"part_{number}.py").write_text(head + _MODULE.format(number) + loops)
        words = ["hookcore", "run", "-q", "-p", "no:*", str(script)]
        statements = {
            "bare": f"import sys; sys.path.insert(0, {folder!r}); import script",
            "ours": f"import sys; sys.argv = {words}; from hookcore.cli import main; main()",
        }
        taken = measures.import_seconds(statements, rounds)
    return taken["ours"] - taken["bare"]


def thousand_lines(kind: str) -> str:
    """A file of nothing but loops, or one of loops among what a project has beside them."""
    text = (
        "import torch\n\n\n"
        "def train(model, optimizer, data):\n"
        "    for x, y in data:\n"
        "        optimizer.zero_grad()\n"
        "        loss = (model(x) - y).square().mean()\n"
        "        loss.backward()\n"
        "        optimizer.step()\n\n\n"
    )
    number = 0
    while text.count("\n") < 1000:
        text += _TRAINING.format(number) if kind == "loops" or number % 5 == 0 else ""
        text += _MODULE.format(number) if kind == "mixed" else ""
        number += 1
    return text


_TRAINING = """
def train_{0}(model, optimizer, data, epochs):
    history = []
    for epoch in range(epochs):
        total, seen = 0.0, 0
        for x, y in data:
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            seen += len(y)
        history.append(total / seen)
    return history

"""

_MODULE = '''
class Block{0}(torch.nn.Module):
    """One block: norm, attention-like mixing, and a residual."""

    def __init__(self, width, heads=4, dropout=0.1, *, bias=True):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.query = torch.nn.Linear(width, width, bias=bias)
        self.key = torch.nn.Linear(width, width, bias=bias)
        self.value = torch.nn.Linear(width, width, bias=bias)
        self.out = torch.nn.Linear(width, width, bias=bias)
        self.drop = torch.nn.Dropout(dropout)
        self.heads = heads

    def forward(self, x, mask=None):
        batch, length, width = x.shape
        normed = self.norm(x)
        shape = (batch, length, self.heads, width // self.heads)
        query = self.query(normed).view(shape).transpose(1, 2)
        key = self.key(normed).view(shape).transpose(1, 2)
        value = self.value(normed).view(shape).transpose(1, 2)
        weights = query @ key.transpose(-2, -1) / shape[-1] ** 0.5
        if mask is not None:
            weights = weights.masked_fill(mask == 0, float("-inf"))
        mixed = (weights.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
        return x + self.drop(self.out(mixed))


def describe_{0}(path, names, default=None):
    """Read a few settings from a file of lines ``name = value``."""
    found = {{}}
    with open(path) as file:
        for line in file:
            name, _, value = line.partition("=")
            if name.strip() in names:
                found[name.strip()] = value.strip() or default
    return found

'''


def idle(rounds: int, entries: int = 20_000) -> dict[str, float]:
    """Microseconds that loops which do not train take over bare ones, inside a run."""
    kinds: dict[str, Callable[[Any], None]] = {
        "an entry": lambda of: of.idle(entries, 0),
        "an iteration": lambda of: of.idle(1, entries),
        "an iteration of a while": lambda of: of.waiting(entries),
    }
    found: dict[str, list[float]] = {what: [] for what in kinds}

    def us(run: Callable[[Any], None], of: Any) -> float:
        began = time.thread_time_ns()
        run(of)
        return (time.thread_time_ns() - began) / 1e3

    with hookcore.run(only=[], quiet=True):
        module = ours.instrumented()
        for _ in range(200):  # they turn out not to train
            module.idle(1, 2)
            module.waiting(2)
        for _ in range(rounds):
            for what, run in kinds.items():
                found[what].append((us(run, module) - us(run, loops)) / entries)
    return {what: statistics.median(taken) for what, taken in found.items()}


def peak(name: str) -> float:
    """Mebibytes that a process had at most, which did nothing but this row."""
    command = [sys.executable, __file__, "--peak", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _print_peak(name: str) -> None:
    measures.timed(ROWS[name][0], "tiny")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
