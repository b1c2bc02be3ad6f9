# ruff: noqa: N806, N812, RUF012 - plain loops, as users write them
"""What loops keep: dataclasses, shared lists, nonlocals, raw tensors, copies, class attributes."""

import copy
import hashlib
import json
import sys
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class State:
    step: int = 0
    best: float = float("inf")
    seen: list = field(default_factory=list)


class Gate(nn.Module):
    """Keeps a plain number that its state_dict leaves out, and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.temperature = 1.0
        self.calls = 0
        self.register_buffer("shift", torch.zeros(5), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.shift += 0.01 * x.detach().mean(0)
        return torch.tanh(self.inner(x) / self.temperature) + self.shift


class Record:
    made = 0
    values = []

    def __init__(self, value):
        self.value = value
        Record.made += 1
        Record.values.append(value)


def counter():
    count = 0

    def bump():
        nonlocal count
        count += 1
        return count

    return bump


def digest(tensors):
    digest.calls = getattr(digest, "calls", 0) + 1
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


def train(state, curve, out, epochs):
    model = Gate()
    scale = torch.ones(5, requires_grad=True)
    offsets = [torch.zeros(5, requires_grad=True), torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.Adam([
        {"params": model.parameters()}, {"params": [scale, *offsets], "lr": 0.02}], lr=0.01)
    bump = counter()
    X = torch.randn(40, 5)
    weights = np.ones(40)
    order = np.arange(40)
    table = {"train": [], "val": []}
    short = table["train"]
    words, ordered = Counter(), OrderedDict()
    best_model, best_weights, top = None, None, Record(-1.0)
    first = model.state_dict()
    mean = torch.zeros(5)
    unused = iter(range(3))
    rates = [1 / (1 + n) for n in range(epochs)]
    for epoch in range(epochs):
        np.random.shuffle(order)
        for i in range(0, 40, 10):
            x = X[torch.from_numpy(order[i:i + 10].copy())]
            y = model(x) * scale + offsets[0] + offsets[1]
            loss = (y ** 2).mean() + F.mse_loss(y, x)
            optimizer.zero_grad()
            (loss * rates[epoch]).backward()
            optimizer.step()
            mean.data.mul_(0.9).add_(x.mean(0), alpha=0.1)
            state.step = bump()
            short.append(loss.item())
            curve.append(loss.item())
            weights[i] *= 1.1
            words[epoch % 2] += 1
        model.temperature *= 0.9
        with torch.no_grad():
            model.eval()
            val_loss = F.mse_loss(model(X), X).item()
            model.train()
        table["val"].append(val_loss)
        ordered[epoch] = val_loss
        if val_loss < state.best:
            state.best = val_loss
            best_model = copy.deepcopy(model)
            best_weights = copy.deepcopy(model.state_dict())
            top = Record(val_loss)
        state.seen.append([epoch, digest(model.parameters())[:8]])
    out["table"] = table
    out["same list"] = short is table["train"]
    out["live"] = first["inner.weight"].data_ptr() == model.inner.weight.data_ptr()
    out["words"] = dict(words)
    out["ordered"] = list(ordered.items())
    out["digests"] = {
        "model": digest([*model.state_dict().values(), model.shift]),
        "raw": digest([scale, *offsets]),
        "best model": digest(best_model.state_dict().values()),
        "best weights": digest(best_weights.values()),
        "mean": digest([mean]),
        "moments": digest(s["exp_avg"] for s in optimizer.state.values()),
    }
    out["top"] = top.value
    out["kept"] = [digest.calls, Record.made, Record.values]
    out["weights"] = weights.tolist()
    out["order"] = order.tolist()
    out["calls"] = [model.calls, best_model.calls, bump(), next(unused)]
    out["temperature"] = [model.temperature, best_model.temperature]


def main():
    torch.manual_seed(11)
    np.random.seed(12)
    state, curve, out = State(), [], {}
    train(state, curve, out, int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    out["state"] = [state.step, state.best, state.seen]
    out["curve"] = curve
    out["random"] = [torch.rand(1).item(), np.random.rand()]
    print("RESULT", json.dumps(out))


main()
