# ruff: noqa: N806, N812 - plain loops, as users write them
"""A loop with the user's own signal handlers, and one that fails where it is told to."""

import os
import signal
import sys

import torch
from torch import nn
from torch.nn import functional as F


def main(how, epochs=4):
    torch.manual_seed(0)
    X, Y = torch.randn(40, 4), torch.randint(0, 2, (40,))
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    leaving = []

    def on_term(number, frame):
        print(f"handler {number}", flush=True)
        leaving.append(number)
        if how == "exit":
            sys.exit(7)

    if how != "none":
        signal.signal(signal.SIGTERM, on_term)
    for epoch in range(epochs):
        for start in range(0, 40, 10):
            loss = F.cross_entropy(model(X[start : start + 10]), Y[start : start + 10])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if os.environ.get("FAIL_AT") == f"{epoch}/{start}":
                raise ValueError("the user's own trouble")
            if leaving:
                print("left by the user", flush=True)
                return
    print("trained", flush=True)


main(sys.argv[1] if len(sys.argv) > 1 else "none")
