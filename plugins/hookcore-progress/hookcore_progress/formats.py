"""Numbers as people read them, each in as few characters as say it."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """``0:07``, ``12:40``, ``3:05:09``, ``2d 4h``."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(int(seconds + 0.5), 0)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        days, hour = divmod(hours, 24)
        return f"{days}d {hour}h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def took(seconds: float) -> str:
    """A duration that is over: ``0.4 s``, then as :func:`duration`."""
    return f"{max(seconds, 0.0):.1f} s" if seconds < 9.95 else duration(seconds)


def count(number: float) -> str:
    """``812``, ``26.1k``, ``3.04M``: three digits that count."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 999.5:
            if unit == "" and float(number).is_integer():
                return str(int(number))
            return f"{number:#.3g}".rstrip(".") + unit
        number /= 1000
    return f"{number:.3g}T"


def rate(per_second: float, unit: str) -> str:
    """``812 batches/s``; below one a second turned over: ``3.20 s/batch``."""
    if per_second >= 1 or per_second <= 0:
        return f"{count(per_second)} {plural(unit)}/s"
    return f"{count(1 / per_second)} s/{unit}"


def plural(unit: str) -> str:
    """``batches``, ``epochs``, ``steps``."""
    return f"{unit}es" if unit == "batch" else f"{unit}s"


def value(number: float) -> str:
    """A metric: whole numbers whole, others with four digits that count; ``nan`` and ``inf``."""
    if not math.isfinite(number):
        return str(number)
    if number.is_integer() and abs(number) < 1e7:
        return str(int(number))
    if 1e-3 <= abs(number) < 1e4:
        return f"{number:#.4g}".rstrip(".")
    if 1e4 <= abs(number) < 1e7:
        return f"{number:.0f}"
    return f"{number:.3e}".replace("e-0", "e-").replace("e+0", "e")


def plain(text: str) -> str:
    """Text that stays on its line and moves no cursor: a stop's reason may hold anything."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
