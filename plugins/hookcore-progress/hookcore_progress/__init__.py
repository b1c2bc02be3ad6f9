"""Shows a training's progress: a live line on a terminal, a bar in a notebook, lines in a log."""

from hookcore_progress.plugin import Progress

__all__ = ["Progress"]
