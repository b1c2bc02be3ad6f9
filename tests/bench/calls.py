"""Function calls of a batch, without any clock: ``python tests/bench/calls.py``."""

from __future__ import annotations

import functools

import measures
import ours
import torch


def main() -> None:
    """Print what each row adds to the bare loop, its schedule included where it has one."""
    torch.set_num_threads(1)
    plain, scheduled = measures.calls(ours.bare), measures.calls(ours.scheduled)
    rows = {
        "no plugin": (ours.hookcore_off, plain),
        "four plugins": (functools.partial(ours.hookcore_off, only=ours.PLUGINS), plain),
        "no plugin, a schedule a step": (functools.partial(ours.hookcore_on, only=()), scheduled),
        "four plugins, a schedule a step": (ours.hookcore_on, scheduled),
    }
    for name, (row, floor) in rows.items():
        print(f"{name:<32} {measures.mean_calls(row) - floor:.2f}")


if __name__ == "__main__":
    main()
