"""What a policy adds to an optimizer step: function calls and microseconds of the CPU.

Run it with ``python plugins/hookcore-lr/tests/cost.py``.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch

import hookcore
from hookcore_lr import LR

POLICIES: dict[str, dict[str, Any] | None] = {
    "no plugin": None,
    "observe": {},
    "plateau": {"policy": "plateau"},
    "loss": {"policy": "loss"},
    "warmup": {"policy": "warmup", "steps": 10**6},
    "one_cycle": {"policy": "one_cycle", "max_lr": 0.1, "total_steps": 10**6},
    "cosine, per step": {"policy": "cosine", "per": "step", "t_max": 10**6},
}
STEPS = 3000


def run(options: dict[str, Any] | None, *, count: bool) -> float:
    """Microseconds, or calls, a step of a loop whose model has one parameter."""
    parameter = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([parameter], lr=1e-3)
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    plugins = [] if options is None else [LR(**options)]
    with hookcore.run(plugins=plugins, only=[], quiet=True):
        for step in hookcore.batches(range(STEPS)):
            if step == 100:
                sys.setprofile(profile if count else None)
                began = time.process_time()
            optimizer.zero_grad()
            (parameter * 1.0).backward()
            optimizer.step()
        took = time.process_time() - began
        sys.setprofile(None)
    return (calls if count else 1e6 * took) / (STEPS - 100)


def main() -> None:
    """A table; the median of eleven turns, taken in turn."""
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in POLICIES}
    for _ in range(11):
        for name, options in POLICIES.items():
            times[name].append(run(options, count=False))
    base_calls = run(None, count=True)
    base = statistics.median(times["no plugin"])
    print(f"{'policy':18} {'calls':>6} {'us':>6}   (a step without the plugin: {base:.0f} us)")
    for name, options in POLICIES.items():
        added = run(options, count=True) - base_calls
        print(f"{name:18} {added:6.1f} {statistics.median(times[name]) - base:6.1f}")


if __name__ == "__main__":
    main()
