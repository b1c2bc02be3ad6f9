"""The one listener of a trial: it counts events, and has every metric arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hookcore.hookspecs import EVENTS, hookimpl

if TYPE_CHECKING:
    from hookcore.training import Fit, Run


class Tally:
    """Counts what fires. It stands where the plugins would, for they must not act in a trial.

    Args:
        recognised: Called at a fit's start.

    Attributes:
        counts: How often each event has fired.
        sources: Metric to the source that it last came from.
    """

    name = "trial"

    def __init__(self, recognised: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.sources: dict[str, str] = {}
        self._recognised = recognised

    @hookimpl
    def on_train_start(self, run: Run) -> None:
        """The loops are known; have the first batch show its variables."""
        self.counts["on_train_start"] += 1
        run.metrics.refresh()
        self._recognised()

    @hookimpl
    def on_batch_start(self, run: Run) -> None:
        """Have every batch show its variables, as a progress display does now and then."""
        self.counts["on_batch_start"] += 1
        run.metrics.refresh()

    @hookimpl
    def on_log(self, metrics: Any, source: str) -> None:
        """Note where values come from."""
        self.counts["on_log"] += 1
        self.sources.update(dict.fromkeys(metrics, source))

    @hookimpl
    def on_checkpoint_save(self, fit: Fit) -> None:
        """Nobody asks for a checkpoint in a trial, unless the script itself does."""
        self.counts["on_checkpoint_save"] += fit is not None


def _counting(event: str) -> Callable[[Tally], None]:
    def count(self: Tally) -> None:
        self.counts[event] += 1

    count.__name__ = event
    marked: Callable[[Tally], None] = hookimpl(count)
    return marked


for _event in EVENTS:
    if _event not in vars(Tally):
        setattr(Tally, _event, _counting(_event))
