"""What a dataset changes in itself while it is read, in each worker's copy."""

from __future__ import annotations

import runpy
import sys
import types

import pytest

torch = pytest.importorskip("torch")

import hookcore  # noqa: E402
from hookcore.plain.resume import copies  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
import numpy

class Changing(Dataset):
    def __init__(self):
        self.seen, self.last, self.cache, self.words = 0, None, {{}}, []
        self.torch = torch.Generator().manual_seed(3)
        self.numpy = numpy.random.default_rng(3)
        self.python = random.Random(3)
        self.old = numpy.random.RandomState(3)
        self.mixed = numpy.random.Generator(numpy.random.MT19937(3))
    def __len__(self):
        return 18
    def __getitem__(self, i):
        return torch.full((3,), i / 18) + self.more(i)
    def more(self, i):
        {body}

def train():
    model, optimizer = make()
    loader = DataLoader({dataset}, 4, shuffle=True, {workers})
    losses = []
    for epoch in range(3):
        for x in loader:
            losses.append(update(model, optimizer, x))
    return losses, total(model)
"""


def loop(body, workers="num_workers=2", dataset="Changing()"):
    return LOOP.format(body=body, workers=workers, dataset=dataset)


WORKERS = ["num_workers=2", "num_workers=2, persistent_workers=True"]
RESTORED = {
    "a count, what was last and a few items": """
        self.seen += 1
        last, self.last = self.last, (i, self.last and self.last[0])
        self.words.append(i)
        self.words = self.words[-3:]
        return self.seen + (last[0] if last else 0) + sum(self.words)
""",
    "random generators": """
        old = self.old.rand() + self.mixed.random()
        old += self.numpy.random() + self.python.random()
        return torch.rand(3, generator=self.torch) + old
""",
    "what goes by another name": """
        words = self.words
        words.append(i % 3)
        return float(sum(words[-60:])) + len(words) / 9
""",
}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", RESTORED)
def test_what_is_small_and_plain_is_put_back_in_each_worker(check, kind, workers):
    check(loop(RESTORED[kind].strip(), workers), every=5)
    if "persistent" in workers:
        check(loop(RESTORED[kind].strip(), workers), at="epochs")


@pytest.mark.parametrize(
    "dataset", ["torch.utils.data.Subset(Changing(), range(18))", "Changing() + Changing()"]
)
def test_of_a_dataset_inside_another_too(check, dataset):
    check(loop("self.seen += 1; return self.seen", dataset=dataset), every=7)


AROUND = """
SEEN, COUNT = {{"n": 0}}, 0

def tally(collate=torch.utils.data.default_collate):
    calls = 0
    def counted(items):
        nonlocal calls
        calls += 1
        return collate(items) + calls / 10
    return counted

class Collate:
    n = 0
    def __call__(self, items):
        self.n += 1
        return torch.stack(items) + self.n / 10

class Transform:
    def __init__(self):
        self.calls, self.mean, self.g = 0, 0.0, random.Random(1)
    def __call__(self, x):
        self.calls += 1
        self.mean += x.sum().item()
        return x + self.calls / 50 + self.mean / 100 + self.g.random()

class Plain(Dataset):
    def __init__(self, transforms):
        self.transforms = transforms
    def __len__(self):
        return 18
    def __getitem__(self, i):
        global COUNT
        x = torch.full((3,), i / 18)
        for transform in self.transforms:
            x = transform(x)
        {counts}
        return x

def train():
    model, optimizer = make()
    loader = DataLoader(Plain([{transform}]), 4, shuffle=True, num_workers={workers}, {collate})
    losses = []
    for epoch in range(2):
        for x in loader:
            losses.append(update(model, optimizer, x))
    return losses, total(model)
"""
READING = {
    "a transform": ("Transform()", "pass", ""),
    "a collate_fn": ("", "pass", "collate_fn=Collate()"),
    "a function with a variable of its own": ("", "pass", "collate_fn=tally()"),
    "globals": ("", 'SEEN["n"] += 1; COUNT += 1; x += SEEN["n"] / 10 + COUNT / 7', ""),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("what", READING)
def test_whatever_changes_as_data_is_read_goes_on(check, what, workers):
    """Nobody but the DataLoader knows of it, in this process or in a worker."""
    transform, counts, collate = READING[what]
    check(
        AROUND.format(transform=transform, counts=counts, collate=collate, workers=workers),
        every=2,
    )


def test_what_a_worker_makes_for_itself_and_changes_is_named(check):
    """A new worker would make it afresh."""
    made = "self.last = self.last or Changing(); self.last.seen += 1; return self.last.seen"
    _, saved = check(loop(made), skip=("partial",))
    notes = [s.notes[0] for s in saved.values() if s.header.kind == "partial"]
    assert notes and all("own copy of the dataset's last" in note for note in notes)


def test_the_globals_of_a_script_that_a_worker_has_run_again(tmp_path, monkeypatch):
    """With spawn and forkserver its functions see others than its module has."""
    script = tmp_path / "script.py"
    script.write_text("COUNT = 0\nclass Up:\n    def __getitem__(self, i):\n        global COUNT\n"
                      "        COUNT += 1\n        return COUNT\n")  # fmt: skip
    main = types.ModuleType("__mp_main__")
    vars(main).update(runpy.run_path(str(script), run_name="__mp_main__"))
    monkeypatch.setitem(sys.modules, "__mp_main__", main)
    monkeypatch.setitem(sys.modules, "__main__", main)
    data = main.Up()
    sought = copies.Sought(torch.utils.data.DataLoader(data))
    sought.modules = ("__main__",)
    worker = copies.Copies(data, None, sought)

    assert data[0] == 1
    assert worker.changes()["dataset"]["values"] == {"__main__:COUNT": 1}
    worker.put({"__main__:COUNT": 6})
    assert data[0] == 7


KEPT = """
import functools, itertools, multiprocessing, numpy

class Slotted:
    __slots__ = ("count",)
    def __init__(self):
        self.count = 0
    def __getattr__(self, name):
        return {{}}[name]

class Config:
    count, VALUE, ROW, NUMBERS = 0, multiprocessing.Value("i", 0), multiprocessing.Array("i", 4), \\
        torch.zeros(5000).share_memory_()

COUNT = 0

def counted(seen=[0]):
    seen[0] += 1
    return seen[0]

class Counting(Dataset):
    count = 0
    def __init__(self):
        self.slotted, self.places, self.turns = Slotted(), itertools.count(), {turns}
        self.value, self.row, self.numbers = Config.VALUE, Config.ROW, Config.NUMBERS
        self.chance = None
    def __len__(self):
        return 18
    def __getitem__(self, i):
        {body}
    @functools.lru_cache
    def drawn(self):
        return torch.rand(3)

def train():
    model, optimizer = make()
    data = Counting()
    loader = DataLoader(data, 4, shuffle=True, {workers})
    losses = []
    for epoch in range(3):
        for x in loader:
            losses.append(update(model, optimizer, x))
        losses.append(data.value.value / 9 + sum(data.row) / 7 + data.numbers.sum().item())
    return losses, total(model)
"""
COUNTED = """
        Counting.count += 1; type(self).count += counted(); Config.count += next(self.places)
        self.slotted.count += 1; globals()["COUNT"] += 1
        setattr(__import__("sys").modules[__name__], "OTHER", COUNT)
        return torch.full((3,), i / 18) + Counting.count / 9 + Config.count / 99 + \\
            self.slotted.count / 7 + COUNT / 5
"""


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_kept_on_classes_and_in_defaults_and_by_a_text_is_put_back(check, workers):
    check(KEPT.format(body=COUNTED.strip(), workers=workers, turns=None), every=6)


SHARED = "that the workers of Counting share with the training changes while they read ahead"
OWN = "each worker changes its own copy of the dataset's "
TOLD = {
    "a value": ("with self.value.get_lock(): self.value.value += 1", SHARED),
    "an array": ("with self.row.get_lock(): self.row[i % 4] += 1", SHARED),
    "a tensor": ("self.numbers[i] += 1", SHARED),
    "an iterator": ("next(self.turns)", f"{OWN}turns"),
    "what was drawn": ("self.drawn()", f"{OWN}__class__.drawn"),
    "a generator of its own": (
        "self.chance = self.chance or numpy.random.default_rng(i); self.chance.random()",
        f"{OWN}chance",
    ),
}


@pytest.mark.parametrize("what", TOLD)
def test_what_workers_share_or_keep_for_themselves_is_told(bench, check, keeper, what):
    """At the end of an epoch it is as it is in bare Python."""
    body, told = TOLD[what]
    turns = "itertools.cycle('ab')" if "turns" in body else None
    body += "; return torch.full((3,), i / 18)"
    source = KEPT.format(body=body, workers=WORKERS[0], turns=turns)
    source = source.replace("+= 1; return", "+= 1\n        return")
    bench.load(source)
    notes = [s.notes for s in bench.call(keeper({2})).keeper.saved.values()]
    assert notes and all(told in note[0] for note in notes)
    check(source, at="epochs", every=2)


CACHE = "self.cache.setdefault(i, torch.rand(3)); return self.cache[i]"


def test_what_is_neither_has_the_loop_taken_up_at_epochs_only(check):
    """New workers begin each epoch with the dataset that the script has made."""
    _, saved = check(loop(CACHE), kinds=("partial",), skip=("partial",))
    told = "each worker changes its own copy of the dataset's cache (Changing.more, loops.py:"
    assert all(told in snapshot.notes[0] for snapshot in saved.values())
    check(loop(CACHE), at="epochs")


def test_it_is_told_before_the_first_step(bench, keeper):
    """By then the first batch has come, and what its worker has told."""

    class Asker(keeper):
        @hookcore.hookimpl
        def on_train_start(self, run):
            host = run.control.host
            self.verdicts = host.verdict(), host.verdict(inside=True)

    bench.load(loop(CACHE))
    at_epochs, inside = bench.call(Asker()).keeper.verdicts
    assert at_epochs is None
    assert "each worker changes its own copy of the dataset's cache" in inside


def test_workers_that_are_kept_keep_it_from_epoch_to_epoch(check):
    """So there is no head at which the loop could be taken up."""
    _, saved = check(loop(CACHE, WORKERS[1]), at="epochs", kinds=("partial",), skip=("partial",))
    assert all("own copy of the dataset's cache" in s.notes[0] for s in saved.values())


def test_what_a_worker_opens_for_itself_is_opened_again(check):
    """A checkpoint holds no connection; each worker makes its own, as it did."""
    opened = "self.last = self.last or open(__file__ + '.missing', 'a+'); return 1.0"
    check(loop(opened), every=5)


def test_a_dataset_that_only_reads_sends_nothing(check):
    """And is looked at once a class."""
    from hookcore.plain.resume.reading import stored_by

    class Reads(torch.utils.data.Dataset):
        def __init__(self):
            self.items = [1, 2]

        def __getitem__(self, i):
            return self.items[i] * self.scale

        @property
        def scale(self):
            return len(self.items)

    class Counts(Reads):
        @property
        def scale(self):
            self.count = 1
            return self.count

    assert stored_by(Reads) == {}
    (name, where), = stored_by(Counts).items()
    assert (name, where.split(",")[0]) == ("count", "Counts.scale")


def test_only_globals_that_reading_can_get_at_are_looked_at(tmp_path, monkeypatch):
    """Through names, modules' attributes, methods, closures and decorators, from file to file."""
    from hookcore.plain.resume.reading import Reading

    (tmp_path / "reading_data.py").write_text("""
import functools
import reading_tools
class Data:
    def __init__(self): self.then = functools.partial(further, 1)
    def __getitem__(self, i): return self.then(reading_tools.read(i))
def further(n, x): return TABLE[x]
TABLE, UNUSED = [], []
""")
    (tmp_path / "reading_tools.py").write_text("""
import functools
import reading_data
def around(function):
    @functools.wraps(function)
    def inner(i):
        SEEN.append(i)
        return function(i)
    return inner
@around
def read(i):
    global COUNT
    COUNT = reading_data.TABLE
def other(): OTHER.append(1)
SEEN, OTHER = [], []
""")
    monkeypatch.syspath_prepend(tmp_path)
    import reading_data

    names = Reading([reading_data.Data()], {"reading_data", "reading_tools"}).names
    assert {"TABLE", "further"} <= names["reading_data"].keys()
    assert {"SEEN", "COUNT"} <= names["reading_tools"].keys()
    assert not {"UNUSED", "OTHER", "other"} & {name for found in names.values() for name in found}


def test_results_that_a_function_keeps_and_may_have_drawn_are_told(bench, keeper):
    bench.load("""
        import functools

        @functools.lru_cache
        def drawn(n):
            return noise(n)

        def noise(n):
            return random.random() * n

        class Scale:
            @functools.lru_cache
            def half(self, n):
                return n / 2

            @functools.cache
            def drawn(self, n):
                return torch.rand(1).item()

        def train():
            model, optimizer = make()
            scale, losses = Scale(), []
            for epoch in range(3):
                for x in torch.rand(12, 3).split(4):
                    losses.append(update(model, optimizer, x * scale.half(2)))
                losses.append(drawn(epoch) + scale.drawn(epoch))
            return losses
    """)
    for snapshot in bench.call(keeper("epochs")).keeper.saved.values():
        told = [note for note in snapshot.notes if "keeps results, which may be random" in note]
        assert [note.split()[0].rpartition(":")[2] for note in told] == ["drawn", "Scale.drawn"]
