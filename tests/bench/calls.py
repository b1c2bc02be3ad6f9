"""Function calls of a batch, without any clock: a minute's look at the hot path.

    python tests/bench/calls.py
"""

from __future__ import annotations

import functools

import measures
import ours
import torch


def main() -> None:
    """Print what each row adds to the bare loop, its schedule included where it has one."""
    torch.set_num_threads(1)
    plain, scheduled = measures.calls(ours.bare), measures.calls(ours.scheduled)
    four = functools.partial(ours.hookcore_off, only=ours.PLUGINS)
    none_on = functools.partial(ours.hookcore_on, only=())
    print(f"no plugin                       {measures.mean_calls(ours.hookcore_off) - plain:.2f}")
    print(f"four plugins                    {measures.mean_calls(four) - plain:.2f}")
    print(f"no plugin, a schedule a step    {measures.mean_calls(none_on) - scheduled:.2f}")
    print(f"four plugins, a schedule a step {measures.mean_calls(ours.hookcore_on) - scheduled:.2f}")


if __name__ == "__main__":
    main()
