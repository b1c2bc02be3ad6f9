"""skorch: one loop goes over the batches of training and of validation, by a given function."""

from __future__ import annotations

import numpy
import pytest
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn


@pytest.mark.parametrize("kind", [NeuralNetClassifier, NeuralNetRegressor])
def test_as_bare(wild, kind):
    """Four batches an epoch; a fifth of the data is validated on."""
    wild.judge(NeuralNet, "fit_loop", trained(kind),
               epochs=3, batches=12, steps=12, validations=3, validation_batches=3)  # fmt: skip


def test_stop(wild):
    """What skorch does at the end of a training is done."""
    wild.stop(NeuralNet, "fit_loop", trained(NeuralNetClassifier))


def trained(kind):
    """A call that fits one net."""

    def train():
        draw = numpy.random.RandomState(0)
        data = draw.randn(80, 6).astype("float32")
        target = (data[:, 0] > 0).astype("int64")
        if kind is NeuralNetRegressor:
            target = data[:, :1]
        width = 1 if kind is NeuralNetRegressor else 2
        net = kind(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, width), *_last(kind)),
            max_epochs=3, batch_size=16, lr=0.05, verbose=0,
        )  # fmt: skip
        net.fit(data, target)
        return net.module_, net.optimizer_, net.history[:, "train_loss"]

    return train


def _last(kind):
    return [nn.Softmax(-1)] if kind is NeuralNetClassifier else []
