"""pyod: the loop stands in a base class, the step in a method of the detector."""

from __future__ import annotations

import numpy
import pytest
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.base_dl import BaseDeepLearningDetector
from pyod.models.vae import VAE

DETECTORS = {
    "autoencoder": lambda: AutoEncoder(
        epoch_num=3, batch_size=16, hidden_neuron_list=[8, 4], verbose=0
    ),
    "variational": lambda: VAE(
        epoch_num=3, batch_size=16, encoder_neuron_list=[8, 4], decoder_neuron_list=[4, 8],
        latent_dim=2, verbose=0,
    ),
}  # fmt: skip


def trained(make):
    """A call that fits one detector."""

    def train():
        data = numpy.random.RandomState(0).randn(70, 6).astype("float32")
        detector = make()
        detector.fit(data)
        return detector.model, detector.optimizer, detector.decision_scores_

    return train


@pytest.mark.parametrize("name", DETECTORS)
def test_as_bare(wild, name):
    """Three epochs of four whole batches; the scores are taken after the method has returned."""
    train = trained(DETECTORS[name])
    wild.judge(BaseDeepLearningDetector, "train", train,
               epochs=3, batches=12, steps=12, validations=0)  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_stop(wild, name):
    """The detector is ready to be used."""
    wild.stop(BaseDeepLearningDetector, "train", trained(DETECTORS[name]))
