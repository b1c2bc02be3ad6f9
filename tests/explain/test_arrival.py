"""A word as soon as a module has been imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

from hookcore.plain.loading.arrival import Arrival


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A module that nobody has imported yet."""
    (tmp_path / "late_module.py").write_text("ready = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "late_module"
    sys.modules.pop("late_module", None)


def test_it_comes_once_when_the_module_has_run(late):
    """Its names are there then."""
    seen = []
    Arrival(late, lambda: seen.append(sys.modules[late].ready)).await_it()
    importlib.import_module(late)
    importlib.reload(sys.modules[late])
    assert seen == [True]


def test_who_only_looks_for_the_module_does_not_import_it(late):
    """The word still comes with the import."""
    seen = []
    Arrival(late, lambda: seen.append(late)).await_it()
    assert importlib.util.find_spec(late) is not None
    assert seen == []
    importlib.import_module(late)
    assert seen == [late]
