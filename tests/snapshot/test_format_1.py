"""A checkpoint that was written once stays readable.

``data/format-1`` was written by the test's own snapshot (``conftest.py``, ``make_snapshot``) when
format 1 was made. It is never written again: a new format gets a folder and a test of its own.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import attrs

from hookcore.snapshot import export, manifest, read, verify

DATA = Path(__file__).parent / "data" / "format-1"


def test_format_1_is_read(make_snapshot, same):
    found, expected = read(DATA), make_snapshot()
    assert found.header == attrs.evolve(expected.header, format=1)
    assert found.levels == []  # a format that knew the heads of the outermost loop alone
    for name in ("position", "plugins", "metrics", "notes"):
        assert same(getattr(expected, name), getattr(found, name)), name
    for name, value in expected.variables.items():
        if name != "paths":  # the concrete class is the system's
            assert same(value, found.variables[name]), name
    model, optimizer = found.objects
    assert (model.name, model.kind, optimizer.name) == ("model", "module", "self.opt")
    assert model.state["0.weight"].shape == (2, 3)
    assert model.state._metadata["1"] == {"version": 2}
    assert model.extras == {"t": [True]}
    assert optimizer.state["state"][0]["step"].item() == 1.0


def test_format_1_is_verified(classes):
    assert verify(DATA).header == manifest(DATA).header


def test_format_1_is_read_without_its_classes(no_classes, tmp_path):
    assert read(DATA).variables["mode"][0].content == "EVAL"
    export(DATA, tmp_path / "model.pt")


def test_what_format_1_saved_in_mid_epoch_is_partial(tmp_path):
    """Nobody could resume from it then, and nobody can now."""
    text = (DATA / "manifest.json").read_bytes()
    text = re.sub(rb'"kind": "[a-z-]+"', b'"kind": "mid-epoch"', text)
    text = re.sub(rb'"sha256": "\w{64}"', b'"sha256": "%s"' % (b"0" * 64), text, count=1)
    digest = hashlib.sha256(text).hexdigest().encode()
    (tmp_path / "manifest.json").write_bytes(text.replace(b"0" * 64, digest, 1))
    assert manifest(tmp_path).header.kind == "partial"
