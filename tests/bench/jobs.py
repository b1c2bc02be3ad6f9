"""What one measured training is given: a model, its data and the recipes that all rows share."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LR = 0.01


class Sink(io.StringIO):
    """Stands for a terminal: counts what is written, and keeps nothing."""

    chars = 0

    def write(self, text: str) -> int:
        self.chars += len(text)
        return len(text)


class Stamped(nn.Module):
    """A model that notes when its forward begins in training.

    Between two notes of one epoch lies a step, whoever drives it.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.stamps: list[int] = []
        self.clock: Callable[[], int] = time.perf_counter_ns

    def forward(self, x: Any) -> Any:
        if self.training:
            self.stamps.append(self.clock())
        return self.net(x)


class Mean(nn.Module):
    """The mean over a sequence."""

    def forward(self, x: Any) -> Any:
        return x.mean(1)


class Job:
    """One training: the same model, batches and optimizer for every row.

    Args:
        workload: ``tiny``, a perceptron whose step is mostly overhead, or ``small``, a transformer
            of four layers.
        folder: Where it may write.
        steps: Batches of an epoch; the workload's own number where left out.
    """

    epochs = 4

    def __init__(self, workload: str, folder: Path, steps: int | None = None) -> None:
        torch.manual_seed(0)
        if workload == "tiny":
            net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
            shape, self.batch, self.steps = (64,), 32, steps or 200
        else:
            layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
            body = nn.TransformerEncoder(layer, 4)
            net = nn.Sequential(nn.Linear(32, 64), body, Mean(), nn.Linear(64, 10))
            shape, self.batch, self.steps = (16, 32), 16, steps or 25
        self.model = Stamped(net)
        self.folder, self.sink = folder, Sink()
        self.total = self.epochs * self.steps
        self.data = self._data(self.batch * self.steps, shape)
        self.validation_data = self._data(self.batch * max(2, self.steps // 25), shape)
        self.loss = nn.functional.cross_entropy

    @staticmethod
    def _data(samples: int, shape: tuple[int, ...]) -> TensorDataset:
        return TensorDataset(torch.randn(samples, *shape), torch.randint(10, (samples,)))

    @property
    def loader(self) -> DataLoader[Any]:
        """Over the training data, in order."""
        return DataLoader(self.data, self.batch)

    @property
    def validation(self) -> DataLoader[Any]:
        """Over the validation's data, in order."""
        return DataLoader(self.validation_data, self.batch)

    def sgd(self) -> torch.optim.SGD:
        """The optimizer."""
        return torch.optim.SGD(self.model.parameters(), LR, momentum=0.9)

    def schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        """A rate that falls to nothing, one step of it after each of the optimizer's."""
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1 - s / self.total)

    def steps_of(self) -> list[int]:
        """What the clock said between two training forwards of one epoch."""
        stamps = self.model.stamps
        assert len(stamps) == self.total, f"{len(stamps)} training forwards, not {self.total}"
        epochs = [stamps[i : i + self.steps] for i in range(0, self.total, self.steps)]
        return [b - a for epoch in epochs for a, b in itertools.pairwise(epoch)]
