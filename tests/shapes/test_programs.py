"""Whole programs: loops at module level, helpers in other modules, ``python -m``."""

from __future__ import annotations

import importlib
import runpy
import sys
import textwrap
import types

import pytest

from hookcore.plain.loading.install import run_module, run_script

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

# What every program has beside it; its only argument is how often its outermost loop goes round.
TOOLS = {
    "tools/__init__.py": "",
    "tools/data.py": """
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        generator = torch.Generator().manual_seed(3)
        X = torch.randn(16, 4, generator=generator)
        Y = torch.randint(0, 3, (16,), generator=generator)

        def loader():
            return DataLoader(TensorDataset(X, Y), 8, shuffle=True)
    """,
    "tools/engine.py": """
        import torch
        from torch.nn import functional as F

        def train_one_epoch(model, optimizer, data):
            model.train()
            for x, y in data:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
            return loss.item()

        @torch.no_grad()
        def evaluate(model, data):
            model.eval()
            losses = []
            for x, y in data:
                losses.append(F.cross_entropy(model(x), y).item())
            return sum(losses)

        def weights(model):
            return [p.tolist() for p in model.state_dict().values()]
    """,
    "tools/base.py": """
        from .engine import train_one_epoch

        class Base:
            def __init__(self, model, optimizer, data):
                self.model, self.optimizer, self.data = model, optimizer, data
                self.history = []

            def fit(self, n):
                for self.epoch in range(n):
                    self.history.append(self.step())
                return self

            def step(self):
                return train_one_epoch(self.model, self.optimizer, self.data)
    """,
}

MADE = """
import sys
import torch
from torch import nn
from torch.nn import functional as F

n = int(sys.argv[1])
model = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.2), nn.Linear(5, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
"""

TRAINED = "E( 2*[b s .] V( 2*[v] )V )E"

PROGRAMS = {
    "loops at module level": {
        "main": "train.py",
        "source": """
            from tools.data import loader
            from tools.engine import weights

            for epoch in range(n):
                for x, y in loader():
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
            result = loss.item(), weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] )E] )T R",
    },
    "loops at module level, with helpers of another module": {
        "main": "train.py",
        "source": """
            from tools.data import loader
            from tools.engine import evaluate, train_one_epoch, weights

            history = []
            for epoch in range(n):
                train_one_epoch(model, optimizer, loader())
                history.append(evaluate(model, loader()))
            result = history, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "under if __name__": {
        "main": "train.py",
        "source": """
            from tools.data import loader
            from tools import engine

            def main(n):
                history = []
                for epoch in range(n):
                    engine.train_one_epoch(model, optimizer, loader())
                    history.append(engine.evaluate(model, loader()))
                return history, engine.weights(model)

            if __name__ == "__main__":
                result = main(n)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a loop right under if __name__": {
        "main": "train.py",
        "source": """
            from tools.data import X, Y
            from tools.engine import weights

            if __name__ == "__main__":
                losses = []
                for epoch in range(n):
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(X), Y)
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                result = losses, weights(model)
        """,
        "story": "T( 3*[E( b s . )E] )T R",
    },
    "a trainer whose base class is in another module": {
        "main": "train.py",
        "source": """
            from tools.base import Base
            from tools.data import loader
            from tools.engine import evaluate, weights

            class Trainer(Base):
                def step(self):
                    loss = super().step()
                    return loss, evaluate(self.model, self.data)

            if __name__ == "__main__":
                trainer = Trainer(model, optimizer, loader()).fit(n)
                result = trainer.history, trainer.epoch, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "python -m of a module in a package": {
        "main": "tools.train",
        "source": """
            from .data import loader
            from .engine import evaluate, train_one_epoch, weights

            def main():
                history = []
                for epoch in range(n):
                    train_one_epoch(model, optimizer, loader())
                    history.append(evaluate(model, loader()))
                return history, weights(model)

            result = main()
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "python -m of a package": {
        "main": "tools.__main__",
        "source": """
            from . import data, engine

            for epoch in range(n):
                engine.train_one_epoch(model, optimizer, data.loader())
            result = engine.weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] )E] )T R",
    },
}


class Programs:
    """Programs of one folder as shapes: bare as Python runs them, and as ``hookcore run`` does."""

    def __init__(self, lab, folder, main):
        self.bare, self.play = lab.bare, lab.play
        self._folder, self._main = folder, main

    def pair(self, source):
        """The program, bare and with sites."""
        path = self._main if self._main.endswith(".py") else f"{self._main.replace('.', '/')}.py"
        files = {**TOOLS, path: MADE + textwrap.dedent(source)}
        for name, text in files.items():
            (self._folder / name).parent.mkdir(exist_ok=True)
            (self._folder / name).write_text(textwrap.dedent(text))
        bare, ours = (lambda n, way=way: self._run(way, n) for way in (self._bare, self._ours))
        return types.SimpleNamespace(train=bare), types.SimpleNamespace(train=ours)

    def _run(self, way, n):
        kept = list(sys.path), list(sys.argv), sys.modules["__main__"]
        sys.path.insert(0, str(self._folder))
        sys.argv = [self._main, str(n)]
        importlib.invalidate_caches()
        try:
            return way(n)
        finally:
            sys.path[:], sys.argv, sys.modules["__main__"] = kept
            for name in [name for name in sys.modules if name.partition(".")[0] == "tools"]:
                del sys.modules[name]

    def _bare(self, n):
        if self._main.endswith(".py"):
            return runpy.run_path(self._main, run_name="__main__")["result"]
        return runpy.run_module(self._main, run_name="__main__")["result"]

    def _ours(self, n):
        if self._main.endswith(".py"):
            run_script(self._main, [str(n)])
        else:
            run_module(self._main.removesuffix(".__main__"), [str(n)])
        return vars(sys.modules["__main__"])["result"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(lab, inquiry, tmp_path, monkeypatch, name):
    """Watched, stopped and resumed as a function is."""
    shape = dict(PROGRAMS[name])
    monkeypatch.chdir(tmp_path)
    inquiry(Programs(lab, tmp_path, shape.pop("main")))(**shape)


# -- other processes, and notebooks ------------------------------------------------------------

SPAWNING = """
import multiprocessing
import train

def work(n):
    print("loss", train.train(n), flush=True)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work, args=(2,))
    child.start()
    child.join()
    print("after", child.exitcode)
"""

TRAIN = """
import torch
from torch import nn

def train(n):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(n):
        for x in torch.randn(2, 8, 4):
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
    return loss.item()
"""


@pytest.mark.slow
def test_training_in_a_spawned_child(tmp_path, child):
    """It trains as bare. The run says that it is another process's, and what to do."""
    (tmp_path / "script.py").write_text(SPAWNING)
    (tmp_path / "train.py").write_text(TRAIN)
    bare, ours = child("script.py"), child("-m", "hookcore", "run", "-p", "no:*", "script.py")
    assert (ours.stdout, ours.returncode) == (bare.stdout, 0), ours.stderr
    assert bare.stdout.endswith("after 0\n")
    assert ours.stderr.count("what trains in another process is not followed") == 1
    assert "no training loop was recognised" in ours.stderr


CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in (FIRST, SECOND, SECOND, FIRST, SECOND, THIRD):
    assert shell.run_cell(cell).success
"""

SECOND = """
heard = Recorder()
watched = hookcore.instrument(train, plugins=[heard], only=[], quiet=True)
loss = watched(2)
watched.restore()
counts = [heard.count(f"on_{name}") for name in ("train_start", "epoch_end", "batch_end")]
print(counts, heard.count("on_optimizer_step_end"), loss == train(2))
"""


# A training that stands in a cell, and in no function.
THIRD = """
heard = Recorder()
with hookcore.run(plugins=[heard], only=[], quiet=True):
    for epoch in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
print(*(heard.count(f"on_{name}") for name in ("train_start", "optimizer_step_end", "epoch_end")))
"""


@pytest.mark.slow
def test_a_cell_of_a_notebook(tmp_path, child):
    """Run, run twice, and run again when the cell of the function has been run again."""
    pytest.importorskip("IPython")
    first = f"import hookcore\nfrom hookcore.testing import Recorder\n{TRAIN}"
    third = f"model = nn.Linear(4, 1)\noptimizer = torch.optim.SGD(model.parameters())\n{THIRD}"
    cells = f"FIRST = {first!r}\nSECOND = {SECOND!r}\nTHIRD = {third!r}\n{CELLS}"
    (tmp_path / "notebook.py").write_text(cells)
    done = child("notebook.py", IPYTHONDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.splitlines() == [*["[1, 2, 4] 4 True"] * 3, "1 2 0"]
    assert done.stderr.count("it stands in a notebook's cell, outside of any function") == 1
