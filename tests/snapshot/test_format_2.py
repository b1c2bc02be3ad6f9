"""A checkpoint of the second format stays readable: the one that knows the loops around its place.

``data/format-2`` was written when format 2 was made, and is never written again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hookcore.snapshot import Header, Snapshot, read, verify  # noqa: E402

DATA = Path(__file__).parent / "data" / "format-2"


def make():
    """What it holds."""
    return Snapshot(
        header=Header(kind="mid-epoch", reason="every 5 steps", run="train"),
        position={
            "epoch": 2,
            "batch": 3,
            "step": 12,
            "levels": [
                {"site": ["train.py", 0], "entry": 0, "iteration": 0},
                {"site": ["train.py", 1], "entry": 0, "iteration": 2},
            ],
        },
        levels=[
            {"streams": {"torch": torch.arange(4)}, "variables": {"scale": 0.5}, "passes": []},
            {"passes": [{"ordinal": 1, "delivered": 3, "next": [4, 0]}], "named": {}, "kept": {}},
        ],
        variables={"losses": [0.5, 0.25]},
    )


def test_format_2_is_read():
    found, expected = read(DATA), make()
    assert found.header.format == 2
    assert found.header.kind == "mid-epoch"
    assert found.position == expected.position
    assert found.variables == expected.variables
    assert found.levels[1] == expected.levels[1]
    assert found.levels[0]["variables"] == {"scale": 0.5}
    assert found.levels[0]["streams"]["torch"].tolist() == [0, 1, 2, 3]
    assert verify(DATA).header == found.header
