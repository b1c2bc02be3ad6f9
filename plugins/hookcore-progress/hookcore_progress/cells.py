"""How wide text is on a terminal, and how it gets its colours.

No library does this for us: rich, the usual one, draws from Python's global random numbers as it
is imported, and a display must not change a training by one bit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

SGR = {"": "", "bold": "1", "cyan": "36", "yellow": "33", "alarm": "1;31"}


def width(text: str) -> int:
    """Cells that printable text takes: East Asian wide characters two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, cells: int) -> str:
    """As much of the text as fits."""
    if width(text) <= cells:
        return text
    kept = ""
    for character in text:
        cells -= _cells(character)
        if cells < 0:
            break
        kept += character
    return kept


def has_colors(environ: Mapping[str, str]) -> bool:
    """Whether colours are welcome (https://no-color.org)."""
    return not environ.get("NO_COLOR")


def colored(parts: Iterable[tuple[str, str]], gap: str, *, colors: bool) -> str:
    """Parts of a line, as (text, style), with the terminal's sequences around them."""
    return gap.join(
        f"\x1b[{SGR[style]}m{text}\x1b[0m" if colors and style else text for text, style in parts
    )


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
