"""Plain PyTorch loops, as users have them."""

# ruff: noqa: B007, F841, N812 - as users write them

import torch
from torch import nn
from torch.nn import functional as F

N = 64
generator = torch.Generator().manual_seed(0)
X, X_VAL = torch.randn(N, 8, generator=generator), torch.randn(256, 8, generator=generator)
Y_VAL = (X_VAL.sum(1) > 0).long()
# Half of the training labels are noise: the validation's loss falls, and then rises.
Y = torch.where(torch.rand(N, generator=generator) < 0.5, (X.sum(1) > 0).long(),
                torch.randint(2, (N,), generator=generator))


def build(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def train(model, optimizer):
    model.train()
    for i in range(0, N, 16):
        noise = 0.01 * torch.randn(16, 8)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X[i : i + 16] + noise), Y[i : i + 16])
        loss.backward()
        optimizer.step()


def evaluate(model):
    model.eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(X_VAL), Y_VAL)
    return loss.item()


def nested(epochs=30, first=False):
    """Epochs over helpers; with ``first`` the validation comes before the training."""
    model, optimizer = build()
    seen = []
    for epoch in range(epochs):
        if first:
            val_loss = evaluate(model)
        train(model, optimizer)
        if not first:
            val_loss = evaluate(model)
        seen.append(val_loss)
        print(epoch, val_loss)
    return model, optimizer, seen


def fails(epochs=30, at=8):
    """Raises in the midst of an epoch; the model survives in the exception."""
    model, optimizer = build()
    for epoch in range(epochs):
        train(model, optimizer)
        if epoch == at:
            raise RuntimeError(model, {k: v.clone() for k, v in model.state_dict().items()})
        val_loss = evaluate(model)


def folds(count=3, epochs=30):
    """A cross-validation: a fit a fold."""
    lengths = []
    for fold in range(count):
        model, optimizer = build(fold)
        done = 0
        for epoch in range(epochs):
            train(model, optimizer)
            val_loss = evaluate(model)
            done += 1
        lengths.append(done)
    return lengths
