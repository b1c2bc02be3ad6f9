"""Changes of the learning rate as lines, few enough to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

_LINES = 10
_MUCH = 2.0
_NEAR = 50
_LOOKS = 16


@attrs.define
class _Series:
    """Changes of one optimizer that no line has told yet."""

    count: int
    first: int
    last: int
    by: str


@attrs.define
class _Known:
    """One optimizer.

    Attributes:
        label: What lines call its rate.
        groups: Its parameter groups.
        lrs: Rates of the last line, one a group.
        now: Rates of the last step that is known of.
        changed_at: Step of the last change.
        lines: Lines said about it.
        series: Changes not told.
    """

    label: str
    groups: list[Any]
    lrs: list[float]
    now: list[float]
    changed_at: int | None = None
    lines: int = 0
    series: _Series | None = None

    def rates(self) -> list[float]:
        """The rates as they stand in the groups."""
        return [float(group["lr"]) for group in self.groups]


class Report:
    """Says what a learning rate did.

    A change that stands alone is said at once. Changes that follow one another within 50 steps are
    summed up: at the end of an epoch, or without epochs when the rate has doubled or halved. After
    ten lines a fit only that much is worth a line, and the end of the training.

    Args:
        say: Takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._known: dict[int, _Known] = {}

    def start(self, optimizers: Iterable[Any]) -> None:
        """A fit begins; rates as they are now are the ones before the first change."""
        self._known.clear()
        many = list(optimizers)
        for i, optimizer in enumerate(many):
            name = "lr" if len(many) == 1 else f"lr of {type(optimizer).__name__} {i}"
            self._see(optimizer, name)

    def changed(
        self, optimizer: Any, group: int, new: float, step: int, by: str, *, has_epochs: bool
    ) -> None:
        """A rate of an optimizer has changed.

        Args:
            optimizer: It; its groups have the new rates.
            group: Index of the parameter group.
            new: Its rate.
            step: Updates before the one that uses it.
            by: Who did it.
            has_epochs: Whether an epoch's end will come.
        """
        # Hot where the rate changes with every step: a call saved here is saved in each of them,
        # and rates are compared only when a line is due.
        number = id(optimizer)
        if number not in self._known:
            self._see(optimizer, f"lr of {type(optimizer).__name__} {len(self._known)}")
            return
        known = self._known[number]
        try:
            known.now[group] = new
        except IndexError:  # a group that was added since
            known.now = known.rates()
        if known.changed_at == step:  # another group's event
            return
        series = known.series
        if series is not None:
            series.count += 1
            series.last = step
            series.by = by
            known.changed_at = step
            if not has_epochs and series.count % _LOOKS == 0:
                known.now = known.rates()
                self._tell(known, only_much=True)
            return
        known.now = known.rates()
        if known.lrs == known.now:  # told when it was done
            return
        alone = known.changed_at is None or step - known.changed_at > _NEAR
        known.changed_at = step
        known.series = _Series(1, step, step, by)
        if alone or not has_epochs:
            self._tell(known, only_much=not alone)

    def told(self, optimizer: Any) -> None:
        """Its rates have changed, and somebody has said so."""
        known = self._known.get(id(optimizer))
        if known is not None:
            known.lrs, known.now = known.rates(), known.rates()
            known.series = None

    def epoch_ended(self) -> None:
        """Sum up what the epoch has changed."""
        for known in self._known.values():
            self._tell(known)

    def ended(self) -> None:
        """Sum up what no line has told."""
        for known in self._known.values():
            self._tell(known, last=True)
        self._known.clear()

    def _see(self, optimizer: Any, label: str) -> None:
        known = self._known[id(optimizer)] = _Known(label, optimizer.param_groups, [], [])
        known.lrs, known.now = known.rates(), known.rates()

    def _tell(self, known: _Known, *, only_much: bool = False, last: bool = False) -> None:
        series = known.series
        if series is None:
            return
        before, after = known.lrs, list(known.now)
        if cut(before, after) == "":
            return
        if not last and (only_much or known.lines >= _LINES):
            ratios = (_ratio(a, b) for a, b in zip(before, after, strict=False))
            if max(ratios, default=1.0) < _MUCH:
                return
        known.lines += 1
        known.lrs, known.series = after, None
        when = f"at step {series.first}"
        if series.count > 1:
            when = f"in {series.count} changes, steps {series.first} to {series.last}"
        for groups, old, new in _distinct(before, after):
            self._say(f"{known.label}{groups} {old:.4g} -> {new:.4g} {when} ({series.by})")


def cut(before: Iterable[float], after: Iterable[float]) -> str:
    """Rates before and after, each pair once: ``0.1 -> 0.01``; empty where none can be told."""
    pairs = (f"{old:.4g} -> {new:.4g}" for old, new in zip(before, after, strict=False)
             if f"{old:.4g}" != f"{new:.4g}")  # fmt: skip
    return ", ".join(dict.fromkeys(pairs))


def _ratio(a: float, b: float) -> float:
    low, high = sorted((abs(a), abs(b)))
    return 1.0 if low == high else float("inf") if low == 0 else high / low


def _distinct(old: list[float], new: list[float]) -> list[tuple[str, float, float]]:
    """One row for the groups that changed alike: their names, old and new rate."""
    rows: dict[tuple[float, float], list[int]] = {}
    for group, pair in enumerate(zip(old, new, strict=False)):
        if pair[0] != pair[1]:
            rows.setdefault(pair, []).append(group)
    alike = len(rows) == 1 and len(next(iter(rows.values()))) == len(new)
    return [
        ("" if alike else f" (group {', '.join(map(str, groups))})", *pair)
        for pair, groups in rows.items()
    ]
