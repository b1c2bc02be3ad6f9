"""A hookcore plugin that says after every epoch whether the loss fell or rose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
from attrs import validators

import hookcore


@attrs.define(eq=False, kw_only=True)
class LossMonitor:
    """Says after every epoch whether the loss fell or rose; stops a run that gets no better."""

    role: ClassVar[str] = "control"

    monitor: str | None = attrs.field(
        default=None, metadata={"help": "a metric's name; none: the first loss of an epoch"}
    )
    patience: int = attrs.field(
        default=5,
        validator=validators.ge(1),
        metadata={"help": "epochs without a new best that end the run"},
    )
    min_delta: float = attrs.field(
        default=0.0,
        validator=validators.ge(0),
        metadata={"help": "a new best is lower by more than this"},
    )

    _name: str | None = attrs.field(init=False, default=None)
    _arrived: bool = attrs.field(init=False, default=False)
    _last: float | None = attrs.field(init=False, default=None)
    _best: float | None = attrs.field(init=False, default=None)
    _waited: int = attrs.field(init=False, default=0)

    @hookcore.hookimpl
    def on_log(self, metrics: Mapping[str, float], source: str) -> None:
        """Notice that the loss has a new value. It is read later: reading waits for the device."""
        if self._name is None and self.monitor is not None:
            self._name = self.monitor
        elif self._name is None and source in ("epoch", "log"):
            self._name = next((name for name in metrics if "loss" in name), None)
        self._arrived = self._arrived or self._name in metrics

    @hookcore.hookimpl
    def on_epoch_end(self, run: hookcore.Run, fit: hookcore.Fit, how: str) -> None:
        """Compare, speak, and stop what gets no better."""
        if how != "finished" or not self._arrived or self._name is None:
            return
        self._arrived = False
        loss = run.metrics[self._name]
        run.say(f"{self._name} {self._movement(loss)}")
        self._last = loss
        if self._best is None or loss < self._best - self.min_delta:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            fit.stop(f"{self._name} has no new best; epochs waited: {self._waited}")

    @hookcore.hookimpl
    def on_train_end(self) -> None:
        """The next fit of this run, another fold perhaps, starts anew."""
        self.load_state_dict({"name": None, "last": None, "best": None, "waited": 0})

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run goes on counting."""
        return {
            "name": self._name, "last": self._last, "best": self._best, "waited": self._waited,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._name, self._last = state["name"], state["last"]
        self._best, self._waited = state["best"], state["waited"]

    def _movement(self, loss: float) -> str:
        if self._last is None or loss == self._last:
            return f"is {loss:.4g}"
        word = "fell" if loss < self._last else "rose"
        return f"{word} from {self._last:.4g} to {loss:.4g}"
