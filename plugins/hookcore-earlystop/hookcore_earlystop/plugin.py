"""The hooks of early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs
from attrs import validators

import hookcore
from hookcore.monitors import Monitor, Watch, is_held_out
from hookcore_earlystop.patience import Patience, Rule
from hookcore_earlystop.words import Place, best, counted, number, reason


def _option(default: Any, text: str, *checks: Any) -> Any:
    return attrs.field(default=default, validator=list(checks), metadata={"help": text})


_number = validators.optional(validators.instance_of((int, float)))


@attrs.define(eq=False, kw_only=True)
class EarlyStop:
    """Ends the training when its monitored value no longer improves."""

    name: ClassVar[str] = "earlystop"
    role: ClassVar[Literal["control"]] = "control"

    monitor: str = _option("auto", "metric; auto: a validation's loss", validators.min_len(1))
    mode: Literal["auto", "min", "max"] = _option(
        "auto", "which way is better; auto: by the name", validators.in_(("auto", "min", "max"))
    )
    patience: int = _option(3, "arrivals without improvement that end it", validators.ge(1))
    min_delta: float = _option(0.0, "an improvement is larger than this", validators.ge(0))
    min_delta_mode: Literal["abs", "rel"] = _option(
        "abs", "min_delta in the value's unit, or as a share", validators.in_(("abs", "rel"))
    )
    baseline: float | None = _option(None, "improvements count once better than this", _number)
    start_from: int = _option(0, "arrivals to ignore first", validators.ge(0))
    stopping_threshold: float | None = _option(None, "a value as good as this ends it", _number)
    divergence_threshold: float | None = _option(None, "a value worse than this ends it", _number)
    check_finite: bool = _option(True, "NaN and infinity end it")
    restore_best: bool = _option(False, "put the best arrival's weights back at the end")
    shadow: bool = _option(False, "say when it would stop, and touch nothing")
    wait_epochs: int = _option(1, "epochs by which a set monitor must arrive", validators.ge(1))

    _watch: Watch = attrs.field(init=False)
    _patience: Patience = attrs.field(init=False)
    _best_at: Place | None = attrs.field(init=False, default=None)
    _best_weights: Any = attrs.field(init=False, default=None, repr=False)
    _early_weights: Any = attrs.field(init=False, default=None, repr=False)
    _loaded: Mapping[str, Any] | None = attrs.field(init=False, default=None, repr=False)
    _done: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._watch = Watch(Monitor(self.monitor, self.mode), self.name, self.wait_epochs)
        self._patience = Patience(self._rule())

    def about(self, run: hookcore.Run) -> str:  # noqa: ARG002 - the opening lines pass it
        """What it is about to do."""
        what = "a validation's loss or score" if self.monitor == "auto" else self.monitor
        verb = "only says when it would end" if self.shadow else "ends"
        back = ", restores the best weights" if self.restore_best and not self.shadow else ""
        times = "one arrival" if self.patience == 1 else f"{self.patience} arrivals"
        return f"{verb} the training when {what} has not improved for {times}{back}"

    # -- fit ----------------------------------------------------------------------------

    @hookcore.hookimpl
    def on_train_start(self, run: hookcore.Run) -> None:
        """Every fit starts anew, as a fold of a cross-validation must."""
        self._watch.start(run)
        self._patience = Patience(self._rule())
        self._best_at = self._best_weights = self._early_weights = None
        self._done = False

    @hookcore.hookimpl
    def on_resume(self, run: hookcore.Run) -> None:
        """Go on where the checkpoint was."""
        state, self._loaded = self._loaded, None
        if state is None:
            return
        self._watch.load_state_dict(state["watch"])
        self._early_weights = state.get("early_weights")  # which older checkpoints lack
        if self._watch.name is None:
            return
        self._patience = Patience(self._rule())
        self._patience.load_state_dict(state["patience"])
        self._best_at = None if state["best_at"] is None else Place(*state["best_at"])
        self._best_weights = state["best_weights"]
        run.say(
            f"{self.name} goes on: {self._watch.name} has not improved for "
            f"{counted(self._patience.waited, self._watch.unit)} "
            f"({best(self._patience, self._best_at)})"
        )

    @hookcore.hookimpl
    def on_train_end(self, run: hookcore.Run, fit: hookcore.Fit, how: str) -> None:
        """Put the best weights back, unless an error is on its way out."""
        self._done = True  # too late to stop; a value may still be the best
        self._consider(run, fit, self._watch.ended(run))
        if how not in ("exception", "exit"):
            self._restore(run, fit)
            if self._watch.name is None:
                run.note(f"{self.name}: no value of {self._what()} arrived, nothing was monitored")
        self._best_weights = self._early_weights = None

    # -- arrivals --------------------------------------------------------------------------

    @hookcore.hookimpl
    def on_log(self, run: hookcore.Run, fit: hookcore.Fit | None,
               metrics: Mapping[str, float], source: str) -> None:  # fmt: skip
        """A value may have arrived."""
        self._consider(run, fit, self._watch.log(run, fit, metrics, source))

    @hookcore.hookimpl
    def on_validation_start(self, run: hookcore.Run, fit: hookcore.Fit) -> None:
        """Without epochs, this is where the first validation's names are all known."""
        self._consider(run, fit, self._watch.validation_started(run, fit))

    @hookcore.hookimpl
    def on_validation_end(
        self, run: hookcore.Run, fit: hookcore.Fit, metrics: Mapping[str, float]
    ) -> None:
        """The validation's values arrive; what its function returned may still follow."""
        value = self._watch.validation_ended(run, fit, metrics)
        if value is None and self._keeps_weights(fit):
            # The value comes later, perhaps after further steps: these are the weights it is of.
            self._early_weights = fit.copy_weights()
        self._consider(run, fit, value)

    @hookcore.hookimpl
    def on_epoch_end(self, run: hookcore.Run, fit: hookcore.Fit, how: str) -> None:
        """All names of the epoch's validation are known now."""
        self._consider(run, fit, self._watch.epoch_ended(run, fit, how))

    def _consider(self, run: hookcore.Run, fit: hookcore.Fit | None, value: float | None) -> None:
        if value is None or fit is None:
            return
        if self._patience.rule.mode != self._watch.mode:  # known once the metric is
            self._patience = Patience(self._rule())
        verdict = self._patience.take(value)
        if verdict.improved:
            self._best_at = Place(fit.epoch if fit.has_epochs else None, fit.step)
            if self._keeps_weights(fit):
                self._best_weights = self._weights_of_value(fit)
        self._early_weights = None
        if verdict.cause is None or self._done:
            return
        self._done = True
        assert self._watch.name is not None
        text = reason(
            verdict.cause, self._watch.name, value, self._watch.unit, self._patience, self._best_at
        )
        if self.shadow:
            where = Place(fit.epoch if fit.has_epochs else None, fit.step)
            run.say(f"{self.name} (shadow) would stop here: {text}")
            run.note(f"{self.name} (shadow) would have stopped {where}: {text}")
        else:
            fit.stop(text)

    # -- the best weights ------------------------------------------------------------------

    def _keeps_weights(self, fit: hookcore.Fit) -> bool:
        return self.restore_best and not self.shadow and bool(fit.models)

    def _weights_of_value(self, fit: hookcore.Fit) -> Any:
        """The weights that the value is of, or None where they are gone."""
        if self._early_weights is not None:
            return self._early_weights
        name, source = self._watch.name or "", self._watch.source
        if source in ("epoch", "batch") and is_held_out(name):
            return None  # of a validation before the fit's first step: it was not seen
        return fit.copy_weights()

    def _restore(self, run: hookcore.Run, fit: hookcore.Fit) -> None:
        if not self.restore_best or self._best_at is None:
            return
        assert self._watch.name is not None and self._patience.best is not None
        what = f"the weights of the best {self._watch.name}, "
        what += f"{number(self._patience.best)} {self._best_at}"
        if self._best_at.step == fit.step:
            run.note(f"{self.name}: the last weights are {what}")
        elif self.shadow:
            run.note(f"{self.name} (shadow) would have put back {what}")
        elif self._best_weights is None:
            why = "measured before the training began" if fit.models else "no model was trained"
            run.note(f"{self.name} cannot put back {what}: {why}")
        else:
            fit.load_weights(self._best_weights)
            run.say(f"{self.name} puts back {what}")
            run.note(f"{self.name} put back {what}")

    # -- a checkpoint's part ---------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Counts, best value and, with ``restore_best``, the best weights and those that wait."""
        place = self._best_at
        return {
            "watch": self._watch.state_dict(),
            "patience": self._patience.state_dict(),
            "best_at": None if place is None else [place.epoch, place.step],
            "best_weights": self._best_weights,
            "early_weights": self._early_weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Kept until the fit that it belongs to is resumed."""
        self._loaded = state

    # -- inside ----------------------------------------------------------------------------

    def _what(self) -> str:
        return "a validation" if self.monitor == "auto" else self.monitor

    def _rule(self) -> Rule:
        return Rule(
            mode=self._watch.mode,
            patience=self.patience,
            min_delta=self.min_delta,
            relative=self.min_delta_mode == "rel",
            baseline=self.baseline,
            start_from=self.start_from,
            stopping_threshold=self.stopping_threshold,
            divergence_threshold=self.divergence_threshold,
            check_finite=self.check_finite,
        )
