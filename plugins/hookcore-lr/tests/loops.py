"""Plain PyTorch loops, as users have them."""
# ruff: noqa: B007, N812 - as users write them

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

N = 64
generator = torch.Generator().manual_seed(0)
X, X_VAL = torch.randn(N, 8, generator=generator), torch.randn(128, 8, generator=generator)
Y, Y_VAL = (X.sum(1) > 0).long(), (X_VAL.sum(1) > 0).long()
Y = torch.where(torch.rand(N, generator=generator) < 0.4, 1 - Y, Y)


def rates(optimizer):
    """The rates that each of its steps uses, as a list that grows."""
    used = []
    optimizer.register_step_pre_hook(
        lambda one, *_: used.append([float(group["lr"]) for group in one.param_groups])
    )
    return used


def build(seed=0, kind="sgd", lr=0.1):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": lr / 2}]
    if kind == "sgd":
        return model, torch.optim.SGD(groups, lr=lr, momentum=0.9)
    return model, torch.optim.Adam(groups, lr=lr / 10)


def evaluate(model):
    model.eval()
    with torch.no_grad():
        loss = F.cross_entropy(model(X_VAL), Y_VAL)
    model.train()
    return loss.item()


def train(epochs=12, kind="sgd", per_step=None, per_epoch=None, by_value=None, by_hand=None):
    """Epochs over a loader; a user's own scheduler where one is given."""
    model, optimizer = build(kind=kind)
    loader = DataLoader(TensorDataset(X, Y), 16, shuffle=True)
    step_scheduler = per_step and per_step(optimizer)
    epoch_scheduler = (per_epoch or by_value) and (per_epoch or by_value)(optimizer)
    used = rates(optimizer)
    for epoch in range(epochs):
        if by_hand:
            for group in optimizer.param_groups:
                group["lr"] = by_hand(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if step_scheduler:
                step_scheduler.step()
        val_loss = evaluate(model)
        if by_value:
            epoch_scheduler.step(val_loss)
        elif epoch_scheduler:
            epoch_scheduler.step()
        print(epoch, val_loss)
    return model, optimizer, used


def late_optimizer(epochs=4):
    """A second part of the model is trained from the third epoch on."""
    model, _ = build()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = None
    for epoch in range(epochs):
        if epoch == 2:
            second = torch.optim.SGD(model[2].parameters(), lr=0.01)
            used = rates(second)
        for i in range(3):
            F.cross_entropy(model(X), Y).backward()
            first.step()
            if second is not None:
                second.step()
            model.zero_grad()
    return used


def twice(epochs=3):
    """Two fits with one optimizer."""
    model, optimizer = build()
    used = rates(optimizer)
    for epoch in range(epochs):
        for i in range(2):
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
    for epoch in range(epochs):
        for i in range(2):
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
    return used


def capturable(epochs=3):
    """The learning rate is a tensor."""
    model, _ = build()
    lr = torch.tensor(0.01)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    used = rates(optimizer)
    for epoch in range(epochs):
        for i in range(2):
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
    return optimizer, lr, used


def scaled(epochs=10, scale=2.0**16):
    """Mixed precision's scaler, on a CPU."""
    model, optimizer = build()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)
    used = rates(optimizer)
    for epoch in range(epochs):
        for i in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    return used


def unscaled(epochs=10):
    """The same without one."""
    model, optimizer = build()
    used = rates(optimizer)
    for epoch in range(epochs):
        for i in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            loss.backward()
            optimizer.step()
    return used
