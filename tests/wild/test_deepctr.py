"""deepctr-torch: the model trains itself, in the manner of Keras, inside a ``with tqdm(...)``."""

from __future__ import annotations

import numpy
import pytest
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import WDL, DeepFM
from deepctr_torch.models.basemodel import BaseModel


@pytest.mark.parametrize("kind", [DeepFM, WDL])
def test_as_bare(wild, kind):
    """Four batches an epoch, and a validation with all that is held out in one."""
    wild.judge(BaseModel, "fit", trained(kind),
               epochs=3, batches=12, steps=12, validations=3, validation_batches=3)  # fmt: skip


def test_stop(wild):
    """The history that it returns is that of two epochs."""
    wild.stop(BaseModel, "fit", trained(DeepFM, epochs=2))


def trained(kind, epochs=3):
    """A call that fits one model, whose history tells of so many epochs."""

    def train():
        draw = numpy.random.RandomState(0)
        columns = [SparseFeat("a", 5, 4), SparseFeat("b", 6, 4), DenseFeat("c", 1)]
        data = {
            "a": draw.randint(0, 5, 100),
            "b": draw.randint(0, 6, 100),
            "c": draw.rand(100).astype("float32"),
        }
        target = (data["a"] + data["b"] > 5).astype("float32")
        model = kind(columns, columns, dnn_hidden_units=(8,), device="cpu", seed=0)
        model.compile("adam", "binary_crossentropy", metrics=["binary_crossentropy"])
        history = model.fit(
            data, target, batch_size=20, epochs=3, validation_split=0.2, verbose=2
        )
        assert len(history.history["loss"]) == epochs
        return model, model.optim, history.history

    return train
