"""What stood where at one moment: taken in a microsecond, looked at later in our own thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from hookcore import Fit, Run

Kind = Literal["start", "tick", "pause", "validation", "epoch", "resume", "stop", "end"]


@attrs.frozen(eq=False)
class Moment:
    """A fit's counters and the metrics' latest values, unread.

    Attributes:
        kind: Why it was taken; ``"pause"`` is a validation's start.
        now: Seconds of a monotonic clock.
        fit: Number of the fit, from 0.
        fits: Fits begun in the run.
        epoch: As in ``Fit``; ``batch``, ``batches``, ``step``, ``samples`` and totals too.
        observed: Whether the fit's steps alone are known, and no batch.
        text: A stop's reason and author, or how the fit was left.
        raw: Values as they are kept, tensors perhaps. A validation's may still grow: what the
            loop makes of them (``test_loss, accuracy = test(model)``) arrives after its end.
        validated: Names that have arrived in validations so far.
        carried: Seconds that the fit had run before the checkpoint that it goes on from.
    """

    kind: Kind
    now: float
    fit: int
    fits: int
    epoch: int
    batch: int
    batches: int
    step: int
    samples: int | None
    epochs_done: int
    total_epochs: int | None
    total_batches: int | None
    has_epochs: bool
    validating: bool
    observed: bool
    text: str
    raw: Mapping[str, Any]
    validated: frozenset[str]
    carried: float


def take(
    kind: Kind,
    run: Run,
    fit: Fit,
    now: float,
    *,
    text: str = "",
    raw: Mapping[str, Any] | None = None,
    validated: frozenset[str] = frozenset(),
    carried: float = 0.0,
) -> Moment:
    """Take a moment. Reads no value: it waits for no device, in whichever thread."""
    if kind == "tick" and fit.stopped is not None:
        text = f"stopping: {fit.stopped.reason} ({fit.stopped.by})"
    return Moment(
        kind=kind,
        now=now,
        fit=fit.index,
        fits=run.fits,
        epoch=fit.epoch,
        batch=fit.batch,
        batches=fit.batches,
        step=fit.step,
        samples=fit.samples,
        epochs_done=fit.epochs_done,
        total_epochs=fit.total_epochs,
        total_batches=fit.total_batches,
        has_epochs=fit.has_epochs,
        validating=fit.in_validation,
        observed=fit.observed,
        text=text,
        raw={} if raw is None else raw,
        validated=validated,
        carried=carried,
    )


def latest(run: Run) -> dict[str, Any]:
    """Every metric's latest value, unread."""
    return {name: run.metrics.latest(name) for name in run.metrics.names}


def number(raw: Any) -> float | None:
    """The number behind a kept value, or None where it cannot be had here.

    Waits for the value's device; called in the display's thread alone. A sharded tensor is not
    read: that may be a collective call, and no other rank would answer.
    """
    if hasattr(raw, "to_local"):
        return None
    try:
        item = getattr(raw, "item", None)
        return float(raw if item is None else item())
    except Exception:  # noqa: BLE001 - any library's value; what cannot be read is not shown
        return None
