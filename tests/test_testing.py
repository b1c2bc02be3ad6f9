"""What plugin authors test with does what it promises, and needs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from hookcore import PluginError, UsageError, hookimpl
from hookcore.testing import (
    Recorder,
    assert_plugin_contract,
    isolated_manager,
    isolated_run,
    tiny_run,
)

ROOT = Path(__file__).parents[1]


class Counter:
    """Counts epochs."""

    def __init__(self):
        self.epochs = 0

    @hookimpl
    def on_epoch_end(self):
        self.epochs += 1


@attrs.define(eq=False, kw_only=True)
class Stopper:
    """Stops after some epochs."""

    epochs: int = 2

    @hookimpl
    def on_epoch_end(self, fit, epoch):
        if epoch + 1 == self.epochs:
            fit.stop("enough")


def test_tiny_run_trains_one_epoch_a_loss():
    """With its batches, its logged losses and its counters."""
    recorder = Recorder()
    run = tiny_run(recorder, losses=(3.0, 2.0), batches_per_epoch=3)
    assert recorder.count("on_epoch_end") == 2
    assert recorder.count("on_batch_end") == 6
    assert [call["metrics"] for call in recorder.of("on_log")] == [{"loss": 3.0}] * 3 + [
        {"loss": 2.0}
    ] * 3
    assert (run.fit.epochs_done, run.fit.batches, run.metrics["loss"]) == (2, 6, 2.0)


def test_tiny_run_with_validations():
    """One an epoch, its value in its metrics."""
    recorder = Recorder()
    tiny_run(recorder, losses=(1.0, 1.0), validations=(5.0, 4.0))
    ends = [call["metrics"] for call in recorder.of("on_validation_end")]
    assert ends == [{"val_loss": 5.0}, {"val_loss": 4.0}]


def test_tiny_run_obeys_a_plugin():
    """A stop ends it after the epoch; options reach the class."""
    run = tiny_run(Stopper, losses=(1.0,) * 5, options={"stopper": {"epochs": 3}})
    assert run.fit.epochs_done == 3
    assert run.fit.stopped.by == "stopper"


def test_tiny_run_is_strict_by_default():
    """A test sees what its plugin raises, unless it asks for isolation."""

    class Broken:
        @hookimpl
        def on_batch_end(self):
            raise ValueError("no")

    with pytest.raises(PluginError):
        tiny_run(Broken)
    assert tiny_run(Broken, strict=False).fit.epochs_done == 3


def test_recorder_keeps_only_plain_values():
    """Objects appear by the name of their type: nothing is pinned."""
    recorder = Recorder()
    tiny_run(recorder, losses=(1.0,), batches_per_epoch=2)
    assert recorder.names[0] == "on_run_start"
    assert recorder.of("on_batch_start")[1] == {"run": "Run", "fit": "Fit", "batch": 1, "data": 1}


def test_isolated_manager_finds_no_installed_plugin():
    """Only what it is given."""
    loaded = isolated_manager(Counter, Stopper)
    assert [record.name for record in loaded.order] == ["counter", "stopper"]


def test_isolated_manager_refuses_as_a_user_would_see_it():
    """A wrong option is a UsageError."""
    with pytest.raises(UsageError, match="epochs"):
        isolated_manager(Stopper, options={"stopper": {"epochs": "many"}})


def test_isolated_run_reads_no_environment(monkeypatch):
    """A variable that would switch the plugin off does nothing."""
    monkeypatch.setenv("HOOKCORE_DISABLE", "*")
    recorder = Recorder()
    with isolated_run(recorder):
        pass
    assert recorder.names == ["on_run_start", "on_run_end"]


def test_isolated_run_tells_how_it_was_left():
    """An exception goes through, and is an event."""
    recorder = Recorder()
    with pytest.raises(ValueError, match="x"), isolated_run(recorder):
        raise ValueError("x")
    assert recorder.names == ["on_run_start", "on_exception", "on_run_end"]


def test_a_good_plugin_passes_the_contract():
    """A class with one hook is all it takes."""
    assert_plugin_contract(Counter)
    assert_plugin_contract(Stopper)
    assert_plugin_contract(Recorder)


def _bad():
    class NoHook:
        pass

    class Misspelt:
        @hookimpl
        def on_epoch_ends(self):
            pass

    class WrongArgument:
        @hookimpl
        def on_epoch_end(self, epochs):
            pass

    class Needy:
        def __init__(self, value):
            pass

        @hookimpl
        def on_epoch_end(self):
            pass

    class HalfState(Counter):
        def state_dict(self):
            return {}

    @attrs.define
    class Comparable:
        @hookimpl
        def on_epoch_end(self):
            pass

    return NoHook, Misspelt, WrongArgument, Needy, HalfState, Comparable


@pytest.mark.parametrize("plugin", _bad(), ids=lambda plugin: plugin.__name__)
def test_a_bad_plugin_fails_the_contract(plugin):
    """With a message that says what is wrong."""
    with pytest.raises(AssertionError, match=plugin.__name__):
        assert_plugin_contract(plugin)


def test_it_needs_no_torch():
    """A plugin's author may have none."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from hookcore.testing import tiny_run\n"
        "print(tiny_run().fit.epochs_done)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")
