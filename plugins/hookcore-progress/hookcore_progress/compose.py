"""A view in words: one line for a display, one sentence for a log, one object for a program."""

from __future__ import annotations

import json
import math
from typing import Any

import attrs

from hookcore_progress import cells, formats
from hookcore_progress.meter import View

GAP = "  "
BAR = 9
"""The bar's rank: it is made of what is left over."""
_WIDEST_BAR = 30
_NARROWEST_BAR = 6


@attrs.frozen
class Part:
    """A piece of the live line.

    Attributes:
        text: As shown.
        style: One of :data:`hookcore_progress.cells.SGR`.
        rank: Where room is short, the highest goes first.
    """

    text: str
    style: str = ""
    rank: int = 0


def live(view: View, width: int, *, ascii_only: bool = False) -> list[Part]:
    """The live line, at most ``width`` cells: what matters least is left out where it is narrow."""
    parts = [part for part in _parts(view) if part.text]
    while len(parts) > 1 and _width(parts) > width:
        parts.remove(max(reversed(parts), key=lambda part: part.rank))
    left = width - _width(parts)
    fraction = view.outlook.fraction
    place = next((i for i, part in enumerate(parts) if part.rank > 1), len(parts))
    if fraction is not None and left >= _NARROWEST_BAR + len(GAP):
        room = min(left - len(GAP), _WIDEST_BAR)
        parts[place:place] = [Part(bar(fraction, room, ascii_only=ascii_only), "cyan", BAR)]
    if left < 0:
        parts = [attrs.evolve(parts[0], text=cells.cut(parts[0].text, max(width, 0)))]
    return parts


def bar(fraction: float, room: int, *, ascii_only: bool = False) -> str:
    """A bar that fills ``room`` cells, filled from the left."""
    full, half, rest = ("#", "#", "-") if ascii_only else ("━", "╸", "─")
    halves = int(min(max(fraction, 0.0), 1.0) * room * 2)
    text = full * (halves // 2) + half * (halves % 2)
    return text + rest * (room - len(text))


def sentence(view: View) -> str:
    """A view as a line that stays: in a log, or above the live line."""
    fit = "" if view.fit is None else f"fit {view.fit}: "
    return fit + ", ".join(part for part in _clauses(view) if part)


def record(view: View, time: float) -> str:
    """A view as one JSON object; the keys are documented in the README."""
    outlook, seen = view.outlook, not view.observed
    fields: dict[str, Any] = {
        "event": "progress" if view.kind == "tick" else view.kind,
        "time": round(time, 3),
        "elapsed": round(view.elapsed, 3),
        "fit": view.index,
        "epoch": None if view.epoch is None else view.epoch - 1,
        "total_epochs": view.epochs,
        "epochs_done": view.epochs_done,
        "batch": view.batch - 1 if seen else None,
        "total_batches": view.batches,
        "batches_done": view.done if seen else None,
        "step": view.step,
        "samples": view.samples,
        "batches_per_second": _rounded(view.per_second) if seen else None,
        "samples_per_second": _rounded(view.samples_per_second),
        "fraction": _rounded(outlook.fraction) if outlook.whole else None,
        "seconds_left": _rounded(outlook.seconds) if outlook.whole else None,
        "validating": view.validating,
        "text": view.text,
        "metrics": {name: _finite(value) for name, value in view.metrics.items()},
    }
    return json.dumps(fields, ensure_ascii=True, allow_nan=False)


def _parts(view: View) -> list[Part]:
    parts = [Part("" if view.fit is None else f"fit {view.fit}", rank=5)]
    batch = _of(view.batch, view.batches)
    if view.epoch is None:
        parts += [Part(f"{view.unit} {batch}", "bold")]
    else:
        parts += [Part(f"epoch {_of(view.epoch, view.epochs)}", "bold"), Part(batch, rank=1)]
    if view.validating:
        parts[-1] = Part("validating", rank=1)
    if view.text:
        parts += [Part(formats.plain(view.text), "yellow", 2)]
    outlook = view.outlook
    fraction = "" if outlook.fraction is None else f"{outlook.fraction:4.0%}"
    parts += [Part(fraction, rank=4), Part(_left(view), rank=3), Part(_rate(view), rank=6)]
    for i, (name, value) in enumerate(view.metrics.items()):
        style = "" if math.isfinite(value) else "alarm"
        parts += [Part(f"{formats.plain(name)} {formats.value(value)}", style, 7 if i else 4)]
    return parts


def _clauses(view: View) -> list[str]:
    metrics = [f"{formats.plain(n)} {formats.value(v)}" for n, v in view.metrics.items()]
    if view.kind == "stop":
        return [formats.plain(view.text), _where(view)]
    if view.kind == "end":
        rate = view.done / view.elapsed if view.elapsed > 0 and view.done else 0.0
        epochs = "" if view.epoch is None else _plural(view.epochs_done, "epoch")
        batches = f"{_plural(view.done, view.unit)} in {formats.took(view.elapsed)}"
        return [epochs, batches, formats.rate(rate, view.unit) if rate else "", view.text, *metrics]
    if view.kind == "validation":
        return [f"validation at {_where(view)}", *metrics]
    if view.kind == "epoch" and view.epoch is not None:
        took = f" in {formats.took(view.epoch_seconds)}" if view.epoch_seconds else ""
        head = f"epoch {_of(view.epoch, view.epochs)} {view.text or 'done'}{took}"
        return [head, _rate(view), _left(view), *metrics]
    outlook = view.outlook
    percent = "" if outlook.fraction is None else f"{outlook.fraction:.0%}"
    doing = "validating" if view.validating else ""
    stop = formats.plain(view.text)
    return [_where(view), doing, stop, percent, _left(view), _rate(view), *metrics]


def _where(view: View) -> str:
    batch = f"{view.unit} {_of(view.batch, view.batches)}"
    return batch if view.epoch is None else f"epoch {_of(view.epoch, view.epochs)}, {batch}"


def _of(number: int, total: int | None) -> str:
    return str(number) if total is None else f"{number}/{total}"


def _plural(number: int, unit: str) -> str:
    return f"{number} {unit if number == 1 else formats.plural(unit)}"


def _left(view: View) -> str:
    if view.outlook.seconds is None:
        return ""
    return f"{formats.duration(view.outlook.seconds)} left" + (
        "" if view.outlook.whole else " in epoch"
    )


def _rate(view: View) -> str:
    return "" if view.per_second is None else formats.rate(view.per_second, view.unit)


def _width(parts: list[Part]) -> int:
    return sum(cells.width(part.text) for part in parts) + len(GAP) * (len(parts) - 1)


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def _finite(number: float) -> float | str:
    # JSON has no NaN; a loss that is one must not be lost either.
    return number if math.isfinite(number) else str(number)
