"""An event to its listeners: frozen, ordered, isolated by role."""

from __future__ import annotations

import pytest

from hookcore import PluginError, UsageError, batches, epochs, hookimpl
from hookcore.dispatch import Dispatch
from hookcore.hookspecs import EVENTS
from hookcore.testing import isolated_manager, isolated_run, tiny_run


def plugin(name, hooks, **declared):
    """An object with these hooks and declarations."""
    body = {event: hookimpl(function) for event, function in hooks.items()}
    return type(name.title(), (), {"name": name, **declared, **body})()


def dispatch(*plugins, strict=False):
    """A dispatch over plugins, with what it reports."""
    loaded = isolated_manager(*plugins)
    failures, woken = [], []
    made = Dispatch(
        loaded.manager,
        loaded.order,
        strict=strict,
        on_failure=lambda failure, role: failures.append((failure, role)),
        on_pending=lambda: woken.append(True),
    )
    return made, failures, woken


def log(to, word):
    def on_epoch_end(self):
        to.append(word)

    return on_epoch_end


def start(to, word):
    def on_epoch_start(self):
        to.append(word)

    return on_epoch_start


# -- frozen ----------------------------------------------------------------------------------


def test_an_event_without_listeners_is_none():
    """What nobody listens to costs one comparison."""
    made, _, _ = dispatch(plugin("a", {"on_epoch_end": log([], "a")}))
    assert [n for n in EVENTS if getattr(made.events, n) is not None] == ["on_epoch_end"]
    assert made.listens("on_epoch_end")
    assert not made.listens("on_batch_end")


def test_a_hook_gets_the_arguments_that_it_names():
    """In its own order, whatever the contract's is."""
    got = []

    def on_batch_end(self, batch, run):
        got.append((batch, run))

    made, _, _ = dispatch(plugin("a", {"on_batch_end": on_batch_end}))
    made.events.on_batch_end("run", "fit", 3, "finished")
    assert got == [(3, "run")]


def test_only_events_that_a_plugin_has_reach_it():
    """A plugin's other methods are its own business."""
    got = []
    one = plugin("a", {"on_epoch_end": log(got, "a")})
    type(one).helper = lambda self: got.append("helper")
    made, _, _ = dispatch(one)
    made.events.on_epoch_end(None, None, 0, "finished")
    assert got == ["a"]


# -- order -----------------------------------------------------------------------------------


def fire_both(*plugins):
    made, _, _ = dispatch(*plugins)
    made.events.on_epoch_start(None, None, 0)
    made.events.on_epoch_end(None, None, 0, "finished")


def test_starts_go_by_name_and_ends_in_reverse():
    """Whoever comes first at a start comes last at the end."""
    got = []
    fire_both(
        *(
            plugin(n, {"on_epoch_start": start(got, n), "on_epoch_end": log(got, n)})
            for n in ("beta", "alpha", "gamma")
        )
    )
    assert got == ["alpha", "beta", "gamma", "gamma", "beta", "alpha"]


def test_declared_order_goes_before_the_name():
    """`before` and `after` name other plugins."""
    got = []
    fire_both(
        plugin(
            "a", {"on_epoch_start": start(got, "a"), "on_epoch_end": log(got, "a")}, after=("c",)
        ),
        plugin("b", {"on_epoch_start": start(got, "b"), "on_epoch_end": log(got, "b")}),
        plugin(
            "c", {"on_epoch_start": start(got, "c"), "on_epoch_end": log(got, "c")}, before=("b",)
        ),
    )
    assert got == ["c", "a", "b", "b", "a", "c"]


@pytest.mark.parametrize("event", ["on_epoch_start", "on_epoch_end"])
def test_tryfirst_and_trylast_are_honoured(event):
    """In both directions they mean first and last."""
    got = []
    make = start if event == "on_epoch_start" else log

    def marked(name, **marks):
        one = plugin(name, {})
        setattr(type(one), event, hookimpl(**marks)(make(got, name)))
        return one

    made, _, _ = dispatch(marked("a", trylast=True), marked("b"), marked("c", tryfirst=True))
    getattr(made.events, event)(*[None] * len(EVENTS[event].arguments))
    assert got == ["c", "b", "a"]


# -- rates -----------------------------------------------------------------------------------


def test_every_calls_each_nth_time():
    """A plugin that declares `every` is called then, and costs nothing otherwise."""
    got = []

    def on_batch_end(self, batch):
        got.append(batch)

    tiny_run(
        plugin("a", {"on_batch_end": on_batch_end}, every={"on_batch_end": 3}),
        losses=(1.0,),
        batches_per_epoch=7,
    )
    assert got == [2, 5]


def test_at_most_every_is_a_clock(monkeypatch):
    """Seconds lie between two calls at least, the run's beginning counted."""
    now = [100.0]
    monkeypatch.setattr("hookcore.dispatch.time.monotonic", lambda: now[0])
    got = []

    def on_batch_end(self, batch):
        got.append(batch)

    made, _, _ = dispatch(
        plugin("a", {"on_batch_end": on_batch_end}, at_most_every={"on_batch_end": 2.0})
    )
    for batch in range(6):
        made.events.on_batch_end(None, None, batch, "finished")
        now[0] += 1.0
    assert got == [2, 4]


# -- isolation -------------------------------------------------------------------------------


class Boom(Exception):
    pass


def broken(event, error=Boom, name="broken", **declared):
    """A plugin that raises in one hook."""
    names = {"error": error}
    exec(f"def {event}(self):\n    self.calls += 1\n    raise error('no')", names)
    return plugin(name, {event: names[event]}, calls=0, **declared)


def run_of(*plugins, strict=False, **options):
    """A tiny run, not strict unless said."""
    return tiny_run(*plugins, strict=strict, **options)


@pytest.mark.parametrize("role", ["observe", "control"])
def test_a_plugin_that_raises_is_switched_off(role, capsys):
    """Named once, with its traceback, the event and a way out; named again at the end."""
    one = broken("on_batch_end", role=role)
    run = run_of(one)
    text = capsys.readouterr().err
    assert one.calls == 1
    assert run.fit.epochs_done == 3
    assert text.count("plugin 'broken' raised in on_batch_end") == 1
    assert "Boom: no" in text
    assert "-p no:broken" in text
    assert "broken was switched off: " in text.splitlines()[-1]
    assert not run.failed


def test_a_plugin_that_persists_stays_on(capsys):
    """A save that failed is tried again, and the exit code tells of it."""
    one = broken("on_epoch_end", role="persist")
    run = run_of(one)
    assert one.calls == 3
    assert run.failed
    assert "it will try again" in capsys.readouterr().err


def test_the_others_go_on(capsys):
    """Before and after the one that raises, in the very event."""
    got = []
    run_of(
        plugin("a", {"on_epoch_start": start(got, "a")}),
        broken("on_epoch_start", name="b"),
        plugin("c", {"on_epoch_start": start(got, "c")}),
        losses=(1.0,),
    )
    assert got == ["a", "c"]


def test_frozen_anew_when_one_is_switched_off(capsys):
    """The events of a plugin that is off are nobody's again."""
    made, failures, _ = dispatch(broken("on_epoch_start"))
    made.events.on_epoch_start(None, None, 0)
    assert made.events.on_epoch_start is None
    assert [failure.plugin for failure, _ in failures] == ["broken"]


def test_a_failure_is_kept_as_text():
    """The exception would pin the loop's tensors."""
    made, failures, _ = dispatch(broken("on_epoch_start"))
    made.events.on_epoch_start(None, None, 0)
    (failure, role), *_ = failures
    assert role == "observe"
    assert "Traceback" in failure.text
    assert failure.line.endswith("Boom: no")
    assert not any(isinstance(getattr(failure, f), BaseException) for f in failure.__slots__
                   if not f.startswith("__"))  # fmt: skip


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_goes_through(kind):
    """Isolation catches Exception; an interrupt is the user's."""
    with pytest.raises(kind):
        run_of(broken("on_batch_end", kind))


def test_a_speaker_is_known_while_its_hook_runs():
    """A stop has the plugin's name, also where one hook causes another."""
    seen = []

    def on_epoch_start(self):
        seen.append(made.speaker)
        made.events.on_epoch_end(None, None, 0, "finished")
        seen.append(made.speaker)

    def on_epoch_end(self):
        seen.append(made.speaker)

    made, _, _ = dispatch(
        plugin("outer", {"on_epoch_start": on_epoch_start}),
        plugin("inner", {"on_epoch_end": on_epoch_end}),
    )
    made.events.on_epoch_start(None, None, 0)
    assert seen == ["outer", "inner", "outer"]
    assert made.speaker is None


# -- what the user typed ---------------------------------------------------------------------


def test_usage_error_at_the_start_ends_the_run():
    """Before anything of the user's has run."""
    reached = []
    with pytest.raises(UsageError), isolated_run(broken("on_run_start", UsageError)):
        reached.append(True)
    assert not reached


@pytest.mark.torch
def test_usage_error_later_comes_after_a_checkpoint():
    """Raised at the loop's head, when what was trained so far is safe; isolated or not."""
    import torch  # noqa: F401 - without it there is nothing to save

    got = []

    def on_checkpoint_save(self, snapshot):
        got.append("saved")

    saver = plugin("saver", {"on_checkpoint_save": on_checkpoint_save}, role="persist")
    kept = []

    def on_train_start(self, fit):
        kept.append(fit)

    keeper = plugin("keeper", {"on_train_start": on_train_start})
    with pytest.raises(UsageError):
        run_of(saver, keeper, broken("on_validation_end", UsageError), validations=(1.0, 1.0, 1.0))
    assert got == ["saved"]
    assert kept[0].epochs_done == 1


# -- strict ----------------------------------------------------------------------------------


def test_strict_raises_from_the_cause():
    """Never the bare exception: the user sees whose it was."""
    with pytest.raises(PluginError, match="plugin 'broken' raised in on_batch_end") as caught:
        run_of(broken("on_batch_end"), strict=True)
    assert isinstance(caught.value.__cause__, Boom)


def test_strict_raises_at_a_head():
    """The batch in which it happened is done."""
    got = []

    def on_batch_end(self, batch, how):
        got.append((batch, how))

    with pytest.raises(PluginError):
        run_of(broken("on_batch_start"), plugin("z", {"on_batch_end": on_batch_end}), strict=True)
    assert got[0] == (0, "finished")


@pytest.mark.parametrize("strict", [False, True])
def test_stop_iteration_of_a_plugin_never_ends_the_loop(strict, capsys):
    """Inside ``__next__`` it would end the user's loop in silence."""
    one = broken("on_batch_start", StopIteration)
    if strict:
        with pytest.raises(PluginError):
            run_of(one, strict=True)
    else:
        assert run_of(one).fit.batches == 6


def test_strict_at_the_end_is_raised_too():
    """No head comes after on_run_end; the error is not lost."""
    with pytest.raises(PluginError):
        run_of(broken("on_run_end"), strict=True)


def test_the_users_exception_goes_before_a_plugins():
    """Where both have happened, the user's own is what leaves the run."""

    def loop():
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), isolated_run(broken("on_exception"), strict=True):
        loop()


# -- the weights stay ------------------------------------------------------------------------

LOOP = """
def train(epochs=2):
    model = make()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for epoch in range(epochs):
        for x, y in loader():
            update(model, optimizer, x, y)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scheduler.step()
        with torch.no_grad():
            model.eval()
            val_loss = F.cross_entropy(model(X), Y).item()
            model.train()
    return weights(model)
"""


@pytest.mark.torch
@pytest.mark.parametrize("event", EVENTS)
def test_a_plugin_that_raises_in_a_hook_leaves_the_weights(lab, event, capsys):
    """Whichever hook it is: the training is as without the plugin, and it is off."""
    bare, ours = lab.pair(LOOP)
    one = broken(event)
    outcome = lab.play(ours.train, plugins=[one], strict=False)
    assert outcome.same == lab.bare(bare.train).same
    assert one.calls <= 1
