"""Metrics from what the loop tells a logger of its own, read where a plugin listens."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

EPOCHS = """
def train(log, epochs=2):
    model = make(); optimizer = sgd(model)
    for epoch in range(epochs):
        for x, y in loader():
            update(model, optimizer, x, y)
            {inside}
        {after}
    return weights(model)
"""

VALIDATED = """
def train(log):
    model = make(); optimizer = sgd(model)
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, x, y)
        with torch.no_grad():
            for x, y in loader():
                model.eval()
                log(model(x).sum())
        model.train()
    return weights(model)
"""


def loop(inside="pass", after="pass"):
    return EPOCHS.format(inside=inside, after=after)


def arrivals(lab, source, *args, plugins=()):
    """What arrived with numbers of a logger, one `(source, values)` an event."""
    _, heard = lab.compare(source, *args, plugins=plugins)
    names = ("val/loss", "val/acc", "loss", "score")
    found = []
    for call in heard.recorder.of("on_log"):
        values = {n: v for n, v in call["metrics"].items() if n in names}
        if values:
            found.append((call["source"], values))
    return found


@pytest.fixture
def writer(tmp_path):
    """A real SummaryWriter."""
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path)) as made:
        yield made


@pytest.fixture
def bar():
    """A real bar that nobody sees."""
    tqdm = pytest.importorskip("tqdm")
    with tqdm.tqdm(file=io.StringIO()) as made:
        yield made


def test_a_scalar_of_tensorboard_is_a_metric_when_it_is_written(lab, writer):
    def log(epoch):
        writer.add_scalar("val/loss", 1.0 / (epoch + 1), epoch)

    assert arrivals(lab, loop(after="log(epoch)"), log) == [
        ("log", {"val/loss": 1.0}),
        ("log", {"val/loss": 0.5}),
    ]


def test_scalars_of_tensorboard_are_named_by_both_tags(lab, writer):
    def log(epoch):
        writer.add_scalars("val", {"loss": 2.0, "acc": 0.5}, epoch)

    assert arrivals(lab, loop(after="log(epoch)"), log)[0] == (
        "log",
        {"val/loss": 2.0, "val/acc": 0.5},
    )


def test_the_file_of_tensorboard_is_as_without(lab, writer, tmp_path):
    """The logger gets what it was given, tensors among it."""
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    module = lab.module(loop(after="log(epoch)"))
    lab.play(module.train, lambda epoch: writer.add_scalar("val/loss", lab_tensor(epoch), epoch))
    writer.flush()
    read = event_accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("val/loss")] == [(0, 0.0), (1, 2.0)]


def lab_tensor(epoch):
    import torch

    return torch.tensor([2.0 * epoch])


def test_what_a_bar_shows_after_the_batches_arrives_at_once(lab, bar):
    def log(epoch):
        bar.set_postfix({"score": epoch, "text": "none"}, refresh=False, loss=0.5)

    assert arrivals(lab, loop(after="log(epoch)"), log) == [
        ("log", {"score": 0.0, "loss": 0.5}),
        ("log", {"score": 1.0, "loss": 0.5}),
    ]


def test_what_a_bar_shows_in_each_batch_arrives_when_it_is_asked_for(lab, bar):
    """Its last value at the epoch's end; sooner where a plugin reads the batch's variables."""
    shown = iter(range(100))

    def log():
        bar.set_postfix(loss=float(next(shown)))

    source = loop(inside="log()")
    calls = [call for call in arrivals(lab, source, log) if call[1].keys() == {"loss"}]
    assert [name for name, _ in calls] == ["batch", "batch"]

    class Reader:
        name = "reader"

        @hookimpl
        def on_batch_start(self, run):
            run.metrics.refresh()

    shown = iter(range(100))
    _, ours = lab.pair(source)
    heard = lab.play(ours.train, log, plugins=[Reader()])
    read = [c["metrics"]["loss"] for c in heard.recorder.of("on_log") if "loss" in c["metrics"]]
    assert read == [0.0, 1.0, 2.0, 3.0]


def test_what_a_bar_shows_in_a_validation_is_the_validations(lab, bar):
    """Its last value, when the validation is over."""
    values = iter(range(100))

    def log(_):
        bar.set_postfix(score=next(values))

    _, heard = lab.compare(VALIDATED, log)
    ends = [call["metrics"]["score"] for call in heard.recorder.of("on_validation_end")]
    assert len(ends) == 2
    assert ends[1] - ends[0] == 2  # two batches a validation


def test_a_name_that_is_logged_and_bound_counts_once_for_who_monitors(lab, writer):
    """Early stopping's patience counts the logs alone."""
    from hookcore.monitors import Monitor, Watch

    class Watcher:
        name = "watcher"

        def __init__(self):
            self.watch, self.seen = Watch(Monitor("val_loss"), self.name, quiet=True), []

        @hookimpl
        def on_train_start(self, run):
            self.watch.start(run)

        @hookimpl
        def on_log(self, run, fit, metrics, source):
            self.seen.append(self.watch.log(run, fit, metrics, source))

        @hookimpl
        def on_epoch_end(self, run, fit, how):
            self.watch.epoch_ended(run, fit, how)

    watcher = Watcher()
    source = loop(after="val_loss = 1.0 - epoch; log('val_loss', val_loss)")
    lab.play(lab.module(source).train, writer.add_scalar, plugins=[watcher])
    assert [value for value in watcher.seen if value is not None] == [1.0, 0.0]


@pytest.mark.slow
def test_weights_and_biases_is_heard_though_it_was_begun_before(lab, tmp_path, monkeypatch):
    """`wandb.log` is another function before `wandb.init` than after it; both are heard."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("wandb")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch, wandb\n"
        "from hookcore import hookimpl, instrument\n"
        "class Hear:\n"
        "    name = 'hear'\n"
        "    @hookimpl\n"
        "    def on_log(self, metrics, source):\n"
        "        if source == 'log': print('heard', dict(metrics))\n"
        "def train(run):\n"
        "    model = torch.nn.Linear(2, 1)\n"
        "    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "    for epoch in range(2):\n"
        "        for i in range(2):\n"
        "            optimizer.zero_grad(); model(torch.ones(1, 2)).sum().backward()\n"
        "            optimizer.step()\n"
        "        wandb.log({'val/loss': epoch + 0.5, 'note': 'text'}); run.log({'score': epoch})\n"
        "before = wandb.log\n"
        f"run = wandb.init(mode='offline', dir={str(tmp_path)!r})\n"
        "after = wandb.log\n"
        "instrument(train, only=[], plugins=[Hear()], quiet=True)(run)\n"
        "print(wandb.log == after)\n"
        "run.finish()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [
        "heard {'val/loss': 0.5}",
        "heard {'score': 0.0}",
        "heard {'val/loss': 1.5}",
        "heard {'score': 1.0}",
        "True",
    ], done.stderr


def test_loggers_are_put_back(lab, writer, bar):
    before = type(writer).add_scalar, type(bar).set_postfix
    lab.play(lab.module(loop()).train, None)
    assert (type(writer).add_scalar, type(bar).set_postfix) == before


def test_nobody_listens_and_nothing_is_replaced(lab, writer):
    """A logger costs what it costs bare."""
    before, during = type(writer).add_scalar, []
    module = lab.module(loop(after="log()"))
    lab.play(module.train, lambda: during.append(type(writer).add_scalar), quiet=True)
    assert during == [before, before]


def test_a_plugin_that_logs_does_not_hear_itself(lab, writer):
    class Mirror:
        name = "mirror"

        @hookimpl
        def on_log(self, metrics):
            for name in metrics:
                writer.add_scalar(name, metrics[name])

    def log(epoch):
        writer.add_scalar("val/loss", 1.0, epoch)

    source = loop(after="log(epoch)")
    assert len(arrivals(lab, source, log, plugins=[Mirror()])) == 2


def test_a_logger_that_raises_raises(lab, writer):
    """The user's exception, and no metric."""
    assert arrivals(lab, loop(after="log('val/loss', object())"), writer.add_scalar) == []


def test_a_call_that_cannot_be_read_is_said_once(lab, bar, capfd):
    """A bar of another version may take more; the loop goes on, and what follows is heard."""

    def log(*values):
        bar.set_postfix(*values)

    original, shown = type(bar).set_postfix, []
    type(bar).set_postfix = lambda _bar, *values: shown.append(values)
    try:
        found = arrivals(lab, loop(after="log({'loss': 1.0}, 1, 2); log({'loss': 0.5})"), log)
    finally:
        type(bar).set_postfix = original
    assert found == [("log", {"loss": 0.5})] * 2
    assert len(shown) == 3 * 4  # bare, quiet, heard
    assert capfd.readouterr().err.count("what tqdm.set_postfix is told is no metric") == 1
