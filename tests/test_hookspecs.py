"""The contract: documented, stable, and every event of it fires from a plain loop."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path

import pluggy
import pytest

import hookcore
from hookcore.hookspecs import EVENTS, PROJECT, WAYS_OUT, Hookspecs, hookimpl

SIGNATURES = {
    "on_run_start": "run",
    "on_run_end": "run how",
    "on_exception": "run error",
    "on_stop": "run fit reason by",
    "on_signal": "run signal",
    "on_train_start": "run fit",
    "on_train_end": "run fit how",
    "on_epoch_start": "run fit epoch",
    "on_epoch_end": "run fit epoch how",
    "on_batch_start": "run fit batch data",
    "on_batch_end": "run fit batch how",
    "on_forward_start": "run fit model args kwargs",
    "on_forward_end": "run fit model output",
    "on_backward_start": "run fit loss",
    "on_backward_end": "run fit loss",
    "on_optimizer_step_start": "run fit optimizer",
    "on_optimizer_step_end": "run fit optimizer",
    "on_optimizer_step_skipped": "run fit optimizer",
    "on_zero_grad": "run fit optimizer",
    "on_gradient_clip": "run fit norm limit",
    "on_scheduler_step": "run fit scheduler",
    "on_lr_change": "run fit optimizer group old new",
    "on_validation_start": "run fit",
    "on_validation_end": "run fit metrics",
    "on_validation_batch_start": "run fit batch",
    "on_validation_batch_end": "run fit batch",
    "on_log": "run fit metrics source",
    "on_checkpoint_save": "run fit snapshot",
    "on_checkpoint_saved": "run fit path",
    "on_checkpoint_load": "run path",
    "on_resume": "run fit position",
}


def hooks():
    return {n: f for n, f in vars(Hookspecs).items() if not n.startswith("_")}


def test_signatures_are_the_published_ones():
    """Names, arguments and order of the events: plugins of other people stand on them."""
    assert {name: " ".join(event.arguments) for name, event in EVENTS.items()} == SIGNATURES
    assert list(EVENTS) == list(SIGNATURES)


@pytest.mark.parametrize("name", hooks())
def test_each_hook_is_documented(name):
    """First line, every argument under Args, and what it costs."""
    function = hooks()[name]
    doc = inspect.getdoc(function)
    arguments = list(inspect.signature(function).parameters)[1:]
    _, _, described = doc.partition("Args:\n")
    for argument in arguments:
        assert f"    {argument}: " in described
    assert "\nCost: " in doc


@pytest.mark.parametrize("name", EVENTS)
def test_events_take_no_defaults_and_return_nothing(name):
    """Arguments are plain names; an event is not asked for a value."""
    signature = inspect.signature(hooks()[name])
    for parameter in signature.parameters.values():
        assert parameter.default is inspect.Parameter.empty
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert signature.return_annotation == "None"


def test_pluggy_accepts_the_contract():
    """No hook is historic: those keep their arguments, and a model's memory, for ever."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hookspecs)
    for name in hooks():
        spec = getattr(manager.hook, name).spec
        assert not spec.opts["historic"]
        assert spec.opts["firstresult"] == (name == "adapt")


def test_each_start_has_an_end():
    """A span opens and closes by one name; ends are what runs in the reverse order."""
    starts = {name.removesuffix("_start") for name in EVENTS if name.endswith("_start")}
    ends = {name.removesuffix("_end") for name, event in EVENTS.items() if event.is_end}
    assert starts == ends


class Everything:
    """Writes down which events it received, and asks for what it takes to receive the rest."""

    name, role = "everything", "persist"

    def __init__(self, folder):
        self.folder, self.seen = folder, {}


def _hook(event):
    body = {
        "on_epoch_end": "\n    run.capture('each epoch')",
        "on_checkpoint_save": "\n    run.saved(self.write(snapshot))",
    }.get(event.name, "")
    names = {}
    exec(
        f"def {event.name}(self, {', '.join(event.arguments)}):\n"
        f"    self.seen.setdefault('{event.name}', ({', '.join(event.arguments)},)){body}\n",
        names,
    )
    return hookimpl(names[event.name])


for _event in EVENTS.values():
    setattr(Everything, _event.name, _hook(_event))


def _write(self, snapshot):
    from hookcore.snapshot import stage, write

    path = self.folder / f"epoch-{len(list(self.folder.iterdir()))}"
    write(stage(snapshot), path)
    return path


Everything.write = _write

LOOP = """
def evaluate(model):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x, y in loader():
            total += F.cross_entropy(model(x), y).item()
    model.train()
    return total

def train(epochs=2, at_end=None):
    model = make()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu")
    for epoch in range(epochs):
        for i, (x, y) in enumerate(loader()):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if epoch == 1 and i == 1:
                loss = loss * float("inf")
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        scheduler.step()
        evaluate(model)
    if at_end is not None:
        at_end()
"""


@pytest.mark.torch
def test_every_event_fires_from_a_plain_loop(lab, tmp_path):
    """One unedited loop, then one that is resumed, one that is stopped and one that raises."""
    module = lab.module(LOOP)
    plugin = Everything(tmp_path)

    class Resumer:
        name, role = "resumer", "persist"

        @hookimpl
        def on_run_start(self, run):
            from hookcore.snapshot import read

            path = tmp_path / "epoch-1"
            run.restore(read(path), path)

    class Stopper:
        name = "stopper"

        @hookimpl
        def on_epoch_end(self, fit):
            fit.stop("enough")

    class Signaller:
        name = "signaller"

        @hookimpl
        def on_batch_start(self, fit, batch):
            if fit.epoch == 0 and batch == 1:
                signal.raise_signal(signal.SIGTERM)

    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        lab.play(module.train, plugins=[plugin, Signaller()])
    finally:
        signal.signal(signal.SIGTERM, before)
    lab.play(module.train, 3, plugins=[plugin, Resumer()])
    lab.play(module.train, plugins=[plugin, Stopper()])
    lab.play(module.train, 2, lambda: 1 / 0, plugins=[plugin])

    assert set(EVENTS) - set(plugin.seen) == set()
    assert heard == [signal.SIGTERM]


# -- the ways-out table --------------------------------------------------------------------

WAYS = {
    "the batch loop is exhausted": "pass",
    "both loops are exhausted": "pass",
    "continue in the batch loop": "if last: continue",
    "break in the batch loop": "if last: break",
    "break in the epoch loop, after the batches": "leave = True",
    "return in the batch loop": "if last: return",
    "fit.stop(), from any event": "if last: ask(False)",
    "fit.stop(now=True) in a batch": "if last: ask(True)",
    "an exception that the epoch's body catches": "if last: raise ValueError",
    "an exception, KeyboardInterrupt included": "if last: raise KeyboardInterrupt",
    "SystemExit": "if last: raise SystemExit",
}

TWO_LEVELS = """
def train(ask):
    model = make()
    optimizer = sgd(model)
    leave = False
    for epoch in range(2):
        try:
            for batch in range(3):
                update(model, optimizer)
                last = epoch == 1 and batch == 1
                {way}
                pass
        except ValueError:
            pass
        if leave: break
"""


def test_the_table_has_every_way():
    """Each row is tried below."""
    assert [way.cause for way in WAYS_OUT] == list(WAYS)


@pytest.mark.torch
@pytest.mark.parametrize("way", WAYS_OUT, ids=lambda way: way.cause)
def test_ways_out(lab, way):
    """What the table says of a way of leaving is what a loop that is left so delivers."""
    module = lab.module(TWO_LEVELS.format(way=WAYS[way.cause]))
    kept = []

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_train_start(self, fit):
            kept.append(fit)

    def ask(now):
        kept[0].stop("enough", now=now)

    outcome = lab.play(module.train, ask, plugins=[Keeper()])
    recorder = outcome.recorder

    epoch = 0 if "after the batches" in way.cause else 1
    place = -1 if way.batch == "finished" and way.train is not None else 1
    batches = [call["how"] for call in _of_epoch(recorder, epoch)]
    assert batches[place] == way.batch
    assert recorder.of("on_epoch_end")[epoch]["how"] == (way.epoch or "finished")
    assert recorder.of("on_train_end")[0]["how"] == (way.train or "finished")
    assert recorder.count("on_exception") == way.exception


def _of_epoch(recorder, epoch):
    """The ends of the batches of one epoch."""
    index, found = -1, []
    for name, arguments in recorder.calls:
        index += name == "on_epoch_start"
        if name == "on_batch_end" and index == epoch:
            found.append(arguments)
    return found


def test_the_contract_is_public():
    """What a plugin's author needs stands in the package itself."""
    assert hookcore.hookimpl is hookimpl
    assert hookcore.EVENTS is EVENTS
    assert Path(inspect.getfile(Hookspecs)).name == "hookspecs.py"
