"""The explicit calls: a run opened by hand, loops that say what they are. No torch needed."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

import hookcore
from hookcore import HookcoreWarning, UsageError, batches, epochs, hookimpl, log, validation
from hookcore.testing import Recorder, isolated_run

OFF = "  (off: -p no:recorder)"


def words_of(words, loop, *plugins):
    """A loop's events as words."""
    recorder = Recorder()
    with isolated_run(*plugins, recorder):
        loop()
    return words(recorder)


TWO = "E( b . b . )E"

# -- outside a run -------------------------------------------------------------------------------


def test_outside_a_run_they_do_nothing():
    """The iterable is iterated, and that is all."""
    seen = []
    for epoch in epochs(range(2)):
        for batch in batches(["a", "b"]):
            seen.append((epoch, batch))  # noqa: PERF401 - a loop is what is tested
        with validation():
            log(loss=1.0)
    assert seen == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


@pytest.mark.parametrize("declare", [epochs, batches])
def test_outside_a_run_it_is_the_iterable_s_own_iterator(declare):
    """No layer of ours lies between."""
    items = [1, 2]
    assert type(iter(declare(items))) is type(iter(items))


@pytest.mark.parametrize("declare", [epochs, batches])
def test_len(declare):
    """As the iterable's; a progress bar round it needs it."""
    assert len(declare([1, 2, 3])) == 3
    with pytest.raises(TypeError):
        len(declare(iter([1])))


# -- loops ---------------------------------------------------------------------------------------


def test_two_levels(words):
    """Learned when the first batch is over."""

    def loop():
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                pass

    assert words_of(words, loop) == f"T( {TWO} {TWO} )T R"


def test_batches_alone(words):
    """One level, no epochs."""

    def loop():
        for _ in batches(range(2)):
            pass

    assert words_of(words, loop) == "T( b . b . )T R"


def test_epochs_alone(words):
    """Each is one batch, too."""

    def loop():
        for _ in epochs(range(2)):
            pass

    assert words_of(words, loop) == "T( E( b . )E E( b . )E )T R"


def test_breaks(words):
    """A loop that is not rewritten is known to be left when its epoch's next head comes."""

    def loop():
        for _ in epochs(range(2)):
            for batch in batches(range(3)):
                if batch == 1:
                    break

    assert words_of(words, loop) == "T( E( b . b .<broke> )E E( b . b .<broke> )E )T R"


def test_one_training_after_another_that_was_broken_off(words):
    """No epoch lies inside an epoch: the first training is over."""

    def loop():
        for _ in epochs(range(3)):
            for _ in batches(range(2)):
                pass
            break
        for _ in epochs(range(1)):
            for _ in batches(range(2)):
                pass

    assert words_of(words, loop) == f"T( E( b . b . )E<broke> )T<broke> T( {TWO} )T R"


def test_two_trainings(words):
    """Each is a fit."""

    def loop():
        for _ in range(2):
            for _ in epochs(range(1)):
                for _ in batches(range(2)):
                    pass

    assert words_of(words, loop) == f"T( {TWO} )T T( {TWO} )T R"


def test_an_exception(words):
    """Everything ends with it."""

    def loop():
        for _ in epochs(range(2)):
            for batch in batches(range(2)):
                if batch:
                    raise ValueError("no")

    recorder = Recorder()
    with pytest.raises(ValueError, match="no"), isolated_run(recorder):
        loop()
    story = "T( E( b . b .<exception> )E<exception> )T<exception> X R<exception>"
    assert words(recorder) == story


def test_the_item_reaches_the_plugin():
    """Once the loop is known."""
    recorder = Recorder()
    with isolated_run(recorder):
        for _ in epochs(range(2)):
            for _ in batches(["a", "b"]):
                pass
    assert [call["data"] for call in recorder.of("on_batch_start")] == [None, "b", "a", "b"]


def test_totals():
    """From `len`, where there is one."""
    with isolated_run() as run:
        for _ in epochs(range(3)):
            for _ in batches([1, 2]):
                pass
    assert (run.fit.total_epochs, run.fit.total_batches) == (3, 2)


def test_a_stop_ends_the_epochs():
    """At their next head, as in a rewritten loop."""

    class Stopper:
        name, role = "stopper", "control"

        @hookimpl
        def on_epoch_end(self, fit, epoch):
            if epoch == 1:
                fit.stop("enough")

    seen = []
    with isolated_run(Stopper()):
        for epoch in epochs(range(9)):
            for _ in batches(range(2)):
                pass
            seen.append(epoch)
        else:  # noqa: PLW0120 - whether it runs is what is tested
            seen.append("else")
    assert seen == [0, 1, "else"]


def test_a_mistake_of_the_iterable_s_is_its_own():
    """What it raises goes through."""
    with isolated_run(), pytest.raises(TypeError, match="not iterable"):
        for _ in epochs(5):
            pass


def test_no_item_is_kept():
    """Neither the last one, nor those before."""

    class Item:
        pass

    def items():
        for _ in range(3):
            item = Item()
            seen.append(weakref.ref(item))
            yield item
            del item

    seen = []
    with isolated_run():
        for _ in epochs(range(1)):
            for item in batches(items()):
                del item
                assert [ref() for ref in seen] == [None] * (len(seen) - 1) + [seen[-1]()]
        gc.collect()
        assert [ref() for ref in seen] == [None] * 3


# -- validation and log --------------------------------------------------------------------------


def test_validation(words):
    """The block is one, and what is logged in it belongs to it."""
    recorder = Recorder()
    with isolated_run(recorder) as run:
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                pass
            with validation():
                log({"val_loss": 2.0}, acc=1)
    assert words(recorder) == "T( E( b . b . V( )V )E E( b . b . V( )V )E )T R"
    assert recorder.of("on_validation_end")[0]["metrics"] == {"val_loss": 2.0, "acc": 1.0}
    assert run.fit.validations == 2


def test_a_validation_in_a_validation_is_one(words):
    """A helper that declares it may be called from a block that does."""

    def loop():
        for _ in epochs(range(1)):
            for _ in batches(range(1)):
                pass
            with validation(), validation():
                pass

    assert words_of(words, loop) == "T( E( b . V( )V )E )T R"


def test_a_validation_that_raises_is_over():
    """However the block is left."""
    with isolated_run() as run:
        for _ in epochs(range(1)):
            for _ in batches(range(1)):
                pass
            with pytest.raises(ValueError, match="no"), validation():
                raise ValueError("no")
        assert run.fit.validations == 1


def test_a_validation_outside_a_fit_is_none(words):
    """Before and after the training."""

    def loop():
        with validation():
            pass

    assert words_of(words, loop) == "R"


def test_log_refuses_what_is_no_number():
    """Where it stands, in the user's own line."""
    with isolated_run(), pytest.raises(UsageError, match=r"log\(loss=...\)"):
        log(loss="high")


# -- the run -------------------------------------------------------------------------------------


def test_a_run_by_hand_has_the_call_s_plugins(capsys):
    """And says what it does, on stderr."""
    recorder = Recorder()
    with hookcore.run(plugins=[recorder], only=[], name="mine") as run:
        assert run.name == "mine"
    assert recorder.names == ["on_run_start", "on_run_end"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "hookcore: recorder  A plugin that writes down every event it receives" + OFF,
        "hookcore: no training loop was recognised (see: hookcore explain)",
    ]


def test_quiet(capsys):
    """Only warnings."""
    with hookcore.run(plugins=[Recorder()], only=[], quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


def test_wrong_names_are_refused_on_entry():
    """With the way out."""
    with (
        pytest.raises(UsageError, match="no-such-plugin"),
        hookcore.run(plugins=["no-such-plugin"]),
    ):
        pass


def test_a_run_inside_a_run_joins_it():
    """One run, and a warning that the inner one's settings do not count."""
    inner, outer = Recorder(), Recorder()
    with (
        hookcore.run(plugins=[outer], only=[], quiet=True) as first,
        pytest.warns(HookcoreWarning, match="joins it"),
        hookcore.run(plugins=[inner], only=[], quiet=True) as second,
    ):
        assert second is first
    assert inner.calls == []
    assert outer.names == ["on_run_start", "on_run_end"]


def test_another_thread_s_loops_are_not_the_run_s():
    """A run belongs to the thread that opened it."""

    def work():
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                log(loss=1.0)

    recorder = Recorder()
    with isolated_run(recorder):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert recorder.names == ["on_run_start", "on_run_end"]


def test_kill_switch(monkeypatch):
    """HOOKCORE=0: the block runs, and nobody is told."""
    monkeypatch.setenv("HOOKCORE", "0")
    recorder = Recorder()
    with hookcore.run(plugins=[recorder]) as run:
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                log(loss=1.0)
        run.log(loss=1.0)
    assert recorder.calls == []


def test_runs_one_after_another():
    """Each with its own plugins and counters."""
    for _ in range(2):
        recorder = Recorder()
        with isolated_run(recorder) as run:
            for _ in epochs(range(1)):
                for _ in batches(range(1)):
                    pass
        assert run.fits == 1
        assert recorder.count("on_epoch_end") == 1


def test_a_broken_stderr_costs_no_training(monkeypatch):
    """Our lines are lost, nothing else."""

    class Broken:
        def write(self, text):
            raise OSError("gone")

        def flush(self):
            raise OSError("gone")

    monkeypatch.setattr("sys.stderr", Broken())
    with hookcore.run(plugins=[Recorder()], only=[]) as run:
        for _ in epochs(range(1)):
            pass
    assert run.fit.epochs_done == 1
