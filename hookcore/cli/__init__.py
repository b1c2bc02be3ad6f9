"""The ``hookcore`` command."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; click is loaded here and nowhere earlier.

    Args:
        args: What was typed after ``hookcore``; by default what this process was started with.

    Returns:
        The exit code: 2 where something typed is wrong.
    """
    from hookcore.cli.group import start

    return start(args)
