"""Loops that nobody sees left: a ``return`` leaves them, and their function does not report it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hookcore.plain.sites import Loop


def is_untold(loop: Loop) -> bool:
    """Whether a ``return`` can leave a loop without a word, as in ``__call__`` and ``forward``.

    Args:
        loop: The loop.
    """
    site = loop.site
    quiet = site.function is None and site.kind != "comprehension"
    return quiet and not (site.module_level or loop.declared)


def left_behind(stack: Sequence[Loop], site: int) -> Loop | None:
    """The outermost loop that is over, though nothing told so.

    Args:
        stack: The loops that are running, as far as it is known.
        site: What is about to begin; 0 for nothing.
    """
    for loop in stack:
        if is_untold(loop) and not _runs(loop, site):
            return loop
    return None


def _runs(loop: Loop, site: int) -> bool:
    """Whether the caller is inside a loop; a later frame may have the ``id`` of the loop's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if id(frame) == loop.frame:
            if frame.f_code.co_filename != loop.site.path or loop.site.id == site:
                return False
            body = loop.site.body
            return not (loop.inside and body) or frame.f_lineno in body
        frame = frame.f_back
    return False
