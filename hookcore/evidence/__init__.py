"""What watched runs of one script have written down, and the first thing in which two differ.

It knows no torch and no loop: the runs were watched by :mod:`hookcore.plain.witness`, each in a
process of its own.
"""

from hookcore.evidence.account import Account, Capture, Intervention, Moment
from hookcore.evidence.bench import Bench, Kill, Subject
from hookcore.evidence.difference import Difference, Side, differences, first_difference

__all__ = [
    "Account",
    "Bench",
    "Capture",
    "Difference",
    "Intervention",
    "Kill",
    "Moment",
    "Side",
    "Subject",
    "differences",
    "first_difference",
]
