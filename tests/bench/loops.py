"""The loops that are measured, as a user writes them: plain PyTorch, nothing of hookcore."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

PATIENCE = 1000


def train(model, optimizer, loader, epochs):
    """The bare loop."""
    model.train()
    for _epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()


def validate(model, loader):
    """The mean loss over a loader."""
    model.eval()
    with torch.no_grad():
        losses = [cross_entropy(model(x), y).item() for x, y in loader]
    model.train()
    return sum(losses) / len(losses)


def train_and_validate(model, optimizer, loader, epochs, schedule, validation):
    """With a schedule a step and a validation an epoch; the rest is left to plugins."""
    model.train()
    val_loss = None
    for _epoch in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
        val_loss = validate(model, validation)
    return val_loss


def train_by_hand(model, optimizer, loader, epochs, schedule, validation, folder, file):
    """Bar, schedule a step, early stopping and a checkpoint an epoch, all written into the loop."""
    from tqdm import tqdm

    best, bad = float("inf"), 0
    model.train()
    for epoch in range(epochs):
        for x, y in tqdm(loader, file=file):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
        val_loss = validate(model, validation)
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        }
        torch.save(state, folder / f"{epoch}.pt")
        best, bad = (val_loss, 0) if val_loss < best else (best, bad + 1)
        if bad > PATIENCE:
            break


def empty(optimizer, epochs, batches, stamp):
    """A body that does nothing but make itself known as a training; ``stamp`` looks at a clock."""
    for _epoch in range(epochs):
        stamp()
        for batch in range(batches):
            if batch == 0:
                optimizer.step()


def idle(entries, iterations, call=float):
    """A loop that does not train, entered again and again; for all one can read, ``call`` might."""
    for _ in range(entries):
        for i in range(iterations):
            call(i)


def waiting(iterations, call=float):
    """A ``while`` that does not train, for all one can read."""
    i = 0
    while call(i) < iterations:
        i += 1
