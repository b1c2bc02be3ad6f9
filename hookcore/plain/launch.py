"""``hookcore run``: a script or module, run as Python would run it, inside a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hookcore.settings import Settings


def launch(target: str, argv: Sequence[str], is_module: bool, settings: Settings) -> int:
    """Run a script or module under hookcore.

    Args:
        target: The script's path, or the module's name.
        argv: Its arguments.
        is_module: Whether ``target`` is a module's name.
        settings: Frozen settings.

    Returns:
        The exit code, 1 where a checkpoint was lost. SystemExit is let through, so that Python
        itself turns it into the exit code; an exception's traceback is shown as Python shows it.

    Raises:
        UsageError: Something typed is wrong.
    """
