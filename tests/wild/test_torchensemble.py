"""torchensemble: several models in turn, each over the whole loader, through joblib."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchensemble import BaggingClassifier, VotingClassifier


class Net(nn.Module):
    """One member."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("kind", [VotingClassifier, BaggingClassifier])
def test_as_bare(wild, kind):
    """Three members of four batches each, and one validation of them all, in each epoch."""
    wild.judge(kind, "fit", trained(kind),
               epochs=3, batches=36, steps=36, validations=3, validation_batches=6)  # fmt: skip


def test_stop(wild):
    """The ensemble is made of what there is after two epochs."""
    wild.stop(VotingClassifier, "fit", trained(VotingClassifier))


def trained(kind):
    """A call that fits one ensemble."""

    def train():
        draw = torch.Generator().manual_seed(7)
        x, y = torch.randn(60, 5, generator=draw), torch.randint(0, 3, (60,), generator=draw)
        ensemble = kind(estimator=Net, n_estimators=3, cuda=False)
        ensemble.set_optimizer("Adam", lr=1e-2)
        ensemble.set_scheduler("StepLR", step_size=1)
        ensemble.fit(
            DataLoader(TensorDataset(x[:40], y[:40]), 10, shuffle=True), epochs=3,
            test_loader=DataLoader(TensorDataset(x[40:], y[40:]), 10), save_model=False,
        )  # fmt: skip
        return [ensemble]

    return train
