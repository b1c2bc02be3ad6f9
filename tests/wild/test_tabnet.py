"""pytorch-tabnet: epochs, batches and validations in methods of one trainer, with callbacks."""

from __future__ import annotations

import numpy
import pytest
from pytorch_tabnet.abstract_model import TabModel
from pytorch_tabnet.tab_model import TabNetClassifier, TabNetRegressor


@pytest.mark.parametrize("kind", [TabNetClassifier, TabNetRegressor])
def test_as_bare(wild, kind):
    """Three epochs of four batches, each with two sets to validate on."""
    wild.judge(TabModel, "fit", trained(kind),
               epochs=3, batches=12, steps=12, validations=6, validation_batches=9)  # fmt: skip


def test_stop(wild):
    """The callbacks of the package's own end of training run."""
    wild.stop(TabModel, "fit", trained(TabNetClassifier))


def trained(kind):
    """A call that fits one model."""

    def train():
        draw = numpy.random.RandomState(0)
        data = draw.randn(100, 6).astype("float32")
        target = (data[:, 0] > 0).astype(int)
        if kind is TabNetRegressor:
            target = data[:, :1]
        model = kind(n_d=4, n_a=4, n_steps=2, verbose=0)
        model.fit(
            data[:64], target[:64],
            eval_set=[(data[64:96], target[64:96]), (data[96:], target[96:])],
            max_epochs=3, batch_size=16, virtual_batch_size=8,
        )  # fmt: skip
        return model.network, model._optimizer, model.history.history["loss"]

    return train
