"""Where commands try a script out: a copy of its folder, a process of its own, and no trace left.

A trial leaves the script in the middle of its training. What it wrote until then, weights of three
steps among it, must not lie where real results lie; so it runs in a copy, and what it wrote is
listed.
"""

from hookcore.scratch.copies import Copy, InPlace, Workplace, Written
from hookcore.scratch.process import Outcome, attempt

__all__ = ["Copy", "InPlace", "Outcome", "Workplace", "Written", "attempt"]
