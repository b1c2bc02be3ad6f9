"""What a batch costs, counted: no clock, so the figures are the same on a busy machine."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("torch")

import jobs
import loops
import measures
import ours
import torch

import hookcore
from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

OFF, ON = ours.hookcore_off, ours.hookcore_on
FOUR = functools.partial(OFF, only=ours.PLUGINS)
needs_plugins = pytest.mark.plugins


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the bench measures; its instrumented loops are put back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    instrumented = ours.instrumented().instrumented
    yield
    instrumented.restore()
    ours.instrumented.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bare():
    """Calls of a batch of the bare loop."""
    return measures.calls(ours.bare)


@pytest.fixture(scope="module")
def scheduled():
    """The same with a schedule stepped in each batch."""
    return measures.calls(ours.scheduled)


# -- calls -----------------------------------------------------------------------------------


def test_the_bare_loop_is_counted_twice_alike(bare):
    """There is no noise in the figures below."""
    assert measures.calls(ours.bare) == bare


def test_no_plugin(bare, scheduled):
    """At most eight calls a batch, with a schedule a step as well."""
    assert measures.calls(OFF) - bare <= 8
    assert measures.calls(functools.partial(ON, only=())) - scheduled <= 8


ONE_LOOP = """
import torch
from torch.nn.functional import cross_entropy

def train(model, optimizer, batches):
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
"""


@pytest.fixture
def one_loop(tmp_path):
    """Calls that a batch of one loop over steps has more inside a run than outside."""

    def added(body="pass"):
        module = ours.module_of(tmp_path, "one_loop", f"{ONE_LOOP}        {body}\n")

        def row(job):
            batches = [batch for _ in range(job.epochs) for batch in job.loader]
            module.train(job.model, job.sgd(), batches)

        def inside(job):
            with ours.opened(job, (), quiet=True):
                row(job)

        bare = measures.calls(row)
        instrumented = hookcore.instrument(module.train)
        heard = measures.calls(inside)
        instrumented.restore()
        return heard - bare

    return added


def test_one_loop_over_steps(one_loop):
    """All of it is inside batches; where nothing switches gradients off, no forward is heard."""
    assert 0 < one_loop() <= 8


def test_one_loop_that_once_switches_gradients_off(one_loop):
    """An evaluation may follow; where none does, the forwards are heard for a batch or two."""
    switching = "if x is batches[2][0]:\n            with torch.no_grad():\n                pass"
    assert 0 < one_loop(switching) <= 8


CLIPS = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
EVALUATES = """if len(batches) == 0:
            model.eval()
            with torch.no_grad():
                model(x)
            model.train()
"""


@pytest.mark.parametrize("body", [CLIPS, f"{EVALUATES}        {CLIPS}"], ids=["clips", "evaluates"])
def test_one_loop_in_which_torch_switches_gradients_off(one_loop, body):
    """It clips; where ``eval()`` stands beside the loop's own ``no_grad``, that alone is heard."""
    assert 0 < one_loop(body) <= 8


SWITCHED = [("no_grad()", 16), ("inference_mode()", 16), ("set_grad_enabled(False)", 20)]


@pytest.mark.parametrize(("mode", "bound"), SWITCHED)
def test_one_loop_that_switches_gradients_off_in_each_batch(one_loop, mode, bound):
    """Forwards are heard while they are off; ``set_grad_enabled`` is torch's own in each step."""
    assert 8 < one_loop(f"with torch.{mode}:\n            pass") <= bound


def test_a_function_that_switches_gradients_off_in_each_batch(one_loop):
    """An average of the weights, say: where no evaluation is open, its return ends none."""
    averages = "\n\ndef average():\n    return torch.no_grad\n"
    assert 6 < one_loop("average()" + averages) <= 8


@needs_plugins
def test_four_plugins(bare):
    """At most thirteen calls a batch with their defaults."""
    assert measures.calls(FOUR) - bare <= 13


@needs_plugins
def test_four_plugins_with_a_schedule_a_step_and_a_checkpoint_an_epoch(scheduled):
    """The same bound where the rate changes with every step.

    Progress asks for the loop's variables a few times a second, and early stopping and checkpoints
    work at an epoch's end: that goes by the clock and the epochs, and is in no typical batch.
    """
    assert measures.calls(ON) - scheduled <= 13


@needs_plugins
def test_epochs_add_nothing(monkeypatch):
    """A batch of the eighth epoch is one of the fourth."""
    before = measures.calls(ON)
    monkeypatch.setattr(jobs.Job, "epochs", 8)
    assert measures.calls(ON) == before


@needs_plugins
def test_modules_and_parameters_add_nothing(monkeypatch):
    """A model of forty layers and eighty parameters costs what one of two does."""

    def deep(self, workload, folder, steps=None):
        make(self, workload, folder, steps)
        layers = [torch.nn.Linear(64, 64) for _ in range(40)]
        self.model = jobs.Stamped(torch.nn.Sequential(*layers, torch.nn.Linear(64, 10)))

    # Without progress, whose clock would tick in every batch where each one takes that long.
    row = functools.partial(ON, only=ours.PLUGINS[1:])
    shallow = measures.calls(row) - measures.calls(ours.scheduled)
    make = jobs.Job.__init__
    monkeypatch.setattr(jobs.Job, "__init__", deep)
    assert measures.calls(row) - measures.calls(ours.scheduled) == shallow


@needs_plugins
@pytest.mark.parametrize("only", [(), ours.PLUGINS], ids=["no plugin", "four"])
def test_a_thousand_modules_cost_what_ten_do(monkeypatch, only):
    """They are looked at once a fit, and never in a batch."""

    def added(count):
        def wide(self, workload, folder, steps=None):
            make(self, workload, folder, steps)
            self.model.rest = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(count))

        with monkeypatch.context() as patched:
            patched.setattr(jobs.Job, "__init__", wide)
            return measures.calls(functools.partial(OFF, only=only)) - measures.calls(ours.bare)

    make = jobs.Job.__init__
    assert added(1000) == added(10) <= 13


class Rare:
    """Wants every tenth batch, and at most one in an hour."""

    name = "rare"
    every: ClassVar = {"on_batch_end": 10}
    at_most_every: ClassVar = {"on_batch_start": 3600.0}

    def __init__(self):
        self.ends = self.starts = 0

    @hookimpl
    def on_batch_start(self):
        self.starts += 1

    @hookimpl
    def on_batch_end(self):
        self.ends += 1


def test_a_rate_is_the_core_s_to_keep(bare):
    """An event that is not wanted costs its counting: one call, and one look at a clock."""
    rare = Rare()
    added = measures.calls(functools.partial(OFF, plugins=[rare])) - bare
    assert (rare.ends, rare.starts) == (4, 0)
    assert added <= 8 + 1 + 3  # no plugin; the counter; the clock and the batch without enumerate


def test_a_ledger_that_nobody_asked_for_costs_nothing(bare):
    """Measured hooks are chosen as the run begins, not asked for in each batch."""
    measured = measures.calls(functools.partial(OFF, cost=True)) - bare
    assert measures.calls(OFF) - bare < measured


# -- what must not happen --------------------------------------------------------------------


@needs_plugins
@pytest.mark.parametrize("row", [OFF, FOUR, ON], ids=["no plugin", "four", "on"])
def test_no_batch_is_kept(row):
    """As the next batch is fetched, the loop's own two variables are all that is alive."""
    assert measures.live_batches(row) == measures.live_batches(ours.bare) == 2


@needs_plugins
@pytest.mark.parametrize("row", [OFF, FOUR], ids=["no plugin", "four"])
def test_no_step_waits_for_the_device(row):
    """More steps bring no more reads of tensors, by Python's calls or by torch's operators."""
    calls, operators = zip(*(measures.synchronisations(row, steps) for steps in (5, 25)),
                           strict=True)  # fmt: skip
    assert calls[1] - calls[0] <= SOME
    assert operators[1] - operators[0] <= SOME


SOME = 4
"""Reads that progress may make by its clock; twenty more steps of one read each would be 80."""


def test_what_must_not_happen_would_be_seen():
    """The two counts above count."""
    kept = []

    def keeps(job):
        optimizer = job.sgd()
        for x, y in job.loader:
            kept.append(x)
            loss = job.loss(job.model(x), y)
            loss.backward()
            optimizer.step()
            loss.item()

    assert measures.live_batches(keeps) == 5
    (fewer, _), (more, _) = (measures.synchronisations(keeps, steps) for steps in (5, 25))
    assert more - fewer == 20


def test_no_forward_is_heard_in_a_training_batch():
    """Where nobody listens, the model has no hooks in the batches of a fit that is known."""
    found = []

    class Looking(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            found.append(len(self._forward_hooks) + len(self._forward_pre_hooks))
            return self.net(x)

    def looks(job):
        model = Looking(job.model)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with ours.opened(job, (), quiet=True):
            ours.instrumented().train(model, optimizer, job.loader, job.epochs)

    measures.timed(looks, "tiny", 5)
    assert found == [0] * 20


def test_the_bench_s_loops_are_what_is_measured():
    """Both copies train the same, bit for bit."""
    for one, other in ((ours.bare, OFF), (ours.scheduled, functools.partial(ON, only=()))):
        first, second = measures.timed(one, "tiny", 5), measures.timed(other, "tiny", 5)
        assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert loops.train is not ours.instrumented().train


def test_the_bench_leaves_nothing_behind():
    """Its copy of the loops needs its file no longer than until it is instrumented."""
    assert not Path(ours.instrumented().__file__).parent.exists()
