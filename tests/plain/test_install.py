"""The ways in: imports, scripts that run as bare Python runs them, and code swapped in place."""

import builtins
import functools
import gc
import importlib
import importlib.util
import linecache
import os
import pickle
import runpy
import subprocess
import sys
import textwrap
import types
import zipfile
from pathlib import Path

import pytest

from hookcore.errors import NotRewritable, UsageError
from hookcore.plain import table
from hookcore.plain.loading import install
from hookcore.plain.rewriting.rewrite import is_rewritten
from hookcore.plain.rewriting.snippets import GATE

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).parent / "data/inert.py"
SPEC = importlib.util.spec_from_file_location("inert", RUNNER)
inert = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(inert)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is imported from; its modules are forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def gate():
    return inert.Gate()


@pytest.fixture
def finder(project, gate):
    with install.Finder(install.folders(str(project)), gate) as finder:
        yield finder


def write(folder, **sources):
    for name, source in sources.items():
        path = folder / f"{name.replace('__SLASH__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))


LOOP = """
    def train(n):
        for i in range(n): total = f(i)
        return total
    def f(x): return x
    """


# -- imports -------------------------------------------------------------------------------------


def test_a_users_module_is_imported_with_sites(project, finder, gate):
    write(project, mine=LOOP)
    mine = importlib.import_module("mine")
    assert mine.train(3) == 2
    assert {call[0] for call in gate.calls} == {"each", "returned"}
    assert vars(mine)[GATE] is gate
    assert mine.__spec__.cached == importlib.util.cache_from_source(mine.__file__)


def test_only_pythons_own_code_is_cached(project, finder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(project, cached=LOOP)
    rewritten = importlib.import_module("cached")
    finder.remove()
    del sys.modules["cached"]
    assert Path(rewritten.__cached__).exists()
    bare = importlib.import_module("cached")
    assert not is_rewritten(bare.train.__code__)
    assert is_rewritten(rewritten.train.__code__)


def test_others_modules_are_left_alone(project, finder):
    write(project / "site-packages", theirs=LOOP)
    write(project / "hookcore_x", __init__=LOOP)
    write(project / "torch", __init__=LOOP)
    sys.path.insert(0, str(project / "site-packages"))
    try:
        for name in ("theirs", "hookcore_x"):
            assert not is_rewritten(importlib.import_module(name).train.__code__)
    finally:
        sys.path.remove(str(project / "site-packages"))
    roots = install.folders(str(project))
    assert roots.own(str(project / "a/b.py"))
    assert not roots.own(str(project / "torch/nn.py"))
    # A plugin that is developed beside the script that it watches.
    assert not roots.own(str(project / "plugins/hookcore-x/hookcore_x/plugin.py"))
    assert roots.own(str(project / "plugins/hookcore-x/tests/loops.py"))
    assert not install.folders("/").own(os.__file__)
    assert not install.folders(str(ROOT)).own(str(ROOT / "hookcore/life.py"))
    installed = project / "site-packages/pack/deep/loop.py"
    for folder in (installed.parent, installed.parent.parent):
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "__init__.py").touch()
    assert install.roots_of(str(installed)).own(str(installed))
    assert not install.roots_of(str(installed)).own(str(project / "site-packages/theirs.py"))


def test_a_projects_root_is_the_folder_of_its_top_level_package(project):
    write(project / "pack/deep", __init__="", loop="")
    write(project / "pack", __init__="")
    assert install.roots_of(str(project / "pack/deep/loop.py")).places[0] == str(project)
    assert install.roots_of(str(project / "script.py")).places[0] == str(project)


def test_a_module_that_cannot_be_rewritten_is_imported_as_it_is(project, finder, monkeypatch):
    def refuse(*_, **__):
        raise NotRewritable("what", "because", "way out")

    monkeypatch.setattr("hookcore.plain.loading.finder.rewritten", refuse)
    write(project, odd=LOOP)
    odd = importlib.import_module("odd")
    assert odd.train(2) == 1
    assert table.FILES[odd.__file__, "odd"].reason == "because"


def test_any_fault_of_the_rewriter_is_a_reason(project, finder, monkeypatch):
    monkeypatch.setattr("hookcore.plain.rewriting.rewrite._compiled", lambda *_: 1 / 0)
    write(project, faulty=LOOP)
    faulty = importlib.import_module("faulty")
    assert faulty.train(2) == 1
    assert "ZeroDivisionError" in table.FILES[faulty.__file__, "faulty"].reason


def test_a_module_is_reloaded_with_sites(project, finder, gate):
    write(project, again="def train():\n    for i in range(1): f(i)\n")
    finder.remove()
    again = importlib.import_module("again")
    finder.install()
    assert not is_rewritten(again.train.__code__)
    importlib.reload(again)
    assert is_rewritten(again.train.__code__)
    assert vars(again)[GATE] is gate


def test_runpy_gets_plain_code(project, finder):
    write(project, run_me=LOOP + "\n    out = train(3)\n")
    assert runpy.run_module("run_me")["out"] == 2
    importlib.import_module("run_me")
    assert runpy.run_module("run_me")["out"] == 2


def test_finders_nest(project, gate):
    write(project / "a", one=LOOP)
    write(project / "b", two=LOOP)
    sys.path[:0] = [str(project / "a"), str(project / "b")]
    try:
        with (
            install.Finder(install.folders(str(project / "a")), gate),
            install.Finder(install.folders(str(project / "b")), gate),
        ):
            assert is_rewritten(importlib.import_module("one").train.__code__)
            assert is_rewritten(importlib.import_module("two").train.__code__)
    finally:
        del sys.path[:2]


def test_while_sites_are_dead_until_a_run_begins(project, finder, gate):
    write(project, spin="def spin(n):\n    while f(n): n -= 1\ndef f(n): return n\n")
    importlib.import_module("spin").spin(3)
    assert [call[0] for call in gate.calls] == ["returned"]


# -- scripts -------------------------------------------------------------------------------------

ABOUT = """
    import sys
    names = ("__name__", "__file__", "__package__", "__cached__", "__doc__")
    for name in names: print(name, globals().get(name, "absent"))
    print(type(__loader__).__name__, getattr(__spec__, "name", None), type(__builtins__).__name__)
    print(globals().get("__annotations__", "absent"), sys.argv, sys.path[0])
    print(sys.modules["__main__"].__dict__ is globals(), sorted(set(globals()) - {"@hookcore"}))
    """
SCRIPTS = {
    "about": ABOUT,
    "doc": '"""Doc."""\n' + textwrap.dedent(ABOUT),
    "raises": """
        def inner(x):
            for y in [x]:
                raise ValueError(y)
        def outer():
            for x in iter([1]):
                try:
                    inner(x)
                except ValueError as error:
                    raise KeyError("outer") from error
        for z in range(1):
            try:
                outer()
            except KeyError:
                1 / 0
        """,
    "imports": """
        import helper
        for x in helper.numbers():
            print(x)
        """,
    "import_fails": "import broken_import\n",
    "import_misses": "import no_such_module\n",
    "import_syntax": "import broken_syntax\n",
    "syntax": "for x in:\n    pass\n",
    "exit": "import sys\nfor x in iter([1]):\n    sys.exit(7)\n",
    "exit_text": "for x in iter([1]):\n    raise SystemExit('bye')\n",
    "groups": """
        import sys
        if sys.version_info >= (3, 11):
            errors = []
            for x in iter([1, 2]):
                try:
                    for y in iter([0]): x / y
                except ZeroDivisionError as error:
                    errors.append(error)
            raise ExceptionGroup("many", errors)
        """,
    "logs": """
        import traceback
        def work():
            for x in iter([1]): x / 0
        try:
            for y in iter([1]): work()
        except ZeroDivisionError:
            print(traceback.format_exc())
        """,
    "warns": "import warnings\nfor x in iter([1]):\n    warnings.warn('careful', stacklevel=1)\n",
    "pickles": """
        import pickle
        class Box:
            def go(self):
                for x in iter([1]): return x
        print(pickle.loads(pickle.dumps(Box())).go(), pickle.loads(pickle.dumps(Box.go)))
        """.replace("pickle.loads(pickle.dumps(Box.go))", "pickle.dumps(Box)"),
    "spawns": """
        import multiprocessing
        def work(n):
            for x in range(n): y = int(str(x))
            return y
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                for result in pool.map(work, [3, 4]): print(result)
        """,
    "exits_late": """
        import atexit
        def late():
            for x in iter([1]): print("late", x, __name__)
        atexit.register(late)
        """,
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    write(folder, **SCRIPTS)
    write(
        folder,
        helper="""
            def numbers():
                for x in iter([1, 2]):
                    yield x
                for y in iter([1]): raise LookupError("helper")
            """,
        broken_import="for x in iter([1]):\n    raise RuntimeError(x)\n",
        broken_syntax="def f():\n    for x in iter([1])\n",
    )
    write(folder / "pack", __init__="", __main__=ABOUT, mod=ABOUT)
    write(folder / "folder", __main__="import beside\n" + textwrap.dedent(ABOUT), beside="x = 1")
    write(folder / "nothing", beside="")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", "print(1)")
    (folder / "linked").mkdir()
    (folder / "linked/link.py").symlink_to(folder / "about.py")
    return folder


def both(folder, *arguments, **environment):
    """The same command, bare and with sites."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HOOKCORE", "PYTHON", "COV"))}
    bare = subprocess.run(  # noqa: PLW1510  the exit code is under test
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True
    )
    env |= {"PYTHONPATH": str(ROOT), **environment}
    sited = subprocess.run(  # noqa: PLW1510  the exit code is under test
        [sys.executable, RUNNER, *arguments], cwd=folder, env=env, capture_output=True, text=True
    )
    return bare, sited


@pytest.mark.parametrize(
    "arguments",
    [
        *([f"{name}.py", "-x", "1"] for name in SCRIPTS),
        ["./about.py"],
        ["linked/link.py"],
        ["folder", "a"],
        ["./folder/", "a"],
        ["-m", "pack.mod", "a"],
        ["-m", "pack", "a"],
        ["-m", "about"],
        ["-m", "import_fails"],
    ],
    ids=" ".join,
)
def test_a_script_runs_as_bare(scripts, arguments):
    bare, sited = both(scripts, *arguments)
    assert sited.stdout == bare.stdout
    assert without_runpy(sited.stderr) == without_runpy(bare.stderr)
    assert sited.returncode == bare.returncode


def without_runpy(text):
    """Bare ``-m`` shows two frames of runpy, which we have no part in."""
    lines = text.splitlines()
    drop = {number + k for number, line in enumerate(lines) if "<frozen runpy>" in line
            or "/runpy.py" in line for k in (0, 1)
            if k == 0 or lines[number + 1].startswith("    ")}  # fmt: skip
    return [line for number, line in enumerate(lines) if number not in drop]


def test_the_script_is_rewritten(scripts):
    _, sited = both(scripts, "raises.py", HOOKCORE_TEST_CALLS="1")
    assert sited.stdout == "gate was called: True\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py"], "can't open file '{folder}/absent.py': [Errno 2] No such file"),
        (["nothing"], "can't find '__main__' module in '{folder}/nothing'"),
        (["archive.zip"], "'archive.zip' is a zip archive"),
        (["-m", "absent"], "No module named absent"),
        (["-m", "absent.inner"], "No module named absent.inner"),
        (["-m", "pack.absent"], "No module named pack.absent"),
        (["-m", "nothing"], "No module named nothing.__main__"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_a_usage_error(scripts, arguments, message):
    _, sited = both(scripts, *arguments)
    assert message.format(folder=scripts) in sited.stderr
    assert sited.returncode == 2


def test_frames_are_stripped_from_the_whole_chain(finder, project):
    write(project, fails="def go():\n    for x in iter([1]): x / 0\n")
    fails = importlib.import_module("fails")

    class Rude(inert.Gate):
        def each(self, site, iterable):
            yield from install.unwrap(lambda: iterable)()

    vars(fails)[GATE] = Rude()
    try:
        try:
            fails.go()
        except ZeroDivisionError as error:
            raise KeyError from error
    except KeyError as error:
        caught = error
    install.strip_frames(caught)
    places = []
    entry = caught.__cause__.__traceback__
    while entry is not None:
        places.append(entry.tb_frame.f_code.co_name)
        entry = entry.tb_next
    assert places == ["test_frames_are_stripped_from_the_whole_chain", "go"]


# -- swapping ------------------------------------------------------------------------------------


@pytest.fixture
def swap(gate):
    done = []

    def swap(loop, **options):
        done.append(install.swap(loop, gate=gate, **options))
        return done[-1]

    yield swap
    for swapped in done:
        swapped.restore()  # a second time is no harm


def module(folder, name, source):
    write(folder, **{name: source})
    return importlib.import_module(name)


def test_a_swap_reaches_every_function_of_the_users_files(project, gate, swap):
    module(project, "helpers", "def helper(xs):\n    return [abs(x) for x in map(int, xs)]\n")
    mine = module(
        project,
        "swapped",
        """
        import functools
        from helpers import helper
        def decorate(function):
            @functools.wraps(function)
            def inner(*args):
                for _ in iter([1]): result = function(*args)
                return result
            return inner
        class Trainer:
            def __init__(self):
                for _ in iter([1]): self.n = 0
                self.closure = self.make()
            def make(self):
                def closure():
                    for _ in iter([1]): self.n += 1
                    return self.n
                return closure
            @staticmethod
            def static():
                for _ in iter([1]): pass
            @property
            def size(self):
                for _ in iter([1]): return 1
        @decorate
        def train(trainer):
            for _ in iter([1]): pass
            return trainer.closure(), trainer.make()(), trainer.size, trainer.static(), helper([1])
        """,
    )
    trainer, reference = mine.Trainer(), mine.train
    originals = {f: f.__code__ for f in gc.get_objects() if type(f) is types.FunctionType}
    assert reference(trainer) == (1, 2, 1, None, [1])
    swapped = swap(install.unwrap(mine.train))
    assert reference(trainer) == (3, 4, 1, None, [1])
    entered = {table.SITES[call[1]].scope for call in gate.calls if call[0] == "each"}
    assert entered == {
        "decorate.<locals>.inner", "train", "Trainer.make.<locals>.closure", "Trainer.static",
        "Trainer.size", "helper",
    }  # fmt: skip
    assert not is_rewritten(mine.Trainer.__init__.__code__)
    assert swapped.refused == ()
    assert {Path(file.path).name for file in swapped.files} == {"swapped.py", "helpers.py"}

    late = trainer.make()
    swapped.restore()
    assert all(function.__code__ is code for function, code in originals.items())
    assert not is_rewritten(late.__code__)
    calls = len(gate.calls)
    assert reference(trainer) == (5, 6, 1, None, [1])
    assert len(gate.calls) == calls


def test_swapping_twice_changes_nothing(project, gate, swap):
    mine = module(project, "twice", LOOP)
    first = swap(mine.train)
    code = mine.train.__code__
    second = swap(mine.train)
    assert mine.train.__code__ is code
    first.restore()
    assert mine.train.__code__ is code
    second.restore()
    assert not is_rewritten(mine.train.__code__)
    swap(mine.train)
    assert mine.train.__code__ is code


def test_a_module_that_was_imported_with_sites_is_not_swapped(project, finder, swap):
    mine = module(project, "sited", LOOP)
    code = mine.train.__code__
    swapped = swap(mine.train)
    assert mine.train.__code__ is code
    swapped.restore()
    assert mine.train.__code__ is code


def test_later_imports_are_rewritten_until_the_restore(project, swap):
    write(project, later=LOOP)
    write(project, much_later=LOOP)
    mine = module(project, "early", "def train():\n    import later\n    return later\n")
    swapped = swap(mine.train)
    assert is_rewritten(mine.train().train.__code__)
    swapped.restore()
    assert not is_rewritten(importlib.import_module("much_later").train.__code__)


def test_functions_below_a_decorator_are_reached_at_the_first_call(project, gate, swap):
    swaps = []
    builtins.instrument_here = lambda loop: swaps.append(swap(loop)) or loop
    try:
        mine = module(
            project,
            "decorated",
            """
            @instrument_here
            def train(): return validate()
            def validate():
                for x in iter([1]): return x
            """,
        )
    finally:
        del builtins.instrument_here
    assert not is_rewritten(mine.validate.__code__)
    swaps[0].refresh()
    assert is_rewritten(mine.validate.__code__)
    swaps[0].restore()
    assert not is_rewritten(mine.validate.__code__)


def test_an_edited_function_is_refused_by_name(project, swap):
    source = """
        def train():
            for x in iter([1]): f(x)
        def f(x):
            for y in iter([x]): return y
        """
    mine = module(project, "edited", source)
    linecache.clearcache()
    write(project, edited=source.replace("return y", "return y + 1"))
    swapped = swap(mine.train)
    (refusal,) = swapped.refused
    assert (refusal.qualname, refusal.line) == ("f", 4)
    assert "edited since it was imported" in refusal.reason
    with pytest.raises(NotRewritable, match=r"edited\.f .* cannot be instrumented"):
        swap(mine.f)
    swapped.restore()
    mine = module(project, "edited_too", source)
    write(project, edited_too="def (")
    with pytest.raises(NotRewritable, match="cannot be compiled any more"):
        swap(mine.train)


def test_a_refused_loop_changes_nothing(project, swap):
    mine = module(project, "partly", LOOP)
    write(project, partly=LOOP.replace("total = f(i)", "total = f(i + 1)"))
    with pytest.raises(NotRewritable):
        swap(mine.train)
    assert not any(is_rewritten(function.__code__) for function in (mine.train, mine.f))
    assert not any(isinstance(finder, install.Finder) for finder in sys.meta_path)


def test_an_edited_module_that_is_loaded_again_can_be_swapped(project, gate, swap):
    mine = module(project, "reloaded", LOOP)
    swap(mine.train).restore()
    write(project, reloaded=LOOP.replace("total = f(i)", "total = f(i + 10)"))
    os.utime(project / "reloaded.py", (1, 1))
    importlib.reload(mine)
    swap(mine.train)
    assert mine.train(1) == 10
    assert gate.calls


def test_asserts_that_pytest_has_rewritten_are_said(swap):
    def train():
        for x in iter([1]):
            assert f"{x}" == "1"

    with pytest.raises(NotRewritable, match="pytest has rewritten its assert"):
        swap(train)


def generator():
    for x in iter([1]):
        yield x, x


async def coroutine():
    for x in iter([1]):
        print(x)


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        (generator, "generator"),
        (coroutine, "coroutine"),
        (lambda: None, "lambda"),
        (functools.wraps, "standard library"),
        (install.unwrap, "belongs to hookcore"),
        (os.path.join, "frozen|standard library"),
    ],
)
def test_what_is_never_swapped_says_why(swap, loop, why):
    with pytest.raises(NotRewritable, match=why) as caught:
        swap(loop)
    assert "hookcore.run()" in caught.value.way_out
    assert "hookcore.epochs" in caught.value.way_out


def test_code_without_a_source_says_why(swap, project, monkeypatch):
    scope = {"__name__": "made"}
    exec("def train():\n    for x in iter([1]): pass", scope)
    monkeypatch.setitem(linecache.cache, "<string>", (9, None, ["import sys\n"], "<string>"))
    with pytest.raises(NotRewritable, match="exec or eval"):
        swap(scope["train"])
    with zipfile.ZipFile(project / "zipped.zip", "w") as archive:
        archive.writestr("zipped.py", textwrap.dedent(LOOP))
    sys.path.insert(0, str(project / "zipped.zip"))
    try:
        with pytest.raises(NotRewritable, match="zip archive"):
            swap(importlib.import_module("zipped").train)
    finally:
        sys.path.remove(str(project / "zipped.zip"))
    gone = module(project, "gone", LOOP)
    (project / "gone.py").unlink()
    with pytest.raises(NotRewritable, match="there is no file"):
        swap(gone.train)


def test_functions_of_notebook_cells_are_swapped_from_their_source(
    gate, swap, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__"}
    cells = {
        "<ipython-input-1-aa>": "from __future__ import annotations\nx: Missing = 1\n",
        "<ipython-input-2-bb>": "def helper(n: Missing):\n    for y in iter([n]): return y\n",
        "/tmp/ipykernel_1/2.py": "def train():\n    for x in iter([1]): helper(x)\n    return x\n",
    }
    flags = 0
    for path, source in cells.items():
        linecache.cache[path] = (len(source), None, source.splitlines(True), path)
        code = compile(source, path, "exec", flags)
        flags |= code.co_flags & 0x1000000
        exec(code, scope)
    swapped = swap(scope["train"])
    assert not [refusal for refusal in swapped.refused if refusal.path in cells]
    assert scope["train"]() == 1
    assert len([call for call in gate.calls if call[0] == "each"]) == 2


def test_rewritten_functions_pickle_by_reference(project, swap):
    mine = module(project, "pickled", LOOP)
    swap(mine.train)
    assert pickle.loads(pickle.dumps(mine.train)) is mine.train


def test_a_bad_role_comment_is_a_usage_error(project, swap):
    mine = module(
        project, "commented", "def train():\n    for x in f():  # hookcore: eopch\n        pass"
    )
    with pytest.raises(UsageError, match="eopch"):
        swap(mine.train)


# -- unwrapping ----------------------------------------------------------------------------------


class Trainer:
    def fit(self):
        return 1

    @classmethod
    def build(cls):
        return cls()

    def __call__(self):
        return self.fit()


def plain():
    return 1


@functools.wraps(plain)
def wrapped():
    return plain()


@pytest.mark.parametrize(
    ("loop", "function"),
    [
        (plain, plain),
        (wrapped, plain),
        (functools.partial(functools.partial(wrapped)), plain),
        (Trainer().fit, Trainer.fit),
        (Trainer.fit, Trainer.fit),
        (functools.partial(Trainer().fit), Trainer.fit),
        (Trainer(), Trainer.__call__),
        (Trainer.build, Trainer.build.__func__),
        (staticmethod(plain), plain),
        (functools.lru_cache(plain), plain),
    ],
    ids=[
        "function", "wrapped", "partials", "bound method", "method", "partial of a method",
        "callable object", "class method", "static method", "cached",
    ],
)
def test_a_loop_is_unwrapped(loop, function):
    assert install.unwrap(loop) is function


def test_a_click_command_is_unwrapped():
    click = pytest.importorskip("click")
    assert install.unwrap(click.command()(plain)) is plain


def test_a_compiled_function_is_unwrapped():
    def compiled(): ...

    compiled._torchdynamo_orig_callable = plain
    assert install.unwrap(compiled) is plain


@pytest.mark.parametrize(
    ("loop", "why"), [(len, "not written in Python"), (Trainer, "a class"), (3, "cannot be called")]
)
def test_what_is_no_function_says_why(loop, why):
    with pytest.raises(NotRewritable, match="cannot be instrumented") as caught:
        install.unwrap(loop)
    assert why in caught.value.why
