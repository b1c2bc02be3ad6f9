"""Training in code whose loops cannot be seen: it runs as bare, observed, and why is said once."""

from __future__ import annotations

import functools
import importlib
import sys
import textwrap
import zipfile

import pytest

import hookcore
from hookcore import HookcoreWarning, hookimpl

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

LOOP = """
import torch
from torch import nn

def train(epochs):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(epochs):
        for x in torch.randn(2, 8, 4):
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
    return loss.item()
"""

# What each script does before it calls a train(), and what is said of that.
SCRIPTS = {
    "a module in a zip archive": (
        """
        import zipfile
        with zipfile.ZipFile("loops.zip", "w") as archive:
            archive.write("loop.py", "zipped.py")
        sys.path.insert(0, "loops.zip")
        from zipped import train
        """,
        "its source is inside a zip archive",
    ),
    "a module without its source": (
        """
        import py_compile
        py_compile.compile("loop.py", "compiled.pyc")
        from compiled import train
        """,
        "compiled.pyc, which is without its source",
    ),
    "a module whose source was edited behind its compiled copy": (
        """
        import pathlib, py_compile
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile("loop.py", invalidation_mode=unchecked)
        text = pathlib.Path("loop.py").read_text()
        pathlib.Path("loop.py").write_text(text.replace("lr=0.1", "lr=0.2"))
        from loop import train
        """,
        "is not what the file says",
    ),
    "a package that is installed": (
        """
        os.renames("loop.py", "lib/site-packages/shipped.py")
        sys.path.insert(0, "lib/site-packages")
        from shipped import train
        """,
        "its file belongs to an installed package",
    ),
    "a function made by exec": (
        """
        space = {}
        exec(open("loop.py").read(), space)
        train = space["train"]
        """,
        "it was made by exec or eval, as <string>: there is no source",
    ),
    "a function made by exec in the name of a file": (
        """
        space = {}
        exec(compile(open("loop.py").read(), os.path.abspath("loop.py"), "exec"), space)
        train = space["train"]
        """,
        "it was made by exec or eval, though it is called",
    ),
}

ONCE = "print(train(3))"
IN_A_LOOP = "for seed in range(2): loss = train(3)\nprint(loss)"


class Steps:
    """Counts what is observed."""

    name = "steps"

    def __init__(self):
        self.began = self.stepped = self.epochs = self.batches = 0
        self.fits = []

    @hookimpl
    def on_train_start(self, fit):
        self.fits.append(fit)

    @hookimpl
    def on_optimizer_step_start(self):
        self.began += 1

    @hookimpl
    def on_optimizer_step_end(self):
        self.stepped += 1

    @hookimpl
    def on_epoch_start(self):
        self.epochs += 1

    @hookimpl
    def on_batch_start(self):
        self.batches += 1


@pytest.fixture(scope="module")
def bare():
    """What the loop returns."""
    space = {}
    exec(LOOP, space)
    return space["train"](3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a function made by exec", IN_A_LOOP),
        ("a package that is installed", IN_A_LOOP),
        *((name, ONCE) for name in SCRIPTS),
    ],
)
def test_a_script(tmp_path, child, bare, name, ending):
    """The same output. A loop that only calls such code gets no role, be it the only one seen."""
    text, why = SCRIPTS[name]
    (tmp_path / "script.py").write_text("import os, sys\n" + textwrap.dedent(text) + ending)
    (tmp_path / "loop.py").write_text(LOOP)
    done = child("-m", "hookcore", "run", "-p", "no:*", "script.py")
    assert (done.stdout, done.returncode) == (f"{bare}\n", 0), done.stderr
    assert done.stderr.count("the steps alone were observed") == 1
    assert done.stderr.count(why) == 1
    assert f"({6 if ending == ONCE else 12} steps)" in done.stderr


@pytest.mark.slow
def test_a_package_that_steps_for_the_users_loop(tmp_path, child):
    """It goes over its optimizers and trains nothing by itself: the loop round it is the user's."""
    package = """
        def update(loss, optimizers):
            for optimizer in optimizers:
                optimizer.zero_grad()
            propagate(loss)
            for optimizer in optimizers:
                optimizer.step()

        def propagate(loss):
            loss.backward()
    """
    script = """
        import sys
        sys.path.insert(0, "lib/site-packages")
        import shipped, torch
        from torch import nn
        model = nn.Linear(4, 1)
        optimizers = [torch.optim.SGD([p], lr=0.1) for p in model.parameters()]
        for epoch in range(3):
            for x in torch.randn(4, 8, 4):
                shipped.update(model(x).pow(2).mean(), optimizers)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    (tmp_path / "lib/site-packages").mkdir(parents=True)
    (tmp_path / "lib/site-packages/shipped.py").write_text(textwrap.dedent(package))
    done = child("-m", "hookcore", "run", "-p", "no:*", "script.py")
    assert "(3 epochs, 24 steps)" in done.stderr


@pytest.mark.slow
def test_one_step_of_a_package_is_no_training(tmp_path, child):
    """Before the loop it opens no fit: that of the loop is the first."""
    package = """
        def step(optimizer, loss):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    """
    script = """
        import sys
        sys.path.insert(0, "lib/site-packages")
        import torch
        from torch import nn
        from shipped import step
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step(optimizer, model(torch.randn(8, 4)).pow(2).mean())
        for epoch in range(3):
            for x in torch.randn(4, 8, 4):
                step(optimizer, model(x).pow(2).mean())
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    (tmp_path / "lib/site-packages").mkdir(parents=True)
    (tmp_path / "lib/site-packages/shipped.py").write_text(textwrap.dedent(package))
    done = child("-m", "hookcore", "run", "-p", "no:*", "script.py")
    assert "(3 epochs, 12 steps)" in done.stderr
    assert "observed" not in done.stderr


def test_a_function_in_c(tmp_path):
    """It has no frame: every step in it is an event, whoever takes it."""
    steps = Steps()
    with pytest.warns(HookcoreWarning, match="is observed only"):
        fold = hookcore.instrument(functools.reduce, plugins=[steps], only=[], quiet=True)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(total, x):
        model(x).pow(2).mean().backward()
        optimizer.step()
        return total + 1

    assert fold(step, torch.randn(5, 8, 4), 0) == 5
    assert (steps.began, steps.stepped, len(steps.fits)) == (5, 5, 1)


@pytest.mark.slow
def test_a_loop_in_c(tmp_path, child):
    """No frame tells of it: that is the reason."""
    script = """
        import torch
        from torch import nn
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        print(len(list(map(step, torch.randn(4, 8, 4)))))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = child("-m", "hookcore", "run", "-q", "-p", "no:*", "script.py")
    assert (done.stdout, done.returncode) == ("4\n", 0), done.stderr
    assert done.stderr.count("was not followed") == 1
    assert "one in C, such as map()'s, is not seen" in done.stderr


GIVEN = """
def train(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        (model(x) - y[:, None]).pow(2).mean().backward()
        optimizer.step()
"""


def made_by_exec(folder, text=LOOP):
    space = {"__name__": "made"}
    exec(text, space)
    return space["train"]


def zipped(folder):
    with zipfile.ZipFile(folder / "loops.zip", "w") as archive:
        archive.writestr("zipped_loop.py", LOOP)
    sys.path.insert(0, str(folder / "loops.zip"))
    try:
        return importlib.import_module("zipped_loop").train
    finally:
        sys.path.remove(str(folder / "loops.zip"))
        sys.modules.pop("zipped_loop", None)


def edited(folder):
    path = folder / "edited_loop.py"
    path.write_text(LOOP)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("edited_loop").train
    finally:
        path.write_text(LOOP.replace("lr=0.1", "lr=0.2"))
        sys.path.remove(str(folder))
        sys.modules.pop("edited_loop", None)


@pytest.mark.parametrize(
    ("make", "why"),
    [(made_by_exec, "exec or eval"), (zipped, "zip archive"), (edited, "edited since")],
)
def test_instrument_observes(tmp_path, bare, make, why):
    """A warning says why; then every step is an event, and no epoch or batch is."""
    steps = Steps()
    with pytest.warns(HookcoreWarning, match=why) as warned:
        train = hookcore.instrument(make(tmp_path), plugins=[steps], only=[], quiet=True)
    assert "is observed only" in str(warned[0].message)
    assert train(3) == bare
    assert train(3) == bare
    assert (steps.began, steps.stepped, steps.epochs, steps.batches) == (12, 12, 0, 0)
    fits = [(fit.observed, fit.step, len(fit.optimizers)) for fit in steps.fits]
    assert fits == [(True, 6, 1)] * 2


def test_an_init_keeps_its_code(tmp_path, capsys):
    """``instrument`` cannot replace it; the reason is that, and the place is in it."""
    imports, _, body = LOOP.replace("return", "self.loss =").partition("def train(epochs):")
    body = textwrap.indent(body, "    ")
    text = f"{imports}class Fit:\n    def __init__(self, epochs):{body}"
    (tmp_path / "fitted.py").write_text(f"{text}\ndef train():\n    Fit(2)\n")
    sys.path.insert(0, str(tmp_path))
    try:
        train = hookcore.instrument(importlib.import_module("fitted").train, only=[], quiet=True)
        train()
    finally:
        train.restore()
        sys.path.remove(str(tmp_path))
        sys.modules.pop("fitted")
    said = capsys.readouterr().err
    assert f"of a training at {tmp_path / 'fitted.py'}:15 the steps alone were observed" in said
    assert "it stands in an __init__, whose code instrument() cannot replace" in said


def test_what_is_round_the_call_is_none_of_its_run(tmp_path, capsys):
    """This loop calls an instrumented function that steps once, and is no reason of anything."""
    (tmp_path / "once.py").write_text("def once(optimizer):\n    optimizer.step()\n")
    sys.path.insert(0, str(tmp_path))
    try:
        once = hookcore.instrument(importlib.import_module("once").once, only=[], quiet=True)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        for _ in range(2):
            once(optimizer)
    finally:
        once.restore()
        sys.path.remove(str(tmp_path))
        sys.modules.pop("once")
    said = capsys.readouterr().err
    assert said.count("was not followed\n    no loop of a rewritten file is around it") == 2


def test_what_nothing_can_end_is_said(tmp_path, bare, capsys):
    """A stop has no effect; that is no secret."""

    class Stopper:
        name, role = "stopper", "control"

        @hookimpl
        def on_optimizer_step_end(self, fit):
            fit.stop("enough")

    with pytest.warns(HookcoreWarning):
        train = hookcore.instrument(made_by_exec(tmp_path), plugins=[Stopper()], only=[])
    assert train(3) == bare
    said = capsys.readouterr().err
    assert said.count("stopper asked for a stop (enough), and nothing ended") == 1
    assert "was stopped" not in said


def test_a_loop_that_is_seen_beside_it(lab, words, tmp_path):
    """Its fit is its own, with epochs and batches, before the other one or after it."""
    steps = Steps()
    module = lab.module(
        """
        def train(before, after):
            before(2)
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
            after(2)
        """
    )
    made = made_by_exec(tmp_path)
    heard = lab.play(module.train, made, made, plugins=[steps])
    seen = "T( E( b s . b s . )E E( b s . b s . )E )T"
    assert heard.story == f"T( s s s s )T {seen} T( s s s s )T R"
    assert [fit.observed for fit in steps.fits] == [True, False, True]


def test_one_optimizer_in_both(lab, tmp_path):
    """Its steps belong to the loop that is seen from the moment that this one trains."""
    module = lab.module(
        """
        def train(before):
            model = make(); optimizer = sgd(model)
            before(model, optimizer, loader())
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
        """
    )
    heard = lab.play(module.train, made_by_exec(tmp_path, GIVEN))
    assert heard.story == "T( s s )T T( E( b s . b s . )E E( b s . b s . )E )T R"
