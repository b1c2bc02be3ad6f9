"""The public names as a typed user writes them. mypy reads this file; nothing runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import attrs
from typing_extensions import assert_type

import hookcore


@attrs.define(eq=False, kw_only=True)
class Patience:
    """A plugin with one option and one state."""

    role: ClassVar[str] = "control"
    patience: int = 3
    best: float = attrs.field(default=float("inf"), init=False)

    @hookcore.hookimpl
    def on_validation_end(self, run: hookcore.Run, fit: hookcore.Fit) -> None:
        """Reads a metric, and may stop."""
        loss = run.metrics["loss"]
        assert_type(loss, float)
        if loss > self.best:
            fit.stop("the loss rose")
        self.best = min(self.best, loss)

    @hookcore.hookimpl
    def on_epoch_end(self, run: hookcore.Run, epoch: int) -> None:
        """Says something."""
        run.say(f"epoch {epoch} of {run.name}")


@hookcore.instrument
def bare(epochs: int) -> float:
    """As a decorator, bare: the signature stays."""
    return 1.0 / epochs


@hookcore.instrument(plugins=[Patience(patience=2)], disable=["progress"], strict=True)
def with_arguments(epochs: int, *, lr: float = 0.1) -> list[float]:
    """As a decorator with arguments: the signature stays."""
    return [lr] * epochs


def plain(name: str) -> bool:
    """A function of the user's."""
    return bool(name)


def by_hand(loader: list[int]) -> Iterator[int]:
    """The explicit calls keep what they are given."""
    with hookcore.run() as run:
        assert_type(run, hookcore.Run)
        for epoch in hookcore.epochs(range(3)):
            assert_type(epoch, int)
            for batch in hookcore.batches(loader):
                assert_type(batch, int)
                yield batch
            with hookcore.validation():
                hookcore.log({"loss": 1.0}, accuracy=0.5)


assert_type(bare(3), float)
assert_type(with_arguments(3, lr=0.2), list[float])
assert_type(hookcore.instrument(plain)("x"), bool)
assert_type(hookcore.instrument(plain, options={"earlystop": {"patience": 2}})("x"), bool)
