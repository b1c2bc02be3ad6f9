# ruff: noqa: N812 - plain loops, as users write them
# Everything at module level: mixed precision with a scaler, LBFGS beside it, no function.
import hashlib
import json
import sys
from collections import defaultdict, deque

import torch
from torch import nn
from torch.nn import functional as F

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 4
torch.manual_seed(5)
X = torch.randn(32, 6)
Y = torch.randn(32, 2)
net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 2))
head = nn.Linear(2, 2)
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
fine = torch.optim.LBFGS(head.parameters(), lr=0.5, max_iter=3, history_size=4)
warm = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=200)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
recent, counts, total = deque(maxlen=5), defaultdict(int), 0
curve = []
scales = {n: 1 + n / 10 for n in range(epochs)}


def closure():
    fine.zero_grad()
    gap = F.mse_loss(head(net(X).detach()), Y)
    gap.backward()
    return gap


for epoch in range(epochs):
    net.train()
    for part in torch.randperm(32).split(8):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.mse_loss(net(X[part]), Y[part])
        scaler.scale(loss * scales[epoch]).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        warm.step()
        recent.append(loss.item())
        counts[epoch % 2] += 1
        total += 1
    gap = fine.step(closure)
    curve.append(float(gap))

sha = hashlib.sha256()
for value in (*net.state_dict().values(), *head.state_dict().values()):
    sha.update(value.numpy().tobytes())
print("RESULT", json.dumps({
    "weights": sha.hexdigest(), "recent": list(recent), "counts": dict(counts), "total": total,
    "curve": curve, "scale": scaler.get_scale(), "lr": warm.get_last_lr(), "epoch": epoch,
    "random": torch.rand(1).item(), "loss": loss.item(),
}))
