"""What may go again: pure, over what a directory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs

from hookcore_checkpoint.places import RESUMABLE

if TYPE_CHECKING:
    from hookcore.snapshot import Manifest


@attrs.frozen
class Kept:
    """One checkpoint on disk, as far as it matters here.

    Args:
        key: Whatever names it.
        number: Its place in the order of writing.
        kind: ``"epoch"``, ``"mid-epoch"``, ``"partial"`` or ``"emergency"``.
        fit: Index of its fit.
        value: The monitored metric that arrived for it, or None.
    """

    key: Any
    number: int
    kind: str = "epoch"
    fit: int = 0
    value: float | None = None


def kept(found: Iterable[tuple[Any, Manifest, dict[str, Any]]], monitor: str | None) -> list[Kept]:
    """Checkpoints as they are here, each with its value; a later one may tell it.

    Args:
        found: Folder, manifest and label of each.
        monitor: The metric that counts; values of others do not.
    """
    found = sorted(found, key=lambda one: one[2].get("number", 0))
    late: dict[int, float] = {}
    for _, _, label in found:
        late |= label.get("late", {}) if label.get("monitor") == monitor else {}
    return [
        Kept(
            path,
            number := label.get("number", 0),
            about.header.kind,
            about.position.get("fit", 0),
            late.get(number, label.get("value") if label.get("monitor") == monitor else None),
        )
        for path, about, label in found
    ]


Better = Callable[[float, float | None], bool]


def surplus(found: Iterable[Kept], keep_last: int, keep_best: int, better: Better) -> list[Kept]:
    """What goes: neither among the last of its fit and kind, nor among the best of its fit.

    The newest of all and the newest to resume from stay, whatever the numbers say.

    Args:
        found: Everything the run has written and that is still there.
        keep_last: How many of each fit and kind; 0 keeps all.
        keep_best: How many of each fit.
        better: Whether a value improves on another.
    """
    order = sorted(found, key=lambda one: one.number)
    if keep_last == 0:
        return []
    staying = {one.number for one in order[-1:]}
    staying.update(one.number for one in [o for o in order if o.kind in RESUMABLE][-1:])
    for group in _groups(order, lambda one: (one.fit, one.kind)):
        staying.update(one.number for one in group[-keep_last:])
    for group in _groups(order, lambda one: (one.fit,)):
        staying.update(one.number for one in best(group, keep_best, better))
    return [one for one in order if one.number not in staying]


def best(found: Iterable[Kept], count: int, better: Better) -> list[Kept]:
    """The ``count`` best, best first; of equals the one written first."""
    left = [one for one in found if one.value is not None and one.kind != "emergency"]
    left.sort(key=lambda one: one.number)
    chosen: list[Kept] = []
    while left and len(chosen) < count:
        top: Kept | None = None
        for one in left:
            if one.value is not None and better(one.value, top.value if top else None):
                top = one
        if top is None:  # nothing but NaN
            break
        chosen.append(top)
        left.remove(top)
    return chosen


def _groups(order: list[Kept], key: Callable[[Kept], tuple[Any, ...]]) -> list[list[Kept]]:
    return [list(group) for _, group in groupby(sorted(order, key=key), key)]
