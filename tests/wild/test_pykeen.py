"""pykeen: the step is taken by a callback, after a loop that gathers gradients."""

from __future__ import annotations

import pytest
from pykeen.datasets import Nations
from pykeen.models import TransE
from pykeen.training import LCWATrainingLoop, SLCWATrainingLoop, TrainingLoop
from torch.optim import Adam

BATCHES = {SLCWATrainingLoop: 4, LCWATrainingLoop: 1}


@pytest.mark.parametrize("kind", BATCHES)
def test_as_bare(wild, kind):
    """The data comes with the package: 1592 triples, or the pairs among them."""
    n = 3 * BATCHES[kind]
    wild.judge(TrainingLoop, "_train", trained(kind), epochs=3, batches=n, steps=n)


def test_gathered(wild):
    """Two parts a batch are still one batch, and one step."""
    wild.judge(TrainingLoop, "_train", trained(SLCWATrainingLoop, sub_batch_size=256),
               epochs=3, batches=12, steps=12)  # fmt: skip


def test_stop(wild):
    """The losses that it returns are those of two epochs."""
    wild.stop(TrainingLoop, "_train", trained(SLCWATrainingLoop, epochs=2))


def trained(kind, epochs=3, **options):
    """A call that trains one model, and has so many losses at the end."""

    def train():
        triples = Nations().training
        model = TransE(triples_factory=triples, embedding_dim=4, random_seed=0)
        optimizer = Adam(model.parameters(), lr=0.01)
        loop = kind(model=model, triples_factory=triples, optimizer=optimizer)
        losses = loop.train(
            triples_factory=triples, num_epochs=3, batch_size=512, use_tqdm=False,
            pin_memory=False, **options,
        )  # fmt: skip
        assert len(losses) == epochs
        return model, optimizer, losses

    return train
