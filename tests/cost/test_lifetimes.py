"""What of a batch is alive, and when: with plugins never more than without."""

from __future__ import annotations

import contextlib
import weakref

import pytest

pytest.importorskip("torch")

import ours
import torch

import hookcore
from hookcore.testing import Recorder

pytestmark = [
    pytest.mark.torch,
    pytest.mark.plugins,
    pytest.mark.usefixtures("fewer_objects"),
]

LOOPS = """
import torch
from torch.nn.functional import cross_entropy

def step(model, optimizer, batch):
    optimizer.zero_grad()
    loss = cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.item()

def validate(model, loader):
    model.eval()
    val_loss = 0.0
    with torch.no_grad():
        for batch in loader:
            val_loss += cross_entropy(model(batch[0]), batch[1]).item()
            del batch
    model.train()
    return val_loss

def lets_go(model, optimizer, loader):
    for epoch in range(3):
        for batch in loader:
            step(model, optimizer, batch)
            del batch
        val_loss = validate(model, loader)

def unpacks(model, optimizer, loader):
    for epoch in range(3):
        for x, y in loader:
            step(model, optimizer, (x, y))
        val_loss = validate(model, loader)

def enumerates(model, optimizer, loader):
    for epoch in range(3):
        for i, batch in enumerate(loader):
            step(model, optimizer, batch)
            del batch

def zips(model, optimizer, loader):
    for epoch in range(3):
        for one, other in zip(loader, loader):
            step(model, optimizer, one)
            step(model, optimizer, other)
            del one, other

def draws_a_bar(model, optimizer, loader):
    from tqdm import tqdm
    for epoch in range(3):
        for batch in tqdm(loader, disable=True):
            step(model, optimizer, batch)
            del batch

def fetches(model, optimizer, loader):
    for epoch in range(3):
        iterator = iter(loader)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                break
            step(model, optimizer, batch)
            del batch

def counts(model, optimizer, loader):
    iterator, steps = iter(loader), 0
    while steps < 14:
        batch = next(iterator, None)
        if batch is None:
            iterator = iter(loader)
            continue
        steps += 1
        step(model, optimizer, batch)
        del batch

def prefetches(model, optimizer, loader):
    def ahead():
        iterator = iter(loader)
        coming = next(iterator, None)
        while coming is not None:
            now, coming = coming, None
            yield now
            del now
            coming = next(iterator, None)
    for epoch in range(3):
        for batch in ahead():
            step(model, optimizer, batch)
            del batch

def one_loop(model, optimizer, loader):
    for batch in loader:
        step(model, optimizer, batch)
        del batch

def raises(model, optimizer, loader):
    for epoch in range(3):
        try:
            for i, batch in enumerate(loader):
                step(model, optimizer, batch)
                if i == 2:
                    raise ValueError
                del batch
        except ValueError:
            batch = None

def breaks(model, optimizer, loader):
    for epoch in range(3):
        for i, batch in enumerate(loader):
            step(model, optimizer, batch)
            if i == 2:
                break
            del batch
        batch = None

def validates_between(model, optimizer, loader):
    for epoch in range(3):
        for i, batch in enumerate(loader):
            step(model, optimizer, batch)
            del batch
            if i % 2:
                val_loss = validate(model, loader)
"""


class Data(torch.utils.data.TensorDataset):
    """Notes at each fetch how many tensors of the batches so far are alive."""

    def __init__(self):
        super().__init__(torch.randn(24, 4), torch.randint(3, (24,)))
        self.made, self.seen = [], []

    @property
    def alive(self):
        return sum(made() is not None for made in self.made)

    def __getitems__(self, places):
        self.seen.append(self.alive)
        return places

    def batch(self, places):
        made = [tensor[places] for tensor in self.tensors]
        self.made += map(weakref.ref, made)
        return made


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The loops, as they stand and with sites."""
    folder = tmp_path_factory.mktemp("lifetimes")
    bare, instrumented = (ours.module_of(folder, f"lifetimes_{i}", LOOPS) for i in (0, 1))
    sites = hookcore.instrument(instrumented.lets_go)
    yield bare, instrumented
    sites.restore()


def lifetimes(loop, context):
    """What was alive at each fetch, as the loop was over, and after the run."""
    data = Data()
    loader = torch.utils.data.DataLoader(data, 4, collate_fn=data.batch)
    model = torch.nn.Linear(4, 3)
    with context:
        loop(model, torch.optim.SGD(model.parameters(), 0.1), loader)
        over = data.alive
    return data.seen, over, data.alive


def everything(folder, **call):
    """Four plugins, checkpoints inside epochs, and one that listens to all there is."""
    options = {"checkpoint": {"directory": str(folder), "every_n_steps": 2}}
    return hookcore.run(
        only=ours.PLUGINS, plugins=[Recorder()], options=options, quiet=True, **call
    )


@pytest.mark.parametrize("name", [
    "lets_go", "unpacks", "enumerates", "zips", "draws_a_bar", "fetches", "counts", "prefetches",
    "one_loop", "raises", "breaks", "validates_between",
])  # fmt: skip
def test_a_batch_lives_as_long_as_without_plugins(modules, tmp_path, name):
    """At each fetch, of training and validation, and after the loop, whatever listens."""
    if name == "draws_a_bar":
        pytest.importorskip("tqdm")
    bare, instrumented = (getattr(module, name) for module in modules)
    expected = lifetimes(bare, contextlib.nullcontext())
    assert len(expected[0]) >= 6
    assert lifetimes(instrumented, hookcore.run(only=[], quiet=True)) == expected
    assert lifetimes(instrumented, everything(tmp_path, cost=True)) == expected


class Keeps:
    """What no plugin should do."""

    name = "keeps"

    @hookcore.hookimpl
    def on_batch_start(self, data):
        self.last = data


def test_a_batch_that_is_kept_would_be_seen(modules):
    """The count counts."""
    _, instrumented = modules
    run = hookcore.run(only=[], plugins=[Keeps()], quiet=True)
    assert max(lifetimes(instrumented.lets_go, run)[0]) == 2


class Stops:
    """Ends the fit in its fourth batch."""

    name = "stops"
    role = "control"

    @hookcore.hookimpl
    def on_batch_end(self, fit):
        if fit.batches == 4:
            fit.stop("enough", now=True)


def test_a_stop_lets_go_of_the_batch(modules, tmp_path):
    """As soon as the loop is over, without the collector's help."""
    _, instrumented = modules
    run = hookcore.run(only=ours.PLUGINS, plugins=[Stops()], quiet=True,
                       options={"checkpoint": {"directory": str(tmp_path)}})  # fmt: skip
    assert lifetimes(instrumented.enumerates, run)[1:] == (0, 0)
