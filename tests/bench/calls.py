"""What hookcore adds to a batch: function calls, counted, and microseconds round an empty body.

    python tests/bench/calls.py [--steps 500] [--json FILE]

Calls are Python's and C's, counted with ``sys.setprofile`` over whole epochs and divided by the
batches: no clock in it, so the figure is the same on a busy machine. Times are the medians of
interleaved rounds against the bare loop, whose own difference to itself is the noise floor.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCE = """
import torch
from torch import nn

def make(steps, batch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    data = torch.utils.data.TensorDataset(
        torch.randn(steps * batch, 64), torch.randint(10, (steps * batch,))
    )
    loader = torch.utils.data.DataLoader(data, batch)
    return model, torch.optim.SGD(model.parameters(), 0.01, momentum=0.9), loader

def train(model, optimizer, loader, epochs):
    for epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()

def empty(model, optimizer, loader, epochs, batches):
    x, y = next(iter(loader))
    for epoch in range(epochs):
        for batch in range(batches):
            if batch == 0:
                optimizer.step()
"""

PLUGINS = ("progress", "lr", "earlystop", "checkpoint")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="batches of an epoch")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the timing")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments.steps, arguments.rounds)
    print("| | calls added a batch | us added round an empty body |")
    print("|---|---|---|")
    for row in rows:
        print(f"| {row['name']} | {row['calls']:.2f} | {row['us']:.2f} |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1))


def measure(folder: Path, steps: int, rounds: int) -> list[dict[str, Any]]:
    """One row for the bare loop against itself, one without plugins, one with the four."""
    import hookcore

    bare = load(folder, "bench_bare")
    ours = load(folder, "bench_ours")
    hookcore.instrument(ours.train)

    def plain() -> Any:
        return contextlib.nullcontext()

    def none() -> Any:
        return hookcore.run(only=[], quiet=True)

    def four() -> Any:
        where = {"checkpoint": {"directory": str(folder / "checkpoints")}}
        return hookcore.run(only=PLUGINS, options=where, quiet=True)

    rows = []
    for name, module, context in (
        ("bare, against itself", bare, plain),
        ("no plugin", ours, none),
        ("four plugins, defaults", ours, four),
    ):
        calls = calls_of(module, context, steps) - calls_of(bare, plain, steps)
        rows.append({"name": name, "calls": calls, "us": added_us(bare, module, context, rounds)})
    return rows


def load(folder: Path, name: str) -> Any:
    """The source as a module of its own."""
    (folder / f"{name}.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def calls_of(module: Any, context: Callable[[], Any], steps: int) -> float:
    """Calls in a batch of the third epoch: the first learns, and torch warms up.

    What an epoch costs beside its batches (a checkpoint, a line) cancels out between two lengths.
    """
    long, short = (_epoch(module, context, n) for n in (steps, steps // 2))
    return (long - short) / (steps - steps // 2)


def _epoch(module: Any, context: Callable[[], Any], steps: int) -> int:
    """Calls that a third epoch adds to two."""
    two, three = (_counted(module, context, steps, epochs) for epochs in (2, 3))
    return three - two


def _counted(module: Any, context: Callable[[], Any], steps: int, epochs: int) -> int:
    seen = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    job = module.make(steps, 8)
    with context():
        module.train(*module.make(2, 8), 1)  # another fit: what is done once is done
        gc.collect()
        gc.disable()
        sys.setprofile(count)
        try:
            module.train(*job, epochs)
        finally:
            sys.setprofile(None)
            gc.enable()
    return seen


def added_us(bare: Any, module: Any, context: Callable[[], Any], rounds: int) -> float:
    """Median over interleaved rounds of the time a batch takes over that of the bare loop."""
    batches = 20_000

    def seconds(of: Any, inside: Callable[[], Any]) -> float:
        model, optimizer, loader = of.make(2, 8)
        with inside():
            began = time.perf_counter()
            of.empty(model, optimizer, loader, 2, batches)
            return time.perf_counter() - began

    differences = []
    for _ in range(rounds):
        reference = seconds(bare, contextlib.nullcontext)
        differences.append((seconds(module, context) - reference) / (2 * batches) * 1e6)
    return statistics.median(differences)


if __name__ == "__main__":
    main()
