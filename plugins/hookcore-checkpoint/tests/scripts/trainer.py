# ruff: noqa: B020, N812 - plain loops, as users write them
"""A class that keeps everything on self; two optimizers, an object with a state of its own."""

import copy
import hashlib
import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Average:
    """Weights averaged over time."""

    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = {k: v.clone() for k, v in model.state_dict().items()}
        self.updates = 0

    def update(self, model):
        self.updates += 1
        for k, v in model.state_dict().items():
            self.shadow[k].mul_(self.decay).add_(v, alpha=1 - self.decay)

    def state_dict(self):
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state):
        self.shadow, self.updates = state["shadow"], state["updates"]


class Meter:
    """No state_dict: plain attributes."""

    def __init__(self):
        self.seen, self.values = 0, []

    def add(self, value):
        self.seen += 1
        self.values.append(value)


class Trainer:
    def __init__(self, epochs):
        self.epochs = epochs
        self.model = nn.Linear(5, 4)
        self.critic = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        self.opts = [torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9),
                     torch.optim.Adam(self.critic.parameters(), lr=0.01)]
        self.average = Average(self.model, 0.9)
        self.meter = Meter()
        self.noise = torch.Generator().manual_seed(7)
        self.draws = np.random.default_rng(5)
        self.best = float("inf")
        self.best_state = None
        self.patience = 0
        self.X = torch.randn(40, 5)

    def one_batch(self, x):
        fake = self.model(x + 0.1 * torch.randn(x.shape, generator=self.noise))
        loss_c = F.softplus(self.critic(fake.detach())).mean()
        self.opts[1].zero_grad()
        loss_c.backward()
        self.opts[1].step()
        loss = -self.critic(fake).mean() + (fake ** 2).mean() * float(self.draws.random())
        self.opts[0].zero_grad()
        loss.backward()
        self.opts[0].step()
        self.average.update(self.model)
        return loss.item()

    def fit(self):
        for self.epoch in range(self.epochs):
            order = torch.randperm(len(self.X))
            for part in order.split(10):
                self.meter.add(self.one_batch(self.X[part]))
            with torch.no_grad():
                self.model.eval()
                val_loss = (self.model(self.X) ** 2).mean().item()
                self.model.train()
            if val_loss < self.best:
                self.best, self.patience = val_loss, 0
                self.best_state = copy.deepcopy(self.model.state_dict())
            else:
                self.patience += 1
            np.random.shuffle(order.numpy())
        return self.epoch


def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


if __name__ == "__main__":
    torch.manual_seed(3)
    np.random.seed(4)
    trainer = Trainer(4)
    last = trainer.fit()
    print("RESULT", json.dumps({
        "last": last,
        "model": digest(trainer.model.state_dict().values()),
        "critic": digest(trainer.critic.state_dict().values()),
        "average": digest(trainer.average.shadow.values()),
        "updates": trainer.average.updates,
        "seen": trainer.meter.seen,
        "values": trainer.meter.values,
        "best": trainer.best,
        "best_state": digest(trainer.best_state.values()),
        "patience": trainer.patience,
        "random": [torch.rand(1).item(), np.random.rand(), trainer.draws.random(),
                   torch.rand(1, generator=trainer.noise).item()],
    }))
