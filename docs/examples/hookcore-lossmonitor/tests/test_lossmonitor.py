"""The loss monitor, tested without torch and without any installed plugin."""

from hookcore_lossmonitor import LossMonitor

from hookcore.testing import assert_plugin_contract, tiny_run


def test_contract():
    """It is what hookcore asks a plugin to be."""
    assert_plugin_contract(LossMonitor)


def test_it_stops_a_loop_that_gets_no_better():
    """Two epochs without a new best are enough, and the stop has an author and a reason."""
    run = tiny_run(LossMonitor(patience=2), losses=[3.0, 2.0, 2.5, 2.6, 2.7, 2.8])

    assert run.fit.epochs_done == 4
    assert run.fit.stopped.by == "lossmonitor"
    assert run.fit.stopped.reason == "loss has no new best; epochs waited: 2"


def test_it_leaves_a_loop_that_gets_better():
    """A loss that falls in every epoch ends by itself."""
    run = tiny_run(LossMonitor(patience=1), losses=[3.0, 2.0, 1.0])

    assert run.fit.epochs_done == 3
    assert run.fit.stopped is None


def test_min_delta_is_what_a_new_best_takes():
    """Falling by less than min_delta counts as standing still."""
    run = tiny_run(LossMonitor(patience=2, min_delta=0.5), losses=[3.0, 2.9, 2.8, 2.7])

    assert run.fit.epochs_done == 3


def test_it_says_where_the_loss_went(monkeypatch):
    """One line an epoch."""
    lines = []
    monkeypatch.setattr("hookcore.Run.say", lambda run, text: lines.append(text))

    tiny_run(LossMonitor(), losses=[3.0, 2.0, 2.5])

    assert lines == ["loss is 3", "loss fell from 3 to 2", "loss rose from 2 to 2.5"]


def test_another_monitor():
    """An option names what to watch."""
    run = tiny_run(
        LossMonitor(monitor="val_loss", patience=1), losses=[3.0, 2.0, 1.0], validations=[1, 2, 3]
    )

    assert run.fit.epochs_done == 2
