"""Every error and warning of hookcore: what happened, why, and the way out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


def three_parts(what: str, why: str = "", way_out: str = "") -> str:
    """The house's message: one line each for what, why and the way out.

    Args:
        what: What happened, naming the thing it happened to.
        why: The cause, verbatim where it is another program's.
        way_out: What to type or change.
    """
    lines = [what]
    if why:
        lines += [f"    {line}" for line in why.splitlines()]
    if way_out:
        lines += [f"  {line}" for line in way_out.splitlines()]
    return "\n".join(lines)


class HookcoreError(Exception):
    """Something hookcore cannot do, said in three parts.

    Args:
        what: What happened.
        why: The cause.
        way_out: What the user can do about it.
    """

    def __init__(self, what: str, why: str = "", way_out: str = "") -> None:
        super().__init__(what, why, way_out)
        self.what, self.why, self.way_out = what, why, way_out

    def __str__(self) -> str:
        return three_parts(self.what, self.why, self.way_out)


class UsageError(HookcoreError):
    """What the user typed is wrong: an option, a value, a name, a path. Exit code 2."""


class NotRewritable(HookcoreError):
    """A loop's code cannot be rewritten; says why, and what works instead."""


class PluginError(HookcoreError):
    """A plugin raised in strict mode. ``__cause__`` is what it raised."""


class SnapshotError(HookcoreError):
    """A checkpoint cannot be written, or cannot be trusted when read."""


class HookcoreWarning(UserWarning):
    """Base of hookcore's warnings."""


class BrokenPluginWarning(HookcoreWarning):
    """An installed plugin cannot be used and is skipped, or was switched off."""


class Concern(str):
    """Why a training cannot be continued from some place: a sentence, and the way out.

    Args:
        why: The sentence, naming the thing and its place.
        remedy: What to change, so that it can.
    """

    __slots__ = ("remedy",)
    remedy: str

    def __new__(cls, why: str, remedy: str) -> Self:
        """A text that knows its way out."""
        made = super().__new__(cls, why)
        made.remedy = remedy
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override] # what a copy is made of
        """For copies."""
        return str(self), self.remedy

    def at(self, where: str) -> Concern:
        """The same with a file and line, where it names none yet."""
        if re.search(r"\w:\d", self):
            return self
        return Concern(f"{self} (the loop at {where})", self.remedy)

    @property
    def lines(self) -> str:
        """Both, one under the other."""
        return f"{self}\n  {self.remedy}"
