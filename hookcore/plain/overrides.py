"""What the user says of a loop by its place, with ``--loop train.py:31=epoch``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING

from hookcore.errors import three_parts
from hookcore.layers import Given
from hookcore.plain import table

if TYPE_CHECKING:
    from hookcore.training import Run


class Overrides:
    """Roles by file and line. They come before the comment on the loop's own line.

    Args:
        loops: ``FILE:LINE`` to what was given; a file is known by the end of its path.
    """

    def __init__(self, loops: Mapping[str, Given]) -> None:
        self._by_line: dict[int, list[tuple[tuple[str, ...], str, Given]]] = {}
        for place, given in loops.items():
            path, _, line = place.rpartition(":")
            parts = tuple(part for part in PurePath(path).parts if part != ".")
            self._by_line.setdefault(int(line), []).append((parts, place, given))

    def role(self, site: table.Site) -> str | None:
        """What the loop is said to be, there or in its own comment."""
        if self._by_line:
            given = self._given(site)
            if given is not None:
                return str(given.value)
        return site.role_comment

    def origin(self, site: table.Site) -> str:
        """Where that was said."""
        given = self._given(site)
        if given is not None:
            return str(given.origin)
        return f"its comment, # hookcore: {site.role_comment}" if site.role_comment else ""

    def tell_strays(self, run: Run) -> None:
        """Say which of them belong to no loop that is followed."""
        for number, entries in self._by_line.items():
            for parts, place, given in entries:
                sites = [site for site in table.SITES.values() if _ends(site.path, parts)]
                if not any(site.line == number for site in sites):
                    lines = sorted({site.line for site in sites})
                    known = ", ".join(map(str, lines)) if lines else "none: the file was not loaded"
                    run.warn(
                        three_parts(
                            f"{given.origin}: no loop that hookcore follows begins at {place}",
                            f"its loops begin at these lines: {known}",
                            "hookcore explain lists them",
                        )
                    )

    def _given(self, site: table.Site) -> Given | None:
        found = self._by_line.get(site.line, ())
        return next((given for parts, _, given in found if _ends(site.path, parts)), None)


def _ends(path: str, parts: tuple[str, ...]) -> bool:
    return PurePath(path).parts[-len(parts) :] == parts
