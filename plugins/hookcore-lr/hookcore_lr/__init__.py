"""hookcore plugin: watches, and where asked controls, the learning rate of a training loop."""

from hookcore_lr.plugin import LR

__all__ = ["LR"]
