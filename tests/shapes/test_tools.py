"""Tools that have their own hands in the user's code: coverage, debuggers, import hooks."""

from __future__ import annotations

import json
import re
import textwrap

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

TRAIN = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def step(x):
    optimizer.zero_grad()
    loss = model(x).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(epochs):
    history = []
    for epoch in range(epochs):
        total = 0.0
        for x in torch.randn(2, 8, 4):
            total += step(x)
            if total < 0:
                print("never")
        history.append(total)
    else:
        history.append("done")
    return history


def search(history):
    for x in torch.randn(2, 8, 4):
        step(x)
        if x is not None:
            break
    if history:
        history.append("found")


history = train(3)
search(history)
print(history)
"""

OURS = ("-m", "hookcore", "run", "-q", "-p", "no:*")


@pytest.fixture
def script(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN.lstrip())
    return tmp_path


@pytest.fixture
def run(script, child):
    """Start Python in the script's folder; gives what it printed."""

    def start(*words, typed=""):
        done = child(*words, typed=typed)
        assert done.returncode in (0, 1), done.stderr  # a debugger that is told to quit gives 1
        return done

    return start


def test_coverage(script, run):
    """The lines and branches that it counts are those of the bare script."""
    pytest.importorskip("coverage")

    def covered(*words):
        only = ("--branch", "--include=train.py")
        run("-m", "coverage", "run", "--data-file=data", *only, *words)
        run("-m", "coverage", "json", "--data-file=data", "-o", "found.json")
        found = json.loads((script / "found.json").read_text())["files"]["train.py"]
        return {name: found[name] for name in ("executed_lines", "missing_lines", "summary")}

    bare = covered("train.py")
    assert covered(*OURS, "train.py") == bare
    assert bare["missing_lines"] == [24]


def stops(text):
    """Where pdb stood in the script, and what was printed there."""
    return re.findall(r"> \S*train\.py\((\d+)\)(\w+)\(\)|^(?:\(Pdb\) )*(=.*)$", text, re.MULTILINE)


COMMANDS = """
break train.py:22
continue
print("=", epoch, total, history)
continue
print("=", epoch, x.shape, len(history))
next
print("=", total > 0)
break train.py:25
continue
print("=", epoch, total > 0)
clear 1
clear 2
continue
quit
"""


def test_pdb(run):
    """Breakpoints in a rewritten loop stand at the user's lines, with the user's variables."""
    bare = run("-m", "pdb", "train.py", typed=COMMANDS)
    ours = run("-m", "pdb", *OURS, "train.py", typed=COMMANDS)
    assert stops(ours.stdout)[-9:] == stops(bare.stdout)[-9:], ours.stdout
    assert ("", "", "= 0 0.0 []") in stops(ours.stdout)
    assert ours.stdout.count("'done'") == bare.stdout.count("'done'") == 1


def test_breakpoint(script, run):
    """A session at a ``breakpoint()`` in the loop: the same lines, places and values."""
    path = script / "train.py"
    stopped = f"breakpoint()\n{12 * ' '}total += step"
    path.write_text(path.read_text().replace("total += step", stopped))
    typed = """
    print("=", epoch, history)
    next
    print("=", x.shape)
    up
    print("=", "step" in globals())
    continue
    """
    typed = textwrap.dedent(typed) * 6
    bare, ours = run("train.py", typed=typed), run(*OURS, "train.py", typed=typed)
    assert stops(ours.stdout) == stops(bare.stdout)
    assert ("", "", "= 2 [") in [(a, b, c[:5]) for a, b, c in stops(bare.stdout)]
    assert ours.stdout.splitlines()[-1] == bare.stdout.splitlines()[-1]


def test_post_mortem(script, run):
    """``pdb`` round a script that raises stands where it raised, with its variables."""
    path = script / "train.py"
    path.write_text(path.read_text().replace('print("never")', "raise ValueError(epoch)"))
    path.write_text(path.read_text().replace("total < 0", "epoch == 1"))
    (script / "drive.py").write_text(
        "import pdb\ntry:\n    import train\nexcept ValueError:\n    pdb.post_mortem()\n"
    )
    typed = 'print("=", epoch, len(history))\nup\nprint("=", "step" in globals())\nquit\n'
    bare, ours = run("drive.py", typed=typed), run(*OURS, "drive.py", typed=typed)
    assert stops(ours.stdout) == stops(bare.stdout)
    assert stops(bare.stdout)[:2] == [("24", "train", ""), ("", "", "= 1 1")]


def test_tracing(script, run):
    """A ``sys.settrace`` of the project's own sees the lines that it would see."""
    tracer = """
    import sys
    lines = []
    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith("train.py"):
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return trace
    sys.settrace(trace)
    import train
    sys.settrace(None)
    print(sorted(set(lines)))
    """
    (script / "drive.py").write_text(textwrap.dedent(tracer))
    assert run(*OURS, "drive.py").stdout == run("drive.py").stdout


HOOK = """
import importlib.abc, importlib.machinery, sys

class Loader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data, path, *, _optimization=-1):
        return compile(data.replace(b"range(epochs)", b"range(epochs + 1)"), path, "exec")

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "train":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        spec.loader = Loader(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder())
sys.dont_write_bytecode = True
import train
print(type(train.__loader__).__name__, [type(one).__name__ for one in sys.meta_path][:1])
"""


def test_an_import_hook(script, run):
    """A project's own loader loads its module; what it has changed is not ours to change again."""
    (script / "drive.py").write_text(HOOK)
    bare, ours = run("drive.py"), run(*OURS, "drive.py")
    assert bare.stdout.count("done") == 1
    assert ours.stdout == bare.stdout
    assert ours.stderr.count("the steps alone were observed") == 1
    assert "it was loaded by Loader, which may have changed it" in ours.stderr
