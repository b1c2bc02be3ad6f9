"""What checkpoints cost: the stall of a save, a run at the default cadence, the start of a resume.

    python tests/bench/checkpoints.py [--megabytes 500] [--rounds 7] [--json FILE]

Each figure is a median of rounds that are interleaved with what it is compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = """
import sys, time
import torch
from torch import nn

def main(epochs, batches, width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    data = torch.randn(32, width)
    for epoch in range(epochs):
        for batch in range(batches):
            optimizer.zero_grad()
            model(data).square().mean().backward()
            optimizer.step()
            if "first" in sys.argv:  # no name of the loop's: that would be restored
                print("STEP", time.time(), time.process_time(), flush=True)

epochs, batches, width = map(int, sys.argv[1:4])
began, worked = time.perf_counter(), time.thread_time()
main(epochs, batches, width)
print("SECONDS", time.perf_counter() - began, time.thread_time() - worked)
"""


def clock(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def stall(megabytes: int, rounds: int, folder: Path) -> dict[str, float]:
    """What the training's thread waits for a save, beside ``torch.save`` of the same state."""
    import torch

    from hookcore.snapshot import Header, Job, Memory, ObjectRecord, Snapshot, remove, stage, write

    count = megabytes * 250_000 // 3  # weights, and two moments of Adam
    weights = [torch.nn.Parameter(torch.randn(count // 16)) for _ in range(16)]
    optimizer = torch.optim.Adam(weights)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    state = {str(i): weight.detach() for i, weight in enumerate(weights)}

    def snapshot() -> Snapshot:
        return Snapshot(
            header=Header(kind="epoch"),
            objects=[
                ObjectRecord("model", "module", "Net", state),
                ObjectRecord("optimizer", "optimizer", "Adam", optimizer.state_dict()),
            ],
        )

    memory, found = Memory(), {"save": [], "torch": [], "whole": []}
    for number in range(rounds + 1):
        plain = folder / "plain.pt"
        seconds = clock(lambda to=plain: torch.save([state, optimizer.state_dict()], to))
        plain.unlink()
        began = time.perf_counter()
        staged = stage(snapshot(), memory)
        target = folder / f"save-{number}"
        job = Job(lambda s=staged, t=target: write(s, t), threading.Event().set)
        stalled = time.perf_counter() - began
        job.result()
        whole = time.perf_counter() - began
        memory.begin(staged.inner.blobs.values())
        remove(target)
        if number:  # the first one gets its memory from the system
            for name, value in (("torch", seconds), ("save", stalled), ("whole", whole)):
                found[name].append(value)
    middle = {name: statistics.median(values) for name, values in found.items()}
    return {
        "megabytes": megabytes,
        "stall_s": middle["save"],
        "torch_save_s": middle["torch"],
        "until_on_disk_s": middle["whole"],
        "stall_of_torch_save": middle["save"] / middle["torch"],
    }


def command(folder: Path, options: list[str], *args: object) -> list[str]:
    """One run of the script, bare where there are no options."""
    script = str(folder / "train.py")
    head = [sys.executable, "-m", "hookcore", "run", *options] if options else [sys.executable]
    return [*head, script, *map(str, args)]


def run(folder: Path, options: list[str], *args: object) -> str:
    """What it prints."""
    done = subprocess.run(
        command(folder, options, *args), cwd=folder, check=True, text=True, capture_output=True,
        env={**os.environ, "HOOKCORE_ONLY": "checkpoint"},
    )  # fmt: skip
    return done.stdout


def cadence(rounds: int, folder: Path) -> dict[str, float]:
    """Run time with a checkpoint at each epoch, beside the same with no plugin.

    Epochs of several seconds and 25 MB of state: shorter ones are saved more often than anybody
    needs. What the training's thread works more is told beside what the clock says: the first is
    ours alone, and the second is also what else the machine does, of which the load tells.
    """
    shape = 3, 800, 1024
    names = {"with": ["-q"], "without": ["-q", "-p", "no:checkpoint"]}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    load = os.getloadavg()[0]
    for number in range(rounds):
        for name, options in names.items():
            where = ["-o", f"checkpoint.directory=cadence-{number}"]
            out = run(folder, [*options, *(where if name == "with" else [])], *shape)
            seconds, worked = map(float, out.split("SECONDS")[1].split())
            found[name].append((seconds, worked))
    seconds, worked = (
        {name: statistics.median(pair[i] for pair in pairs) for name, pairs in found.items()}
        for i in (0, 1)
    )
    return {
        "epoch_s": seconds["without"] / shape[0],
        "with_s": seconds["with"],
        "without_s": seconds["without"],
        "added": seconds["with"] / seconds["without"] - 1,
        "added_to_the_thread": worked["with"] / worked["without"] - 1,
        "load_before": load,
    }


def start(rounds: int, folder: Path) -> dict[str, float]:
    """From the process's start to the first new step, resumed, beside bare; and the load alone."""
    from hookcore.snapshot import latest, read

    shape = 2, 4, 1024
    options = ["-q", "-o", "checkpoint.directory=start"]
    run(folder, options, *shape)
    found: dict[str, list[float]] = {"resumed": [], "bare": [], "load": []}
    worked: dict[str, list[float]] = {"resumed": [], "bare": []}
    load = os.getloadavg()[0]
    for _ in range(rounds):
        for name, how in (("bare", []), ("resumed", ["--resume-mode", "must", *options])):
            epochs = shape[0] + (1 if how else 0)
            began = time.time()
            out = run(folder, how, epochs, *shape[1:], "first")
            at, work = map(float, out.split("STEP")[1].split()[:2])
            found[name].append(at - began)
            worked[name].append(work)
        where = latest(folder / "start")
        assert where is not None
        found["load"].append(clock(lambda where=where: read(where)))
        for extra in (folder / "start").glob("epoch-0003-*"):
            from hookcore.snapshot import remove

            remove(extra)
    middle = {name: statistics.median(values) for name, values in found.items()}
    cpu = {name: statistics.median(values) for name, values in worked.items()}
    return {
        "bare_s": middle["bare"],
        "resumed_s": middle["resumed"],
        "load_s": middle["load"],
        "added_beside_load_s": middle["resumed"] - middle["bare"] - middle["load"],
        "cpu_added_with_load_s": cpu["resumed"] - cpu["bare"],
        "load_before": load,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("only", nargs="*", help="stall, cadence, start")
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(SCRIPT)
        benches: dict[str, Callable[[], dict[str, float]]] = {
            "stall": lambda: stall(args.megabytes, args.rounds, folder),
            "cadence": lambda: cadence(max(args.rounds // 2, 1), folder),
            "start": lambda: start(args.rounds, folder),
        }
        for bench in args.only or benches:
            rows[bench] = benches[bench]()
            print(bench)
            for what, value in rows[bench].items():
                print(f"    {what:<22} {value:>10.4f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
