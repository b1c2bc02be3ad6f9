"""From moments to what is shown: paces, time left, the values that were asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import attrs

from hookcore_progress.choice import choose
from hookcore_progress.moments import Kind, Moment, number
from hookcore_progress.rates import Outlook, Window, outlook


@attrs.frozen
class View:
    """Everything that a surface may show, as plain numbers.

    Attributes:
        kind: As the moment's.
        index: Number of the fit, from 0.
        fit: Number of the fit from 1, None while the run has only one.
        epoch: Current or last epoch from 1, None in a loop without epochs.
        epochs: In all, None where unknown.
        batch: Current or last batch from 1, in its epoch (in the fit, without epochs); a step
            where only steps are known.
        batches: Of an epoch (of the fit), None where unknown.
        done: Batches done in the fit, or steps.
        unit: ``"batch"``, or ``"step"`` where there are no epochs and each batch is an update.
        step: Optimizer updates.
        samples: In the batches begun, None where unknown.
        per_second: Recent batches a second.
        samples_per_second: The same in samples.
        outlook: What is left.
        elapsed: Seconds since the fit began, those before a resume included.
        epoch_seconds: What the last epoch took, in a view of its end.
        epochs_done: Epochs that finished.
        validating: Whether a validation runs.
        observed: Whether steps alone are known, and no batch.
        text: A stop, or how the fit was left.
        metrics: Chosen values, read.
    """

    kind: Kind
    index: int
    fit: int | None
    epoch: int | None
    epochs: int | None
    batch: int
    batches: int | None
    done: int
    unit: str
    step: int
    samples: int | None
    per_second: float | None
    samples_per_second: float | None
    outlook: Outlook
    elapsed: float
    epoch_seconds: float | None
    epochs_done: int
    validating: bool
    observed: bool
    text: str
    metrics: Mapping[str, float]


class Meter:
    """Follows one fit, moment by moment. Used by one thread at a time.

    Args:
        start: The fit's first moment.
        names: Metrics to show; empty chooses (:func:`hookcore_progress.choice.choose`).
        every: Whether all metrics are shown where none are named.
    """

    def __init__(
        self,
        start: Moment,
        names: Sequence[str] = (),
        *,
        every: bool = False,
    ) -> None:
        self._began = start.now
        self._names = tuple(names)
        self._every = every
        self._window = Window()
        self._epochs: deque[float] = deque(maxlen=3)
        self._epoch_began = start.now
        self._last: float | None = None
        self._window.add(start.now, _done(start))

    def view(self, moment: Moment) -> View:
        """Take in a moment and say what it means. Reads values: it may wait for a device."""
        self.follow(moment)
        per_second = self._window.per_second
        done = _done(moment)
        counted = done if moment.observed else moment.batch + 1
        per_batch = moment.samples / max(moment.batches, 1) if moment.samples else None
        in_epoch = moment.has_epochs and moment.kind != "epoch"
        steps = not moment.has_epochs and moment.step >= done
        return View(
            kind=moment.kind,
            index=moment.fit,
            fit=moment.fit + 1 if moment.fits > 1 else None,
            epoch=moment.epoch + 1 if moment.has_epochs else None,
            epochs=moment.total_epochs,
            batch=counted,
            batches=moment.total_batches,
            done=done,
            unit="step" if steps else "batch",
            step=moment.step,
            samples=moment.samples,
            per_second=per_second,
            samples_per_second=per_second * per_batch if per_second and per_batch else None,
            outlook=outlook(
                epoch=moment.epochs_done if moment.has_epochs else None,
                epochs=moment.total_epochs,
                batch=counted if in_epoch or not moment.has_epochs else 0,
                batches=moment.total_batches,
                per_second=per_second,
                epoch_seconds=sum(self._epochs) / len(self._epochs) if self._epochs else None,
                into_epoch=moment.now - self._epoch_began,
            ),
            elapsed=moment.now - self._began,
            epoch_seconds=self._last,
            epochs_done=moment.epochs_done,
            validating=moment.validating,
            observed=moment.observed,
            text=moment.text,
            metrics=self._values(moment),
        )

    def follow(self, moment: Moment) -> None:
        """Take in a moment that nobody shows."""
        window = self._window
        self._last = None
        if moment.kind == "resume":
            window.restart()
            self._began -= moment.carried
            self._epoch_began = moment.now
        elif moment.kind == "pause":
            window.add(moment.now, _done(moment))
            window.pause(moment.now)
        elif moment.kind == "validation":
            window.go_on(moment.now)
        elif moment.kind == "epoch":
            self._last = moment.now - self._epoch_began
            self._epochs.append(self._last)
            self._epoch_began = moment.now
        window.add(moment.now, _done(moment))

    def _values(self, moment: Moment) -> dict[str, float]:
        raw = dict(moment.raw)
        names: Sequence[str] = self._names
        if not names:
            names = tuple(raw)
            if not self._every:
                inside = names if moment.kind == "validation" else moment.validated
                names = choose(names, inside)
        read = {name: number(raw[name]) for name in names if name in raw}
        return {name: value for name, value in read.items() if value is not None}


def _done(moment: Moment) -> int:
    return moment.step if moment.observed else moment.batches
