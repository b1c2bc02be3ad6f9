"""Fixtures of the learning-rate tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def loops(monkeypatch):
    """The plain loops of loops.py, freshly loaded: instrumenting changes a file's functions."""
    path = Path(__file__).with_name("loops.py")
    spec = importlib.util.spec_from_file_location("lr_loops", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def instrumented():
    """Instruments a loop for some plugins; the loop's file is as before after the test."""
    import hookcore

    made = []

    def make(loop, *plugins):
        made.append(hookcore.instrument(loop, plugins=list(plugins), only=[], strict=True))
        return made[-1]

    yield make
    for loop in reversed(made):
        loop.restore()
