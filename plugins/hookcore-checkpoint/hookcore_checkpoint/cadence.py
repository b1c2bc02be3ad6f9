"""When to save: pure arithmetic over the counters of a fit."""

from __future__ import annotations

import attrs

from hookcore import UsageError

UNTIMED = 600.0
"""Seconds between checkpoints of a loop that has neither epochs nor validations."""


@attrs.frozen(kw_only=True)
class Cadence:
    """What the user asked for; None where nothing was said.

    Args:
        epochs: Every so many finished epochs; 0 turns it off.
        steps: Every so many optimizer updates.
        seconds: Every so many seconds.
        validations: At every so many validations.
    """

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    validations: int | None = None

    @property
    def by_itself(self) -> bool:
        """Whether nothing was said."""
        return self.epochs is None and not (self.steps or self.seconds or self.validations)

    def words(self) -> str:
        """When it saves, as the opening line has it."""
        said = []
        if self.epochs is None:
            said.append(f"each epoch{' (or validation, without epochs)' if self.by_itself else ''}")
        elif self.epochs:
            said.append(each(self.epochs, "epoch"))
        if self.steps:
            said.append(each(self.steps, "step"))
        if self.validations:
            said.append(each(self.validations, "validation"))
        if self.seconds:
            said.append(f"every {self.seconds:g} s")
        return " and ".join(said) or "when the training ends early"


@attrs.define
class Schedule:
    """When one fit is saved.

    Args:
        epochs: Every so many epochs, or 0.
        steps: Every so many updates, or 0.
        seconds: Every so many seconds, or 0.
        validations: Every so many validations, or 0.
        untimed: Whether the seconds hold only until there is a validation.
        saved_step: ``fit.step`` of the last checkpoint, or where the fit began.
        ahead: Whether a checkpoint must be asked for one batch before it is due, because the loop
            shows its variables only at the end of a batch that it was asked in advance for.
    """

    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    validations: int = 0
    untimed: bool = False
    saved_step: int = 0
    ahead: bool = False
    _step: int = attrs.field(init=False)
    _since: int = attrs.field(default=0, init=False)
    _gap: int = attrs.field(default=1, init=False)
    _jump: int = attrs.field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        self._step = self.saved_step

    def epoch_due(self, done: int, total: int | None) -> bool:
        """Whether to save now that ``done`` epochs are finished; the last one always is."""
        return self.epochs > 0 and (done % self.epochs == 0 or done == total)

    def step_due(self, step: int) -> bool:
        """Whether a multiple of ``steps`` lies behind the last checkpoint."""
        return self.steps > 0 and step // self.steps > self.saved_step // self.steps

    def validation_due(self, done: int) -> bool:
        """Whether to save now that ``done`` validations are finished."""
        return self.validations > 0 and done % self.validations == 0

    def batch_ended(self, step: int) -> bool:
        """Whether to ask for a checkpoint at the end of a batch.

        Args:
            step: Optimizer updates so far.
        """
        self._since += 1
        if step != self._step:
            self._gap, self._jump = self._since, step - self._step
            self._step, self._since = step, 0
        if self.step_due(step):
            return True
        # The next batch updates if this many without an update went before the last one that did.
        return self.ahead and self._since + 1 >= self._gap and self.step_due(step + self._jump)

    def next_is_due(self, step: int) -> bool:
        """Whether to ask right after a checkpoint, for the batch that comes next is due again.

        Args:
            step: Optimizer updates so far.
        """
        return self.ahead and self._gap <= 1 and self.step_due(step + self._jump)

    def saved(self, step: int) -> None:
        """A checkpoint was written, for whatever reason."""
        self.saved_step = step


def plan(cadence: Cadence, *, has_epochs: bool, step: int) -> Schedule:
    """The schedule of one fit.

    Args:
        cadence: What the user asked for.
        has_epochs: Whether the fit has a loop of epochs.
        step: Optimizer updates so far: more than 0 after a resume.

    Raises:
        UsageError: Epochs were asked for and the loop has none.
    """
    steps, seconds = cadence.steps or 0, cadence.seconds or 0.0
    validations = cadence.validations or 0
    if has_epochs:
        epochs = 1 if cadence.epochs is None else cadence.epochs
        return Schedule(
            epochs=epochs,
            steps=steps,
            seconds=seconds,
            validations=validations,
            saved_step=step,
            ahead=steps > 0,
        )
    if cadence.epochs:
        raise UsageError(
            f"checkpoint.every_n_epochs = {cadence.epochs}: the training loop has no epochs",
            "it is one loop over batches or steps",
            "count its updates:  -o checkpoint.every_n_steps=1000",
        )
    by_itself = cadence.by_itself
    return Schedule(
        steps=steps,
        seconds=UNTIMED if by_itself else seconds,
        validations=1 if by_itself else validations,
        untimed=by_itself,
        saved_step=step,
        ahead=True,
    )


def each(count: int, unit: str) -> str:
    """``each epoch``, ``every 3 epochs``."""
    return f"each {unit}" if count == 1 else f"every {count} {unit}s"
