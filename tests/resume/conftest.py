"""Loops that are left at any head, and begun anew from what was saved there."""

from __future__ import annotations

import copy
import linecache
import math
import random
import sys
import textwrap
import types

import attrs
import pytest

torch = pytest.importorskip("torch")

import hookcore  # noqa: E402
from hookcore import snapshot as snapshots  # noqa: E402
from hookcore.plain import gate, table  # noqa: E402
from hookcore.plain.rewriting.rewrite import rewrite  # noqa: E402
from hookcore.plain.rewriting.snippets import GATE  # noqa: E402
from hookcore.testing import isolated_run  # noqa: E402

PRELUDE = """
import copy
import itertools
import random
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

class Noisy(Dataset):
    '''Draws from every stream for each sample.'''
    taken = 0
    def __init__(self, n=18):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        Noisy.taken += 1
        return torch.full((3,), i / self.n) + 0.1 * torch.rand(3) * random.random()

def make():
    torch.manual_seed(1)
    random.seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    return model, torch.optim.Adam(model.parameters(), lr=0.05)

def update(model, optimizer, x):
    optimizer.zero_grad()
    loss = (model(x) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()

def total(model):
    return [p.tolist() for p in model.parameters()]
"""


class Killed(BaseException):
    """The run dies here."""


class Keeper:
    """Saves at chosen heads, in memory as a file would hold it, and starts from one.

    Args:
        at: Batches, counted from 1, after which it saves; or "all", or "epochs".
        start: What it starts from.
        die: Whether the run dies of its first save.
    """

    name = "keeper"
    role = "persist"

    def __init__(self, at=(), start=None, die=False):
        self.at, self.start, self.die = at, start, die
        self.saved, self.resumed, self.events = {}, None, []

    @hookcore.hookimpl
    def on_run_start(self, run):
        if self.start is not None:
            run.restore(self.start, run.folder)

    @hookcore.hookimpl
    def on_resume(self, fit, position):
        self.resumed = position

    @hookcore.hookimpl
    def on_epoch_start(self, fit, epoch):
        self.events.append(("epoch", epoch))

    @hookcore.hookimpl
    def on_epoch_end(self, run):
        if self.at == "epochs":
            run.capture("here")

    @hookcore.hookimpl
    def on_batch_start(self, run, fit, batch):
        self.events.append(("batch", fit.epoch, batch, fit.batches, fit.step))
        if self.at != "epochs" and (self.at == "all" or fit.batches + 1 in self.at):
            run.capture("here")

    @hookcore.hookimpl
    def on_checkpoint_save(self, fit, snapshot):
        self.saved[fit.batches] = snapshots.stage(snapshot).snapshot()
        if self.die:
            raise Killed


@attrs.frozen
class Ended:
    """How one call ended."""

    result: object
    rng: object
    keeper: Keeper
    module: object


class Bench:
    """Modules of source text, each call of which is a new process as far as it can tell."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.source = ""
        self.names = []

    def load(self, source):
        self.source = PRELUDE + textwrap.dedent(source)

    def _module(self, *, sites):
        name = f"resumed_{id(self)}"
        path = str(self.folder / "loops.py")
        linecache.cache[path] = (
            len(self.source), None, self.source.splitlines(keepends=True), path,
        )  # fmt: skip
        module = types.ModuleType(name)
        module.__file__ = path
        sys.modules[name] = module
        self.names.append(name)
        if sites:
            vars(module)[GATE] = gate
            code = rewrite(self.source, path, name)
        else:
            code = compile(self.source, path, "exec", dont_inherit=True)
        return module, code

    def call(self, keeper=None, noise=0, plugins=()):
        """Run it: bare, or with a keeper. ``noise``: what the random streams are at its start."""
        module, code = self._module(sites=keeper is not None)
        torch.manual_seed(noise)
        random.seed(noise)
        try:
            if keeper is None:
                exec(code, vars(module))
                result = module.train()
            else:
                with isolated_run(keeper, *plugins, strict=True):
                    exec(code, vars(module))
                    result = module.train()
        except Killed:
            result = None
        return Ended(result, (torch.rand(1).item(), random.random()), keeper, module)

    def close(self):
        for name in self.names:
            sys.modules.pop(name, None)
        for key in [key for key in table.FILES if key[0] == str(self.folder / "loops.py")]:
            del table.FILES[key]


def numbers(value):
    if isinstance(value, (list, tuple)):
        return [n for item in value for n in numbers(item)]
    if isinstance(value, dict):
        return numbers(list(value.values()))
    return [value] if isinstance(value, float) else []


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def keeper():
    """The plugin that saves at chosen heads, or starts from what was saved."""
    return Keeper


@pytest.fixture
def check(bench):
    """Each head of a loop is left and taken up again; the results are those of the bare loop."""

    def run(source, *, kinds=("epoch", "mid-epoch"), at="all", every=1, skip=()):
        bench.load(source)
        bare = bench.call()
        found = numbers(bare.result)
        assert len(set(found)) > 5
        assert all(map(math.isfinite, found))
        whole = bench.call(Keeper(at))
        assert (whole.result, whole.rng) == (bare.result, bare.rng)
        saved = whole.keeper.saved
        assert saved
        for number, snapshot in list(saved.items())[::every]:
            if snapshot.header.kind in skip:
                continue
            assert snapshot.header.kind in kinds, (number, snapshot.notes)
            again = bench.call(Keeper(start=copy.deepcopy(snapshot)))
            assert again.result == bare.result, (number, snapshot.position)
            assert again.rng == bare.rng, number
        return whole, saved

    return run


@pytest.fixture
def check_twice(bench):
    """A run is left, taken up, left again and taken up again: the results are the bare loop's."""

    def run(source, first, *, skip=()):
        """``first``: the kind of the checkpoint that the first resume begins at."""
        bench.load(source)
        bare = bench.call()
        saved = bench.call(Keeper("all")).keeper.saved
        starts = saved if first == "mid-epoch" else bench.call(Keeper("epochs")).keeper.saved
        start = next((s for s in list(starts.values())[1:] if s.header.kind == first), None)
        if start is None:
            pytest.skip(f"this loop has no {first} to begin at")
        once = bench.call(Keeper("all", start=copy.deepcopy(start)))
        assert (once.result, once.rng) == (bare.result, bare.rng)
        found = once.keeper.saved
        assert set(found) <= set(saved)
        for number, snapshot in found.items():
            if snapshot.header.kind in skip:
                continue
            assert snapshot.header.kind == saved[number].header.kind, snapshot.notes
            again = bench.call(Keeper(start=copy.deepcopy(snapshot)))
            assert again.result == bare.result, (number, snapshot.position)
            assert again.rng == bare.rng, number
        return found

    return run
