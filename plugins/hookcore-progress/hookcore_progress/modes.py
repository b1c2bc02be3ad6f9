"""Which display fits the place that stderr leads to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hookcore_progress.streams import Stream
from hookcore_progress.terminal import Terminal

Mode = Literal["auto", "live", "notebook", "lines", "json"]
Shown = Literal["live", "notebook", "lines", "json", "nothing"]


def resolve(
    mode: Mode,
    *,
    file: Path | None,
    quiet: bool,
    rank: int,
    stderr: Any,
    environ: Mapping[str, str],
) -> Shown:
    """What is shown, where the user said ``mode``.

    Args:
        mode: As typed.
        file: Where lines go instead of stderr, or None.
        quiet: hookcore's own lines are off: so is what is drawn for eyes. JSON and files stay.
        rank: Only rank 0 shows anything.
        stderr: As it is now, None where it is closed.
        environ: For ``TERM``.
    """
    if rank != 0:
        return "nothing"
    if mode == "json":
        return "json"
    if file is not None:
        return "lines"
    if quiet:
        return "nothing"
    if mode == "notebook" or (mode == "auto" and in_notebook()):
        return "notebook"
    if stderr is None:
        return "nothing"
    if mode != "lines" and _draws(stderr, environ):
        return "live"
    return "lines"


def in_notebook() -> bool:
    """Whether this process is an IPython kernel, whose cells show more than text."""
    ipython = sys.modules.get("IPython")  # not imported: then it is no notebook
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _draws(stderr: Any, environ: Mapping[str, str]) -> bool:
    """Whether it is a terminal with rows that can be addressed, and in front."""
    try:
        if not stderr.isatty() or os.name == "nt" or environ.get("TERM", "dumb") in ("dumb", ""):
            return False
    except (AttributeError, ValueError):
        return False
    stream = Stream(stderr)
    terminal = Terminal(stream)
    try:
        return terminal.size() != (0, 0) and terminal.in_foreground()
    finally:
        stream.close()
