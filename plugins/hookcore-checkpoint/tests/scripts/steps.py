# ruff: noqa: N803, N806, N812 - plain loops, as users write them
"""A loop over steps, gradients gathered over batches, a validation every so often."""

import argparse
import hashlib
import json

import torch
from torch import nn
from torch.nn import functional as F


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--form", choices=["while", "for"], default="while")
    args = parser.parse_args()
    torch.manual_seed(6)
    X, Y = torch.randn(64, 6), torch.randint(0, 3, (64,))
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, checks, step = [], [], 0
    if args.form == "while":
        while step < args.steps:
            picked = torch.randint(64, (8,))
            loss = F.cross_entropy(model(X[picked]), Y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
            if step % 10 == 0:
                checks.append(check(model, X, Y))
    else:
        for batch in range(2 * args.steps):
            picked = torch.randint(64, (8,))
            loss = F.cross_entropy(model(X[picked]), Y[picked]) / 2
            loss.backward()
            losses.append(loss.item())
            if batch % 2:
                optimizer.step()
                optimizer.zero_grad()
                step += 1
    sha = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.state_dict().values()))
    print("RESULT", json.dumps({
        "weights": sha.hexdigest(), "losses": losses, "checks": checks, "step": step,
        "random": torch.rand(1).item(),
    }))


@torch.no_grad()
def check(model, X, Y):
    model.eval()
    val_loss = F.cross_entropy(model(X), Y).item()
    model.train()
    return val_loss


if __name__ == "__main__":
    main()
