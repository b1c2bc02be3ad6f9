"""Fake installed packages, and a guard that every test leaves the process as it was."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import warnings
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "data" / "fake_dists"


def _process():
    environ = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return environ, list(sys.path), warnings.formatwarning, Path.cwd()


@pytest.fixture(autouse=True)
def unchanged(monkeypatch, tmp_path):
    """No HOOKCORE variable comes in, and nothing of the process is changed afterwards."""
    before = _process()
    for name in [name for name in os.environ if name.startswith("HOOKCORE")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    monkeypatch.undo()
    assert _process() == before
    for module in [
        name
        for name, module in sys.modules.items()
        if str(FAKES) in (getattr(module, "__file__", None) or "")
    ]:
        del sys.modules[module]


@pytest.fixture
def install(monkeypatch):
    """Put fake packages on sys.path; gives what importlib finds of them."""

    def put(*names):
        folders = [str(FAKES / name) for name in names]
        for folder in folders:
            monkeypatch.syspath_prepend(folder)
        return list(importlib.metadata.distributions(path=folders))

    return put


@pytest.fixture
def child(tmp_path):
    """Environment of a child process that finds hookcore and the fakes."""

    def make(*names, **variables):
        root = str(FAKES.parents[2])
        path = os.pathsep.join([root, *(str(FAKES / name) for name in names)])
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", **variables}

    return make
