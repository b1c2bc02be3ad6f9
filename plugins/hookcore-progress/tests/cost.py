"""What the display costs a loop.

    python plugins/hookcore-progress/tests/cost.py [MODE] [ROUNDS]

Plain torch loop of small batches, with the display and without any plugin, in rounds that take
turns. Prints medians, and the function calls of a batch as sys.setprofile counts them.
"""

import statistics
import sys
import time

import torch

import hookcore
from hookcore_progress import Progress

BATCHES = 2000


def train(batches):
    model = torch.nn.Linear(32, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    data = [torch.randn(16, 32) for _ in range(100)]
    for _ in range(batches // 100):
        for x in data:
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()


def calls(function, batches):
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function(batches)
    finally:
        sys.setprofile(None)
    return count


def main(mode="auto", rounds="7"):
    torch.set_num_threads(1)
    progress = Progress(mode=mode, epoch_lines=False, every_seconds=1)
    times = {"without": [], "with": []}
    counts = {}
    for i in range(int(rounds) + 1):
        for name, plugins in (("without", []), ("with", [progress])):
            loop = hookcore.instrument(train, only=[], plugins=plugins)
            began = time.perf_counter()
            loop(BATCHES)
            if i:  # the first round warms up
                times[name].append((time.perf_counter() - began) / BATCHES * 1e6)
            else:
                # Two lengths, so that what comes once a fit does not count.
                counts[name] = (calls(loop, 600) - calls(loop, 200)) / 400
            loop.restore()
    for name, taken in times.items():
        print(
            f"{name:8} {statistics.median(taken):7.2f} us a batch "
            f"(best {min(taken):.2f}), {counts[name]:.2f} calls"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
