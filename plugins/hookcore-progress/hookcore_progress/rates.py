"""Arithmetic of speed and time left. Knows no clock: each call is told what time it is."""

from __future__ import annotations

from collections import deque

import attrs


class Window:
    """The recent rate of a counter, in its units a second.

    Time spent in a pause (a validation) does not count. What is slow keeps at least ``fewest``
    units in sight, so that a batch a minute has a rate too.

    Args:
        seconds: How far back it looks.
        fewest: Units that it looks back at least.
    """

    def __init__(self, seconds: float = 10.0, fewest: int = 4) -> None:
        self._seconds, self._fewest = seconds, fewest
        self._idle = 0.0
        self._paused_at: float | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._now = 0.0

    def add(self, now: float, done: int) -> None:
        """The counter stands at ``done``. Going back (another fit, a resume) begins anew."""
        self._now = now = self._active(now)
        seen = self._seen
        if seen and done < seen[-1][1]:
            seen.clear()
        if not seen or done > seen[-1][1]:
            seen.append((now, done))
        while len(seen) > 2 and self._beyond(now - seen[1][0], done - seen[1][1]):
            seen.popleft()

    def pause(self, now: float) -> None:
        """From here on time does not count."""
        if self._paused_at is None:
            self._paused_at = now

    def go_on(self, now: float) -> None:
        """Time counts again."""
        if self._paused_at is not None:
            self._idle += now - self._paused_at
            self._paused_at = None

    def restart(self) -> None:
        """Forget the past: the counter was set, not counted up."""
        self._seen.clear()

    @property
    def per_second(self) -> float | None:
        """The rate, None until two different counts have been seen."""
        if len(self._seen) < 2:
            return None
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if ended <= began:
            return None
        rate = (last - first) / (ended - began)
        # Nothing new for longer than two units should take: it has become slower, say so.
        if (self._now - ended) * rate > 2:
            rate = (last - first) / (self._now - began)
        return rate

    def _beyond(self, seconds: float, units: int) -> bool:
        return seconds >= self._seconds and units >= self._fewest

    def _active(self, now: float) -> float:
        return (now if self._paused_at is None else self._paused_at) - self._idle


@attrs.frozen
class Outlook:
    """How far a training is.

    Attributes:
        fraction: Of the whole where its length is known, else of the epoch; None without either.
        seconds: Left until then, None where the pace is not known yet.
        whole: Whether this is about the whole training, not the epoch.
    """

    fraction: float | None = None
    seconds: float | None = None
    whole: bool = True


def outlook(
    *,
    epoch: int | None,
    epochs: int | None,
    batch: int,
    batches: int | None,
    per_second: float | None,
    epoch_seconds: float | None = None,
    into_epoch: float = 0.0,
) -> Outlook:
    """Estimate what is left.

    Args:
        epoch: Epochs finished; None in a loop without epochs.
        epochs: Epochs in all, None where unknown.
        batch: Batches done of this epoch (of the fit, without epochs).
        batches: Batches of an epoch (of the fit), None where unknown.
        per_second: Recent batches a second.
        epoch_seconds: What an epoch has taken lately, validation included.
        into_epoch: Seconds since this epoch began.
    """
    part = None if not batches else min(batch / batches, 1.0)
    rest = None
    if batches is not None and per_second:
        rest = max(batches - batch, 0) / per_second
    if epoch is None or epochs is None:
        return Outlook(part, rest, whole=epoch is None)
    fraction = min((epoch + (part or 0.0)) / epochs, 1.0) if epochs else None
    if epoch >= epochs:
        return Outlook(1.0, 0.0)
    each = epoch_seconds
    if each is None and batches is not None and per_second:
        each = batches / per_second
    if each is None:
        return Outlook(fraction, None)
    here = max(each - into_epoch, rest or 0.0) if epoch_seconds is not None else rest or 0.0
    return Outlook(fraction, here + (epochs - epoch - 1) * each)
