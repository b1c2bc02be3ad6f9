"""``hookcore run``: a script runs as Python runs it, inside a run."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.torch]

# A plugin of the user's folder: named with -p, it tells on stderr what it was told.
PLUGIN = """
[project]
name = "loops"
version = "0"

[tool.hookcore]
only = []
"""

# Loops with sites, and no torch: importing it takes longer than everything else.
LOOP = """
import sys

def step(number):
    return number * 2

def train(epochs):
    total = 0
    for epoch in range(epochs):
        for batch in range(2):
            total += step(batch)
        print("epoch", epoch, total)
    while total > 0:
        total -= step(1)
    return [step(number) for number in range(3)]
"""

TORCH = """
import sys
import torch
from torch import nn

def train(epochs):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(epochs):
        for batch in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        print("epoch", epoch, f"{model.weight.sum().item():.6f}")
    return model
"""


@pytest.fixture
def folder(tmp_path):
    """A project with its scripts; no plugin is loaded in it."""
    (tmp_path / "pyproject.toml").write_text(PLUGIN)
    (tmp_path / "loops.py").write_text(LOOP)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/', 1) if '__' in name else name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return write


@pytest.fixture
def both(child):
    """The same command line, bare and under hookcore."""

    def start(*arguments, options=("-q",), **variables):
        bare = child(*arguments, **variables)
        ours = child("-m", "hookcore", "run", *options, *arguments, **variables)
        return bare, ours

    return start


def told(process):
    """Output and status; where a traceback was printed, it is part of it."""
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(3)",
        "sys.exit('a message')",
        "sys.exit()",
        "raise ValueError('no')",
        "import loops; loops.train('x')",
        "raise KeyboardInterrupt",
        "import nothing_of_this_name",
        "def f(): f()\nf()"
        if sys.version_info < (3, 11)
        else "raise ExceptionGroup('g', [ValueError(1)])",
    ],
)
def test_as_python_runs_it(folder, both, end):
    """Same output, same exit code, same traceback to the letter."""
    folder(script=f"import sys\nfrom loops import train\ntrain(1)\n{end}\n")
    bare, ours = both("script.py", "-x", "--resume")
    assert told(ours) == told(bare)


def test_an_exception_in_a_loop(folder, both):
    """Its lines are the user's own, cause and context included."""
    folder(
        script="""
        from loops import train
        try:
            for epoch in range(2):
                model = train(1)
                for name in ["a", "b"]:
                    print(name)
                    if name == "b":
                        raise ValueError(name)
        except ValueError as error:
            raise RuntimeError("outer") from error
        """
    )
    bare, ours = both("script.py")
    assert told(ours) == told(bare)
    assert bare.returncode == 1


MAIN = """
import os
import pickle
import sys
import __main__

class Thing:
    pass

print(__name__, __file__, sys.argv, sys.path[0], __main__.__dict__ is globals())
print(__spec__ and __spec__.name, __package__, type(__loader__).__name__, __doc__)
print(pickle.loads(pickle.dumps(Thing())).__class__ is Thing)
print(sorted(name for name in globals() if name.isidentifier()))
"""


@pytest.mark.parametrize("as_module", [False, True])
def test_main_is_faithful(folder, both, as_module):
    """Names, arguments, paths and pickles of the script are those of bare Python."""
    folder(main=MAIN)
    bare, ours = both(*(("-m", "main") if as_module else ("main.py",)), "a", "--b", "-q")
    assert told(ours) == told(bare)
    assert ours.returncode == 0


def test_a_package_s_module(folder, both):
    """With its relative imports."""
    where = folder(
        pack____init__="",
        pack__main="""
        import sys
        from .inner import train
        print(__name__, __package__, sys.argv[1:])
        train(1)
        """,
        pack__inner=LOOP,
    )
    (where / "pack" / "__init__.py").write_text("")
    bare, ours = both("-m", "pack.main", "--epochs", "3")
    assert told(ours) == told(bare)
    assert ours.returncode == 0


def test_what_is_not_there(folder, child):
    """Exit code 2, as what was typed is wrong; and no traceback of ours."""
    folder()
    for arguments in (("nothing.py",), ("-m", "nothing")):
        done = child("-m", "hookcore", "run", *arguments)
        assert done.returncode == 2
        assert "nothing" in done.stderr
        assert "Traceback" not in done.stderr


LISTENER = """
import sys
import hookcore

class Listener:
    '''Tells what it hears.'''
    name = "listener"
    @hookcore.hookimpl
    def on_epoch_end(self, run, epoch, how):
        print("epoch end", epoch, how, file=sys.stderr)
    @hookcore.hookimpl
    def on_run_end(self, run, how):
        print("run end", how, file=sys.stderr)
"""


def install(folder, name="listener", text=LISTENER, kind="Listener"):
    """A plugin as pip would install it, beside the script."""
    info = folder / f"hookcore_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hookcore-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hookcore]\n{name} = hookcore_{name}:{kind}\n")
    (folder / f"hookcore_{name}.py").write_text(text)


@pytest.mark.slow
def test_plugins_hear_an_unedited_script(folder, child, environ):
    """The script's loop, and one in a module that it imports, at its module level and below."""
    where = folder(
        trains=TORCH,
        script="""
        from trains import train
        import torch
        from torch import nn
        train(1)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(2):
            for batch in range(2):
                model(torch.ones(1, 2)).sum().backward()
                optimizer.step()
        """,
    )
    install(where)
    done = child("-m", "hookcore", "run", "-p", "listener", "script.py", **environ(where))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("hookcore")] == [
        "epoch end 0 finished",
        "epoch end 0 finished",
        "epoch end 1 finished",
        "run end finished",
    ]
    lines = [line for line in done.stderr.splitlines() if line.startswith("hookcore")]
    assert lines == [
        "hookcore: listener  Tells what it hears  (off: -p no:listener)",
        "hookcore: training ended by itself (2 epochs, 4 steps)",
    ]


@pytest.fixture
def environ():
    """The variables under which a folder's own fake packages are found."""
    from pathlib import Path

    root = Path(__file__).parents[2]
    return lambda where: {"PYTHONPATH": f"{root}:{where}"}


def test_kill_switch(folder, child, environ):
    """HOOKCORE=0: the plugin is not even imported."""
    where = folder(script="from loops import train\ntrain(1)\nprint('@hookcore' in globals())\n")
    install(where, text="raise SystemExit('imported')")
    done = child(
        "-m", "hookcore", "run", "-p", "listener", "script.py", HOOKCORE="0", **environ(where)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("False\n")


@pytest.mark.slow
def test_something_lost_makes_the_exit_code_1(folder, child, environ):
    """A plugin that persists and fails does not end the training, and is not overlooked."""
    where = folder(trains=TORCH, script="from trains import train\ntrain(1)\nprint('after')\n")
    text = LISTENER.replace('name = "listener"', 'name, role = "listener", "persist"').replace(
        'print("epoch end", epoch, how, file=sys.stderr)', "1 / 0"
    )
    install(where, text=text)
    done = child("-m", "hookcore", "run", "-p", "listener", "script.py", **environ(where))
    assert done.returncode == 1
    assert done.stdout.endswith("after\n")
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.slow
def test_strict(folder, child, environ):
    """A plugin that fails ends the run, and the exit code says so."""
    where = folder(trains=TORCH, script="from trains import train\ntrain(2)\nprint('after')\n")
    text = LISTENER.replace('print("epoch end", epoch, how, file=sys.stderr)', "1 / 0")
    install(where, text=text)
    done = child(
        "-m", "hookcore", "run", "--strict", "-p", "listener", "script.py", **environ(where)
    )
    assert done.returncode != 0
    assert "after" not in done.stdout
    assert "plugin 'listener'" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.slow
def test_a_spawned_child(folder, both):
    """It imports the script again under its own name, as under bare Python."""
    folder(
        script="""
        import multiprocessing
        import sys
        from loops import train

        def work(n):
            model = train(n)
            return __name__, n

        if __name__ == "__main__":
            train(1)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
                pool.close()
                pool.join()  # the block's end kills the child, whatever it has yet to print
            print("after")
        """
    )
    bare, ours = both("script.py")
    assert told(ours) == told(bare)
    assert ours.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_loader(folder, both, context):
    """They give the same batches, whichever way they are started."""
    folder(
        script=f"""
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, Dataset

        class Data(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, i):
                total = 0
                for j in range(i):
                    total += j
                return torch.ones(2) * total + torch.rand(2)

        def main():
            torch.manual_seed(0)
            model = nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
            loader = DataLoader(Data(), 4, shuffle=True, num_workers=1,
                                multiprocessing_context={context!r})
            for epoch in range(2):
                for x in loader:
                    optimizer.zero_grad()
                    model(x).sum().backward()
                    optimizer.step()
                print(epoch, model.weight.tolist())

        if __name__ == "__main__":
            main()
        """
    )
    bare, ours = both("script.py")
    assert told(ours) == told(bare)
    assert ours.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_by_a_signal(folder, both):
    """The exit status is the signal's."""
    folder(
        script="""
        import os, signal
        from loops import train
        train(1)
        os.kill(os.getpid(), signal.SIGTERM)
        """
    )
    bare, ours = both("script.py")
    assert told(ours) == told(bare)
    assert ours.returncode == -signal.SIGTERM


def test_exit_handlers_and_threads(folder, both):
    """What runs after the script's last line still finds its module."""
    folder(
        script="""
        import atexit
        import threading

        word = "still here"
        gate = threading.Event()

        @atexit.register
        def bye():
            print(word, __name__)

        def work():
            gate.wait()
            print(word)

        threading.Thread(target=work).start()
        gate.set()
        """
    )
    bare, ours = both("script.py")
    assert sorted(ours.stdout.splitlines()) == sorted(bare.stdout.splitlines())
    assert (ours.returncode, ours.stderr) == (0, "")


@pytest.mark.slow
def test_the_command_and_the_module_are_the_same(folder, child):
    """`python -m hookcore` is `hookcore`."""
    folder(script="import sys; print(sys.argv)")
    command = "import sys; from hookcore.cli import main; sys.exit(main())"
    first = child("-c", command, "run", "-q", "script.py", "a")
    second = child("-m", "hookcore", "run", "-q", "script.py", "a")
    assert told(first) == told(second) == (0, "['script.py', 'a']\n", "")
