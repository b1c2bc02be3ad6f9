# ruff: noqa: N806, N812 - plain loops, as users write them
"""Helpers, a scheduler, dropout, a shuffled loader, lists in two frames, the best weights."""

import argparse
import copy
import hashlib
import json
import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

STEPS = []


def digest(tensors):
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().numpy().tobytes())
    return sha.hexdigest()


def train(model, loader, optimizer, losses):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x + 0.1 * random.random()), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        STEPS.append(len(losses))
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    val_loss = sum(F.cross_entropy(model(x), y).item() for x, y in loader)
    return val_loss / len(loader)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(1)
    random.seed(2)
    X = torch.randn(48, 6)
    Y = torch.randint(0, 3, (48,))
    model = nn.Sequential(nn.Linear(6, args.width), nn.BatchNorm1d(args.width), nn.ReLU(),
                          nn.Dropout(0.3), nn.Linear(args.width, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    loader = DataLoader(TensorDataset(X, Y), 8, shuffle=True, num_workers=args.workers)
    held_out = DataLoader(TensorDataset(X[:16], Y[:16]), 8)
    history = {"train": [], "val": []}
    losses = []
    best, best_loss, best_copy, waited = model.state_dict(), float("inf"), None, 0
    for epoch in range(1, args.epochs + 1):
        train_loss = train(model, loader, optimizer, losses)
        val_loss = evaluate(model, held_out)
        scheduler.step()
        history["train"].append(train_loss)
        history["val"].append(val_loss)
        if val_loss < best_loss:
            best_loss, waited = val_loss, 0
            best_copy = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        print(f"epoch {epoch} {train_loss} {val_loss}")
    print("RESULT", json.dumps({
        "weights": digest(model.state_dict().values()),
        "best is live": best["0.weight"].data_ptr() == model[0].weight.data_ptr(),
        "best": digest(best_copy.values()),
        "best_loss": best_loss,
        "waited": waited,
        "history": history,
        "losses": losses,
        "steps": STEPS,
        "lr": scheduler.get_last_lr(),
        "moments": digest(s["exp_avg_sq"] for s in optimizer.state.values()),
        "random": [torch.rand(1).item(), random.random()],
        "epoch": epoch,
    }))


if __name__ == "__main__":
    main()
