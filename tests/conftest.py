"""What the core's tests share: loops from source, bare and with sites; a desk for scripts."""

from __future__ import annotations

import gc
import itertools
import json
import linecache
import os
import random
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import attrs
import pytest

import hookcore
from hookcore.plain import gate
from hookcore.plain.rewriting.rewrite import rewrite
from hookcore.plain.rewriting.snippets import GATE
from hookcore.testing import Recorder, isolated_run

ROOT = Path(__file__).parents[1]

# The events of a run as words: what begins is upper case, `how` is said where it is not "finished".
WORDS = {
    "on_train_start": "T(",
    "on_train_end": ")T",
    "on_epoch_start": "E(",
    "on_epoch_end": ")E",
    "on_batch_start": "b",
    "on_batch_end": ".",
    "on_optimizer_step_end": "s",
    "on_validation_start": "V(",
    "on_validation_end": ")V",
    "on_validation_batch_start": "v",
    "on_stop": "STOP",
    "on_exception": "X",
    "on_run_end": "R",
}

PRELUDE = """
import random
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

generator = torch.Generator().manual_seed(3)
X = torch.randn(16, 4, generator=generator)
Y = torch.randint(0, 3, (16,), generator=generator)

def make():
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.2), nn.Linear(5, 3))

def sgd(model, lr=0.1):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

def loader(size=8):
    return DataLoader(TensorDataset(X, Y), size, shuffle=True)

def update(model, optimizer, x=X, y=Y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()

def weights(*models):
    return [p.tolist() for model in models for p in model.state_dict().values()]
"""


@attrs.frozen(eq=False)
class Outcome:
    """What one call did.

    Attributes:
        result: What it returned, or type and text of what it raised.
        rng: One number of each generator, drawn after it.
        recorder: The events; empty where it ran bare.
        run: The run, None where it ran bare.
    """

    result: object
    rng: tuple[object, ...]
    recorder: Recorder
    run: object = None

    @property
    def same(self):
        """What must not depend on hookcore."""
        return self.result, self.rng

    @property
    def story(self):
        """The events as words."""
        return story(self.recorder)


def story(recorder, *only):
    """A recorder's events as words, all of them or only some."""
    words = []
    for name, arguments in recorder.calls:
        word = WORDS.get(name)
        if word is not None and (not only or word in only):
            how = arguments.get("how", "finished")
            words.append(word if how == "finished" else f"{word}<{how}>")
    return " ".join(words)


def seed(number=1):
    """Every generator at the same place."""
    random.seed(number)
    for name in ("numpy", "torch"):
        module = sys.modules.get(name)
        if name == "numpy" and module is not None:
            module.random.seed(number)
        elif module is not None:
            module.manual_seed(number)


def draw():
    """One number of each generator."""
    numbers = [random.random()]
    if "numpy" in sys.modules:
        numbers.append(float(sys.modules["numpy"].random.random()))
    if "torch" in sys.modules:
        numbers.append(float(sys.modules["torch"].rand(1)))
    return tuple(numbers)


class Lab:
    """Makes modules of source text and runs their functions, bare and inside a run."""

    prelude = PRELUDE

    def __init__(self):
        self._numbers = itertools.count(1)
        self._modules = []

    def module(self, source, *, sites=True, prelude=PRELUDE):
        """One module of the text, with sites or as Python compiles it."""
        name = f"loops_{next(self._numbers)}"
        path = f"/nowhere/{name}.py"
        text = prelude + textwrap.dedent(source)
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        module = types.ModuleType(name)
        module.__file__ = path
        sys.modules[name] = module
        self._modules.append(name)
        if sites:
            vars(module)[GATE] = gate
            code = rewrite(text, path, name)
        else:
            code = compile(text, path, "exec", dont_inherit=True)
        exec(code, vars(module))
        return module

    def pair(self, source, prelude=PRELUDE):
        """The bare module, and the one with sites."""
        return (
            self.module(source, sites=False, prelude=prelude),
            self.module(source, prelude=prelude),
        )

    @staticmethod
    def seed(number=1):
        """Every generator at the same place."""
        seed(number)

    def bare(self, function, *args):
        """Call it without a run."""
        seed()
        return Outcome(_outcome(function, args), draw(), Recorder())

    def play(self, function, *args, plugins=(), strict=True, quiet=False, settings=None):
        """Call it inside a run with these plugins and, unless quiet, a recorder.

        With settings of hookcore's own, such as ``{"cost": True}``, it is opened as a user would.
        """
        recorder = Recorder()
        heard = (*plugins,) if quiet else (*plugins, recorder)
        kept = []

        def inside():
            opened = isolated_run(*heard, strict=strict)
            if settings is not None:
                opened = hookcore.run(
                    plugins=heard, only=[], strict=strict, quiet=True, **settings
                )
            with opened as run:
                kept.append(run)
                return function(*args)

        seed()
        result = _outcome(inside, ())
        return Outcome(result, draw(), recorder, kept[0] if kept else None)

    def compare(self, source, *args, name="train", plugins=()):
        """Both outcomes of one function of a module; without a plugin that acts they are equal."""
        bare, ours = self.pair(source)
        first = self.bare(getattr(bare, name), *args)
        alone = self.play(getattr(ours, name), *args, quiet=True)
        heard = self.play(getattr(ours, name), *args, plugins=plugins)
        assert alone.same == first.same
        return first, heard

    def story(self, source, *args, name="train"):
        """The events of a function as words, after a comparison with the bare one."""
        bare, heard = self.compare(source, *args, name=name)
        assert heard.same == bare.same
        return heard.story

    def close(self):
        """Forget the modules."""
        for name in self._modules:
            module = sys.modules.pop(name, None)
            linecache.cache.pop(getattr(module, "__file__", None), None)


def _outcome(function, args):
    try:
        return function(*args)
    except BaseException as error:
        return type(error).__name__, str(error)


@pytest.fixture(scope="session")
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def words():
    """The function that turns a recorder's events into words."""
    return story


@pytest.fixture
def child(tmp_path):
    """Run Python in a folder of its own, with text typed to it; gives the finished process."""

    def start(*arguments, cwd=tmp_path, timeout=100, typed=None, **variables):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=environment(**variables),
            input=typed,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return start


def environment(**variables):
    """A child's environment: this hookcore, one thread, nothing of the user's."""
    kept = {n: os.environ[n] for n in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if n in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        **variables,
    }


@attrs.frozen
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        """The JSON."""
        return json.loads(self.out)

    def section(self, title):
        """The lines below a title, without their indentation."""
        lines = self.out.splitlines()
        rest = lines[lines.index(title) + 1 :]
        end = rest.index("") if "" in rest else len(rest)
        return [line.strip() for line in rest[:end]]

    def loops(self):
        """``{role: where}`` of the JSON."""
        return {loop["role"]: loop["where"] for loop in self.data["loops"]}


class Desk:
    """A folder with scripts, and the commands."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, name, text):
        """Put a script, or another file, into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    def at(self, name, line):
        """File and line of the only line that reads so."""
        lines = [found.strip() for found in (self.folder / name).read_text().splitlines()]
        assert lines.count(line) == 1
        return f"{name}:{lines.index(line) + 1}"

    def command(self, *arguments, folder=None, **variables):
        """Run ``hookcore ...`` in the folder."""
        done = subprocess.run(
            [sys.executable, "-m", "hookcore", *map(str, arguments)],
            cwd=folder or self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def explain(self, *arguments, folder=None, plugins=False):
        """Run ``hookcore explain``; no installed plugin is loaded unless it is wanted."""
        none = [] if plugins else ["-p", "no:*"]
        return self.command("explain", *none, *arguments, folder=folder, COLUMNS="100")

    @property
    def files(self):
        """Everything in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.*"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path.resolve())


@pytest.fixture(scope="module")
def fewer_objects():
    """A fit looks through all objects there are; leave it those that the tests make."""
    import torch

    torch.optim.SGD([torch.zeros(1)])  # the first one imports the compiler and its thousand parts
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
