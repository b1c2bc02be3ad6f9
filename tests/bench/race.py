"""hookcore beside its rivals, on the same work: ``tox -e bench-rivals``.

    python tests/bench/race.py [--only NAME ...] [--workload tiny] [--rounds 7] [--no-import]
                               [--json FILE]

Each row runs in a process of its own, where four trainings take turns: the bare loop, the row with
every feature off, the features written by hand, the row with its features on. Times are medians of
the ratios and differences within a round; the row ``bare`` is the bare loop against itself, which
is the noise floor. Calls are counted in a run of their own, and are the same on every machine.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.metadata
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ANSWER = "bench-answer:"
QUIET = {
    "KERAS_BACKEND": "torch",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
HEAD = (
    "", "version", "calls off", "us off", "ratio off", "calls on", "us on", "ratio on",
    "calls on, over by hand", "import s", "peak MiB", "trains the same", "",
)  # fmt: skip


def main() -> None:
    """Race, print the table."""
    from rivals import RIVALS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--workload", nargs="+", choices=("tiny", "small"), default=["tiny"])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the timing")
    parser.add_argument("--no-import", action="store_true", help="leave the import times out")
    parser.add_argument("--json", type=Path, help="write the answers there, too")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        _print_answer(arguments)
        return
    answers: dict[str, list[dict[str, Any]]] = {}
    for workload in arguments.workload:
        answers[workload] = []
        for name in arguments.only:
            answers[workload].append(_ask(name, workload, arguments))
            if arguments.json is not None:  # each row is worth keeping
                arguments.json.write_text(json.dumps(answers, indent=1))
        print(f"\n{workload}: {_conditions(arguments.rounds)}\n")
        print("\n".join(table(answers[workload])), flush=True)


def _conditions(rounds: int) -> str:
    torch = importlib.metadata.version("torch")
    python = platform.python_version()
    day = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return f"Python {python}, torch {torch}, one thread, {rounds} rounds, {day}"


def _ask(name: str, workload: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row, measured in a process of its own."""
    print(f"{workload}: {name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE), "--row", name]
    command += ["--workload", workload, "--rounds", str(arguments.rounds)]
    command += ["--no-import"] if arguments.no_import else []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    for line in done.stdout.splitlines():
        if line.startswith(ANSWER):
            answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
            return answer
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return {"name": name, "version": "", "failed": last[:200]}


# -- in the row's own process ----------------------------------------------------------------


def _print_answer(arguments: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answer = _measure(arguments.row, arguments.workload[0], arguments.rounds)
    if not arguments.no_import and "failed" not in answer:
        import measures
        from rivals import RIVALS

        statements = {"torch": "import torch", arguments.row: RIVALS[arguments.row].imports}
        answer["import"] = measures.import_seconds(statements, 3)
    sys.__stdout__.write(f"\n{ANSWER}{json.dumps(answer)}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
    os._exit(0)  # no exit handlers: some rivals report or upload in theirs


def _measure(name: str, workload: str, rounds: int) -> dict[str, Any]:
    import measures
    import ours
    import torch
    from rivals import RIVALS

    torch.set_num_threads(1)
    rival = RIVALS[name]
    try:
        version = importlib.metadata.version(rival.distribution)
    except importlib.metadata.PackageNotFoundError:
        return {"name": name, "version": "", "failed": f"{rival.distribution} is not installed"}
    rows = {
        "bare": ours.bare,
        "off": functools.partial(rival.run, on=False),
        "hand": ours.by_hand,
        "on": functools.partial(rival.run, on=True),
    }
    taken: dict[str, list[measures.Taken]] = {row: [] for row in rows}
    for number in range(rounds + 1):  # the first one warms up
        order = list(rows) if number % 2 else list(rows)[::-1]
        for row in order:
            sample = measures.timed(rows[row], workload, None if number else 10)
            if number:
                taken[row].append(sample)
    return {
        "name": name,
        "version": version,
        "note": rival.note,
        "calls": {row: measures.calls(run, workload) for row, run in rows.items()},
        "us": {row: [one.step for one in samples] for row, samples in taken.items()},
        "same": [_same(taken["off"], taken["bare"]), _same(taken["on"], taken["hand"])],
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _same(one: list[Any], other: list[Any]) -> str:
    import torch

    pairs = [(value, other[0].weights[name]) for name, value in one[0].weights.items()]
    if all(torch.equal(a, b) for a, b in pairs):
        return "bit for bit"
    return "nearly" if all(torch.allclose(a, b, 1e-3, 1e-5) for a, b in pairs) else "no"


# -- the table -------------------------------------------------------------------------------


def table(answers: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of Markdown, fewest calls with the features on first, the reference at the top."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    done = [answer for answer in answers if "failed" not in answer]
    for answer in sorted(done, key=lambda a: (a["name"] != "bare", _added(a, "on", "bare"))):
        yield f"| {' | '.join(_cells(answer))} |"
    for answer in answers:
        if "failed" in answer:
            yield f"| {answer['name']} | not measured: {answer['failed']} |" + " |" * (
                len(HEAD) - 2
            )


def _added(answer: dict[str, Any], row: str, reference: str) -> float:
    return float(answer["calls"][row] - answer["calls"][reference])


def _cells(answer: dict[str, Any]) -> Iterator[str]:
    yield answer["name"]
    yield answer["version"]
    for row in ("off", "on"):
        yield f"{_added(answer, row, 'bare'):.0f}"
        pairs = list(zip(answer["us"][row], answer["us"]["bare"], strict=True))
        yield f"{statistics.median(a - b for a, b in pairs):.0f}"
        yield f"{statistics.median(a / b for a, b in pairs):.2f}"
    yield f"{_added(answer, 'on', 'hand'):.0f}"
    times = answer.get("import", {})
    own = times.get(answer["name"])
    yield "" if own is None else f"{own - times['torch']:.2f}"
    yield f"{answer['mib']:.0f}"
    yield " / ".join(answer["same"])
    yield answer["note"]


if __name__ == "__main__":
    main()
