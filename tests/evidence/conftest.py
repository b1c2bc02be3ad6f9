"""Accounts made by hand."""

from __future__ import annotations

import pytest

from hookcore.evidence import Account, Moment
from hookcore.scratch import Outcome


def account(*moments, end=None, **more):
    """A run of these moments: ``("step", {"loss": {"loss": "1"}})``; values are their digests."""
    made = [
        Moment(kind, number, number + 1, f"train.py:{number}", tokens(items))
        for number, (kind, items) in enumerate(moments)
    ]
    last = None if end is None else Moment("end", len(made), len(made), "", tokens(end))
    return Account(Outcome(0, False, 1.0), moments=made, end=last, **more)


def tokens(items):
    """``{kind: {name: text}}`` with digests in place of the texts."""
    return {
        kind: {name: [text, text] for name, text in names.items()} for kind, names in items.items()
    }


@pytest.fixture
def made():
    return account
