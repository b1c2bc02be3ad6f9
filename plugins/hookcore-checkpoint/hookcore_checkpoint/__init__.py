"""hookcore plugin: saves a training loop as it goes, and continues it where it stopped.

``plugin`` holds the hooks; ``cadence`` says when to save, ``retention`` what may go again, both
pure; ``places`` knows the folders, ``clock`` the time, ``commands`` and ``show`` the command line.
"""

from __future__ import annotations

from hookcore_checkpoint.plugin import Checkpoint

__all__ = ["Checkpoint"]
