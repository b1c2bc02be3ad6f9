"""Loops that others ship, inside installed packages: bare, inside a run, and stopped.

Each file here is for one package, and is collected where that package is installed:
``tox -e wild`` installs them all.
"""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from pathlib import Path

import pytest

import hookcore
from hookcore.testing import Recorder

PACKAGES = {
    "test_deepctr.py": "deepctr_torch",
    "test_pykeen.py": "pykeen",
    "test_pyod.py": "pyod",
    "test_skorch.py": "skorch",
    "test_tabnet.py": "pytorch_tabnet",
    "test_torchensemble.py": "torchensemble",
}

collect_ignore = [file for file, name in PACKAGES.items() if not importlib.util.find_spec(name)]

COUNTED = {
    "epochs": "on_epoch_start",
    "batches": "on_batch_start",
    "steps": "on_optimizer_step_end",
    "validations": "on_validation_start",
    "validation_batches": "on_validation_batch_start",
}


class StopsInTheSecondEpoch:
    """What a plugin does that has seen enough."""

    name = "enough"

    @hookcore.hookimpl
    def on_batch_start(self, fit, batch):
        if fit.epoch == 1 and batch == 0:
            fit.stop("enough")


class Wild:
    """One method of an installed package, and a call that trains with it."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self._instrumented = []

    def judge(self, owner, method, train, **counts):
        """The run under all plugins is the bare one, and its events are these.

        Args:
            owner: The class whose method holds the loop.
            method: Its name.
            train: Trains from nothing; gives the models and optimizers, and any plain results.
            **counts: What there is of each kind, in `COUNTED`.
        """
        bare = self._outcome(train)
        events = Recorder()
        self._inject(owner, method, events)
        assert self._outcome(train) == bare
        found = Counter(events.names)
        assert {kind: found[COUNTED[kind]] for kind in counts} == counts
        assert not [call["error"] for call in events.of("on_exception")]
        pairs = {name.replace("_start", "_end"): n for name, n in found.items() if "_start" in name}
        assert {name: found[name] for name in pairs} == pairs
        kinds = [Path(path).name for path in sorted(Path("checkpoints").glob("*/*"))]
        assert kinds, "the checkpoint plugin has written nothing"

    def stop(self, owner, method, train):
        """A stop in the second epoch ends the loop after it, and the call returns as always."""
        events = Recorder()
        self._inject(owner, method, events, StopsInTheSecondEpoch())
        self._outcome(train)
        assert [call["how"] for call in events.of("on_epoch_end")] == ["finished"] * 2
        assert events.of("on_train_end")[0]["how"] == "stopped"
        assert events.of("on_stop")[0]["reason"] == "enough"

    def _inject(self, owner, method, *plugins):
        self.undo()
        instrumented = hookcore.instrument(
            vars(owner)[method], plugins=plugins, options={"earlystop": {"shadow": True}}
        )
        self._instrumented.append(instrumented)
        self._monkeypatch.setattr(owner, method, instrumented)

    def undo(self):
        """Put the package's own code back."""
        while self._instrumented:
            self._instrumented.pop().restore()

    @staticmethod
    def _outcome(train):
        import numpy
        import torch

        random.seed(1)
        numpy.random.seed(1)
        torch.manual_seed(1)
        found = [_plain(part) for part in train()]
        return found, random.random(), numpy.random.random(), torch.rand(1).item()


def _plain(part):
    """Every bit of a model, an optimizer or a tensor, as something that compares."""
    import numpy
    import torch

    if isinstance(part, (torch.nn.Module, torch.optim.Optimizer)):
        return _plain(part.state_dict())
    if isinstance(part, dict):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_plain(value) for value in part]
    if isinstance(part, torch.Tensor):
        return part.tolist()
    return part.tolist() if isinstance(part, (numpy.ndarray, numpy.generic)) else part


@pytest.fixture
def wild(monkeypatch, tmp_path):
    """The judge of one test, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # pyod sets it, and the monkeypatch puts it back
    made = Wild(monkeypatch)
    yield made
    made.undo()
