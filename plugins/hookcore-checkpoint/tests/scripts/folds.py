# ruff: noqa: B007, N803, N806, N812 - plain loops, as users write them
"""Cross-validation: a fit a fold, each with a model of its own."""

import hashlib
import json

import torch
from torch import nn
from torch.nn import functional as F


def train_fold(fold, X, Y):
    model = nn.Linear(6, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for epoch in range(3):
        for part in torch.randperm(len(X)).split(8):
            loss = F.mse_loss(model(X[part]), Y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, hashlib.sha256(model.weight.detach().numpy().tobytes()).hexdigest()


def main():
    torch.manual_seed(8)
    X, Y = torch.randn(48, 6), torch.randn(48, 1)
    results = []
    for fold in range(3):
        keep = torch.arange(48) % 3 != fold
        results.append(train_fold(fold, X[keep], Y[keep]))
    print("RESULT", json.dumps({"results": results, "random": torch.rand(1).item()}))


main()
