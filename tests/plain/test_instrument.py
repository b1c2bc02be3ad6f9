"""``instrument``: the user's own loop, called as before, inside a run."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import itertools
import pickle
import sys
import textwrap
import threading
import traceback

import pytest

import hookcore
from hookcore import HookcoreWarning, NotRewritable, PluginError, UsageError, hookimpl
from hookcore.plain.instrument import Instrumented
from hookcore.testing import Recorder

pytestmark = [pytest.mark.torch]

LOOP = '''
def train(epochs=2, *, lr: float = 0.1) -> list:
    """Trains."""
    model = make()
    optimizer = sgd(model, lr)
    for epoch in range(epochs):
        one_epoch(model, optimizer)
        if epoch == 7:
            raise ValueError("epoch 7")
    return weights(model)


def one_epoch(model, optimizer):
    total = 0.0
    for x, y in loader():
        total += update(model, optimizer, x, y)
    return total
'''

_numbers = itertools.count(1)


@pytest.fixture
def plant(tmp_path, monkeypatch, lab):
    """Makes a module of a file and imports it; everything of it is gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    planted = []

    def make(source, prelude=lab.prelude):
        name = f"planted_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(prelude + textwrap.dedent(source))
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        planted.append(module)
        return module

    yield make
    names = [module.__name__ for module in planted]
    for one in gc.get_objects():
        if type(one) is Instrumented and one.__module__ in names:
            one.restore()
    for name in names:
        del sys.modules[name]


@pytest.fixture
def instrumented():
    """``instrument`` with these plugins alone; restored after the test."""
    made = []

    def make(loop, *plugins, **options):
        one = hookcore.instrument(loop, plugins=plugins, only=[], quiet=True, **options)
        made.append(one)
        return one

    yield make
    for one in made:
        one.restore()


TWO = "E( b s . b s . )E"


def test_a_function(plant, instrumented, lab, words):
    """Same result, same generators; and a run of its own."""
    module = plant(LOOP)
    bare = lab.bare(module.train)
    recorder = Recorder()
    train = instrumented(module.train, recorder)
    assert lab.bare(train).same == bare.same
    assert words(recorder) == f"T( {TWO} {TWO} )T R"
    assert train.run.fit.epochs_done == 2
    assert train.run.name == "train"


def test_each_call_is_a_run(plant, instrumented):
    """`.run` is the last one."""
    recorder = Recorder()
    train = instrumented(plant(LOOP).train, recorder)
    assert train.run is None
    train(1)
    first = train.run
    train(2)
    assert train.run is not first
    assert recorder.count("on_run_start") == recorder.count("on_run_end") == 2


def test_signature_and_names_are_the_loop_s(plant, instrumented):
    """Whoever looks at it sees the user's function."""
    module = plant(LOOP)
    train = instrumented(module.train)
    assert inspect.signature(train) == inspect.signature(module.train)
    assert (train.__name__, train.__doc__) == ("train", "Trains.")
    assert train.__module__ == module.__name__
    assert train.__wrapped__ is module.train


def test_arguments_that_are_wrong_are_refused_as_before(plant, instrumented):
    """With Python's own words."""
    module = plant(LOOP)
    train = instrumented(module.train)
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'x'"):
        train(x=1)


def test_every_reference_sees_it(plant, instrumented):
    """Code is swapped in place: an import made before is instrumented as well."""
    module = plant(LOOP)
    before = module.train
    recorder = Recorder()
    instrumented(module.train, recorder)
    with hookcore.run(plugins=[recorder], only=[], quiet=True):
        before(1)
    assert recorder.count("on_epoch_end") == 1


def test_the_same_traceback_lines(plant, instrumented):
    """The user's frames, with their lines; ours lie between the caller's and the loop's."""
    module = plant(LOOP)

    def lines(function):
        with pytest.raises(ValueError, match="epoch 7") as caught:
            function(9)
        return [
            (entry.name, entry.lineno, entry.line)
            for entry in traceback.extract_tb(caught.value.__traceback__)
            if entry.filename == module.__file__
        ]

    bare = lines(module.train)
    assert lines(instrumented(module.train)) == bare


def test_an_exception_ends_the_run(plant, instrumented, words):
    """And goes through as it is."""
    recorder = Recorder()
    train = instrumented(plant(LOOP).train, recorder)
    with pytest.raises(ValueError, match="epoch 7"):
        train(9)
    assert words(recorder).endswith(
        f"{TWO} E( b s . b s . )E<exception> )T<exception> X R<exception>"
    )


# -- whatever a loop is ------------------------------------------------------------------------

METHODS = """
import functools
import hookcore


class Trainer:
    def __init__(self, recorder=None):
        self.model = make()
        self.optimizer = sgd(self.model)

    def fit(self, epochs=2):
        for epoch in range(epochs):
            for x, y in loader():
                update(self.model, self.optimizer, x, y)
        return weights(self.model)

    def with_super(self, epochs=2):
        return self.__class__.__name__, self.fit(epochs)

    @staticmethod
    def still(model, epochs=2):
        optimizer = sgd(model)
        for epoch in range(epochs):
            update(model, optimizer)


class Special(Trainer):
    def fit(self, epochs=2):
        return super().fit(epochs)


def twice(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return [function(*args, **kwargs), "twice"]
    return inner


@twice
def decorated(epochs=2):
    return Trainer().fit(epochs)


def closure(epochs):
    model = make()
    optimizer = sgd(model)

    def inner():
        for epoch in range(epochs):
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)

    return inner
"""


KINDS = {
    "bound method": lambda module: module.Trainer().fit,
    "method that calls another": lambda module: module.Trainer().with_super,
    "method that calls super": lambda module: module.Special().fit,
    "decorated": lambda module: module.decorated,
    "partial": lambda module: functools.partial(module.Trainer().fit, epochs=2),
    "partial of decorated": lambda module: functools.partial(module.decorated, 2),
    "closure": lambda module: module.closure(2),
    "static": lambda module: functools.partial(module.Trainer.still, module.make()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_loops(plant, instrumented, lab, words, kind):
    """Each is called as it was."""
    module = plant(METHODS)

    def fresh():
        lab.seed(0)
        return KINDS[kind](module)

    bare = lab.bare(fresh())
    recorder = Recorder()
    loop = instrumented(fresh(), recorder)
    assert lab.bare(loop).same == bare.same
    assert recorder.count("on_epoch_end") == 2
    assert words(recorder).startswith("T( E( b s .")


DECORATED = """
import hookcore
from hookcore.testing import Recorder

recorder = Recorder()

@hookcore.instrument
def bare(epochs=1):
    return train(epochs)

@hookcore.instrument(plugins=[recorder], only=[], quiet=True)
def configured(epochs=1):
    return train(epochs)

class Trainer:
    def __init__(self):
        self.model = make()

    @hookcore.instrument(plugins=[recorder], only=[], quiet=True)
    def fit(self, epochs=1):
        optimizer = sgd(self.model)
        for epoch in range(epochs):
            for x, y in loader():
                update(self.model, optimizer, x, y)
        return self

def train(epochs):
    # Defined below its decorated callers: it has no sites yet when they are decorated.
    model = make()
    optimizer = sgd(model)
    for epoch in range(epochs):
        for x, y in loader():
            update(model, optimizer, x, y)
    return weights(model)
"""


def test_as_a_decorator(plant, words):
    """Bare and with arguments, on functions and methods; also where the loop is defined below."""
    module = plant(DECORATED)
    module.configured(1)
    assert words(module.recorder) == f"T( {TWO} )T R"
    module.recorder.calls.clear()
    trainer = module.Trainer()
    assert trainer.fit(epochs=2) is trainer
    assert words(module.recorder) == f"T( {TWO} {TWO} )T R"
    assert module.Trainer.fit.run.fit.epochs_done == 2
    assert inspect.signature(module.Trainer().fit) == inspect.Signature(
        [inspect.Parameter("epochs", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=1)]
    )


def test_a_bare_decorator_has_the_usual_plugins(plant, monkeypatch):
    """Those that are installed, as the environment says."""
    monkeypatch.setenv("HOOKCORE_ONLY", "")
    module = plant(DECORATED)
    module.bare(1)
    assert {record.status for record in module.bare.run.plugins} <= {"blocked"}


# -- the same object again ---------------------------------------------------------------------


def test_instrumented_twice_is_the_same(plant, instrumented):
    """Without new settings there is nothing to do."""
    train = instrumented(plant(LOOP).train)
    assert hookcore.instrument(train) is train


def test_instrumented_anew_has_the_new_settings(plant, instrumented):
    """One run a call, not one inside another."""
    first, second = Recorder(), Recorder()
    train = instrumented(plant(LOOP).train, first)
    again = instrumented(train, second)
    again(1)
    assert (first.count("on_run_start"), second.count("on_run_start")) == (0, 1)


def test_restore(plant, instrumented, lab):
    """The original code is back, in every function of the file."""
    module = plant(LOOP)
    codes = [function.__code__ for function in (module.train, module.one_epoch, module.update)]
    bare = lab.bare(module.train)
    train = instrumented(module.train)
    assert module.train.__code__ is not codes[0]
    train.restore()
    now = [function.__code__ for function in (module.train, module.one_epoch, module.update)]
    assert all(code is before for code, before in zip(now, codes, strict=True))
    assert lab.bare(module.train).same == bare.same


# -- pickles -----------------------------------------------------------------------------------

PICKLED = """
import hookcore
from hookcore.testing import Recorder

@hookcore.instrument(only=[], plugins=[], quiet=True)
def train(epochs=1):
    model = make()
    optimizer = sgd(model)
    for epoch in range(epochs):
        for x, y in loader():
            update(model, optimizer, x, y)
    return train.run.fit.epochs_done

def other(epochs=1):
    model = make()
    optimizer = sgd(model)
    for epoch in range(epochs):
        for x, y in loader():
            update(model, optimizer, x, y)
    return epochs
"""


def test_pickled_by_reference(plant):
    """What its module calls so is itself."""
    module = plant(PICKLED)
    assert pickle.loads(pickle.dumps(module.train)) is module.train


def test_pickled_under_another_name(plant, instrumented):
    """The loop travels by reference, and is instrumented anew."""
    module = plant(PICKLED)
    train = instrumented(module.other)
    copy = pickle.loads(pickle.dumps(train))
    assert copy.__wrapped__ is module.other
    copy(1)
    assert copy.run.fit.epochs_done == 1
    copy.restore()


@pytest.mark.slow
def test_spawned(tmp_path, child, lab):
    """A child that is started with it trains, and has a run of its own."""
    (tmp_path / "loops.py").write_text(lab.prelude + textwrap.dedent(PICKLED))
    (tmp_path / "main.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing
            import loops

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(pool.apply(loops.train, (2,)))
            """
        )
    )
    done = child("main.py")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


# -- inside a run, in other threads, switched off -----------------------------------------------


def test_inside_a_run_it_joins(plant, instrumented, recwarn):
    """One run for all; that its own settings do not count is said."""
    inner, outer = Recorder(), Recorder()
    train = instrumented(plant(LOOP).train, inner)
    with hookcore.run(plugins=[outer], only=[], quiet=True):
        with pytest.warns(HookcoreWarning, match="train: .* joins it"):
            train(1)
        with pytest.warns(HookcoreWarning):
            train(1)
    assert inner.calls == []
    assert outer.count("on_run_start") == 1
    assert outer.count("on_train_start") == 2


def test_inside_a_run_without_settings_there_is_no_warning(plant):
    """A warning would be noise."""
    recorder = Recorder()
    train = hookcore.instrument(plant(LOOP).train)
    with hookcore.run(plugins=[recorder], only=[], quiet=True):
        train(1)
    train.restore()
    assert recorder.count("on_epoch_end") == 1


def test_another_thread_trains_without(plant, instrumented, lab):
    """A run belongs to its thread; the call does its work, and says that nobody listens."""
    module = plant(LOOP)
    recorder = Recorder()
    train = instrumented(module.train, recorder)
    found = []

    def work():
        with pytest.warns(HookcoreWarning, match="another thread has a run open"):
            found.append(train(1))

    with hookcore.run(plugins=[Recorder()], only=[], quiet=True):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert recorder.calls == []


def test_a_thread_may_have_the_run(plant, instrumented):
    """Where no other is open, any thread can train under hookcore."""
    recorder = Recorder()
    train = instrumented(plant(LOOP).train, recorder)
    thread = threading.Thread(target=train, args=(1,))
    thread.start()
    thread.join()
    assert recorder.count("on_epoch_end") == 1


def test_a_recursive_loop_is_one_run(plant, instrumented):
    """A loop that calls itself is inside its own run."""
    source = """
    def train(depth=1):
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            if depth:
                train(depth - 1)
    """
    recorder = Recorder()
    module = plant(source)
    train = instrumented(module.train, recorder)
    module.train = train
    train()
    assert recorder.count("on_run_start") == 1


def test_a_loop_that_calls_itself_first_is_one_run(plant, instrumented):
    """A dry run before the first epoch, to find a size, does not end the run that it is inside."""
    source = """
    def train(dry=False):
        model = make(); optimizer = sgd(model)
        if not dry:
            train(dry=True)
        for epoch in range(2):
            for x, y in loader():
                loss = F.cross_entropy(model(x), y)
                if dry:
                    return
                loss.backward()
                optimizer.step()
    """
    recorder = Recorder()
    module = plant(source)
    module.train = instrumented(module.train, recorder)
    module.train()
    assert recorder.count("on_run_start") == 1
    assert recorder.count("on_epoch_end") == 2


def test_kill_switch(plant, monkeypatch, lab):
    """HOOKCORE=0: nothing is rewritten, no run is opened; switched on again, the next call is."""
    monkeypatch.setenv("HOOKCORE", "0")
    module = plant(LOOP)
    code = module.train.__code__
    recorder = Recorder()
    train = hookcore.instrument(module.train, plugins=[recorder], only=[], quiet=True)
    train(1)
    assert module.train.__code__ is code
    assert train.run is None
    assert recorder.calls == []
    monkeypatch.setenv("HOOKCORE", "1")
    train(1)
    train.restore()
    assert recorder.count("on_epoch_end") == 1


def test_kill_switch_takes_anything(monkeypatch):
    """Nothing is looked at, so nothing is refused."""
    monkeypatch.setenv("HOOKCORE", "off")
    thing = object()
    assert hookcore.instrument(thing) is thing
    assert hookcore.instrument(sorted)([2, 1]) == [1, 2]


# -- one epoch a call --------------------------------------------------------------------------


def test_calls_are_the_epochs_of_one_run(plant, instrumented, lab, words):
    """Where the function trains one epoch: counters, opening lines and patience go on."""
    module = plant(LOOP)
    recorder = Recorder()
    one_epoch = instrumented(module.one_epoch, recorder)
    model = module.make()
    optimizer = module.sgd(model)
    for _ in range(3):
        one_epoch(model, optimizer)
    one_epoch.close()
    assert words(recorder) == f"T( {TWO} {TWO} {TWO} )T R"
    assert [call["epoch"] for call in recorder.of("on_epoch_end")] == [0, 1, 2]


def test_calls_train_as_they_did(plant, instrumented, lab):
    """Bit for bit."""
    module = plant(LOOP)

    def loop(one_epoch):
        model = module.make()
        optimizer = module.sgd(model)
        return [one_epoch(model, optimizer) for _ in range(3)], module.weights(model)

    bare = lab.bare(loop, module.one_epoch)
    one_epoch = instrumented(module.one_epoch, Recorder())
    assert lab.bare(loop, one_epoch).same == bare.same


def test_a_call_that_raises_ends_the_run(plant, instrumented, words):
    """The next call begins another."""
    source = LOOP.replace(
        "    return total", "    if fail:\n        raise ValueError\n    return total"
    )
    module = plant(
        source.replace("one_epoch(model, optimizer):", "one_epoch(model, optimizer, fail=0):")
    )
    recorder = Recorder()
    one_epoch = instrumented(module.one_epoch, recorder)
    model = module.make()
    optimizer = module.sgd(model)
    one_epoch(model, optimizer)
    with pytest.raises(ValueError):  # noqa: PT011 - the loop's own, without words
        one_epoch(model, optimizer, fail=1)
    one_epoch(model, optimizer)
    one_epoch.close()
    assert words(recorder) == (
        f"T( {TWO} E( b s . b s . )E<exception> )T<exception> X R<exception> T( {TWO} )T R"
    )


def test_a_stop_between_calls(plant, instrumented):
    """The loop round the calls is not ours to end: each later call ends as soon as it may."""

    class Stopper:
        name, role = "stopper", "control"

        @hookimpl
        def on_epoch_end(self, fit, epoch):
            if epoch == 1:
                fit.stop("enough", now=True)

    module = plant(LOOP)
    recorder = Recorder()
    one_epoch = instrumented(module.one_epoch, Stopper(), recorder)
    model = module.make()
    optimizer = module.sgd(model)
    for _ in range(4):
        one_epoch(model, optimizer)
    one_epoch.close()
    batches = [arguments["batch"] for arguments in recorder.of("on_batch_end")]
    assert batches == [0, 1, 0, 1, 0, 0]
    assert recorder.count("on_stop") == 1


@pytest.mark.slow
def test_the_run_ends_with_the_program(tmp_path, child, lab):
    """Without a close its last events come when Python ends, before the exit status is given."""
    (tmp_path / "loops.py").write_text(lab.prelude + textwrap.dedent(LOOP))
    (tmp_path / "main.py").write_text(
        textwrap.dedent(
            """
            import hookcore, loops

            class Last:
                name = "last"
                @hookcore.hookimpl
                def on_run_end(self, run, how):
                    print("end", how, run.fit.epochs_done, flush=True)

            one_epoch = hookcore.instrument(loops.one_epoch, plugins=[Last()], only=[])
            model = loops.make()
            optimizer = loops.sgd(model)
            for epoch in range(3):
                one_epoch(model, optimizer)
            print("done")
            """
        )
    )
    done = child("main.py")
    assert (done.returncode, done.stdout) == (0, "done\nend finished 3\n"), done.stderr


# -- refused -----------------------------------------------------------------------------------

REFUSED = """
class Thing:
    pass

def generator():
    for x in range(3):
        yield x

async def coroutine():
    for x in range(3):
        pass

nothing = lambda: 1
"""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("generator", "generator"),
        ("coroutine", "coroutine"),
        ("nothing", "lambda"),
    ],
)
def test_what_cannot_be_rewritten(plant, name, why):
    """One message: what, why, and what still works."""
    module = plant(REFUSED)
    with pytest.raises(NotRewritable, match=why) as caught:
        hookcore.instrument(getattr(module, name))
    assert "hookcore.epochs" in caught.value.way_out


def test_what_is_no_loop(plant):
    """An object that no adapter knows."""
    module = plant(REFUSED)
    with pytest.raises(UsageError, match="Thing"):
        hookcore.instrument(module.Thing())


def test_written_in_c():
    """It is observed, and says so."""
    with pytest.warns(HookcoreWarning, match="not written in Python"):
        ordered = hookcore.instrument(sorted, only=[], quiet=True)
    assert ordered([2, 1]) == [1, 2]


def test_wrong_names_are_refused_at_the_call(plant):
    """Before anything is trained."""
    train = hookcore.instrument(plant(LOOP).train, plugins=["no-such-plugin"])
    with pytest.raises(UsageError, match="no-such-plugin"):
        train()
    train.restore()


def test_strict(plant, instrumented):
    """Reaches the dispatch."""

    class Broken:
        name = "broken"

        @hookimpl
        def on_epoch_end(self):
            raise ValueError("no")

    train = instrumented(plant(LOOP).train, Broken(), strict=True)
    with pytest.raises(PluginError):
        train()
