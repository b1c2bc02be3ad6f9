"""Nothing is approximate in silence: what stands in the way is named, with its place and remedy."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import hookcore  # noqa: E402
import hookcore.plain  # noqa: E402
from hookcore.errors import Concern  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TWO_LEVELS = """
def train():
    model, optimizer = make()
    data = torch.rand(12, 3)
    {setup}
    losses = []
    for epoch in range(2):
        {before}
        for x in {over}:
            losses.append(update(model, optimizer, x))
            {inside}
    return losses, total(model)
"""


def two_levels(over="data.split(4)", *, top="", setup="pass", before="pass", inside="pass"):
    return top + TWO_LEVELS.format(over=over, setup=setup, before=before, inside=inside)


STREAM = """
class Stream(IterableDataset):
    {state}
    def __iter__(self):
        for _ in range(6):
            yield torch.rand(3)
"""
LAZY = """
class Lazy(Sampler):
    def __len__(self):
        return 14
    def __iter__(self):
        for _ in range(14):
            yield random.randrange(14)
"""
OWN_ITER = """
class Own(DataLoader):
    def __iter__(self):
        return iter([self.dataset[i].unsqueeze(0) for i in range(6)])
"""
UNREADABLE = """
import dataclasses

@dataclasses.dataclass
class Odd:
    count: int = 0
    def __deepcopy__(self, memo):
        raise ValueError("not to be copied")
"""
INSIDE = {
    "is a comprehension": (
        """
        def train():
            model, optimizer = make()
            data = torch.rand(12, 3)
            losses = []
            for epoch in range(2):
                losses += [update(model, optimizer, x) for x in data.split(4)]
            return losses
        """,
        "write it as a for statement",
    ),
    "iterates over a generator, which cannot be wound forward": (
        two_levels("(x for x in data.split(4))"),
        "iterate over a DataLoader, a range or a list",
    ),
    "is not the first of its epoch that trains": (
        two_levels(before="for y in data.split(6): update(model, optimizer, y)"),
        "train in one loop an epoch",
    ),
    "is evaluated before the loop": (
        """
        def evaluate(model, data):
            model.eval()
            with torch.no_grad():
                model(data)
            model.train()

        def one(model, optimizer, data, losses):
            for x in data.split(4):
                losses.append(update(model, optimizer, x))

        def train():
            model, optimizer = make()
            data = torch.rand(12, 3)
            losses = []
            for epoch in range(3):
                if epoch:
                    evaluate(model, data)
                one(model, optimizer, data, losses)
            return losses, total(model)
        """,
        "evaluate after the loop that trains",
    ),
    "draws random numbers in turn with the training": (
        two_levels("DataLoader(Stream(), 2)", top=STREAM.format(state="pass")),
        "read it in a worker",
    ),
    "the sampler Lazy draws": (
        two_levels("DataLoader(Noisy(14), 4, sampler=Lazy())", top=LAZY),
        "draw the whole order as __iter__ begins",
    ),
    "has an iteration of its own": (
        two_levels("Own(Noisy(14))", top=OWN_ITER),
        "iterate over a DataLoader of torch",
    ),
    "in_order=False": (
        two_levels("DataLoader(Noisy(14), 4, num_workers=1, in_order=False)"),
        "leave in_order at True",
    ),
    "the workers that read the stream Stream are kept": (
        two_levels(
            "loader",
            top=STREAM.format(state="pass"),
            setup="loader = DataLoader(Stream(), 2, num_workers=1, persistent_workers=True)",
        ),
        "leave persistent_workers at False",
    ),
    "has changed since the head of the loop": (
        two_levels(
            setup="big = torch.zeros(40_000)",
            before="scale = big[0].item()",
            inside="big = big + 1",
        ),
        "bind it anew before it is read",
    ),
    "cannot be read (ValueError: not to be copied)": (
        two_levels(top=UNREADABLE, setup="odd = Odd()", inside="odd.count += 1"),
        "have what raises there be read and copied",
    ),
    "leads to the DataLoader of": (
        two_levels(
            setup="batches = iter(DataLoader(Noisy(60), 4))",
            inside="losses.append(next(batches).sum().item())",
        ),
        "keep the DataLoader in a variable",
    ),
    "that no name of the loop leads to": (
        two_levels(
            top="import queue\n",
            setup="kept = queue.SimpleQueue(); kept.put(iter(DataLoader(Noisy(60), 4)))",
            inside="it = kept.get(); losses.append(next(it).sum().item()); kept.put(it); del it",
        ),
        "keep its iterator in a variable",
    ),
    "stream is a builtins.zip, whose place cannot be saved": (
        two_levels(
            setup="stream = zip(range(40), range(40))",
            inside="losses.append(next(stream)[0] * 0.5)",
        ),
        "make it a list",
    ),
    "lies in too many objects within objects": (
        two_levels(
            top="class Node:\n    def __init__(self, inner): self.inner = inner",
            setup="head = None\n    for _ in range(40): head = Node(head)",
            inside="losses.append(0.5 if head.inner else 1.0)",
        ),
        "keep them in a list, or in a dictionary",
    ),
    "the loop binds scale to a function, which no checkpoint can make again": (
        two_levels(
            setup="scale = lambda x: x",
            before="if epoch: scale = lambda x: 2 * x",
            inside="losses.append(scale(losses[-1]))",
        ),
        "make it before the loop, or anew in each epoch",
    ),
    "the loop binds loader to a DataLoader": (
        two_levels(
            "loader",
            setup="loader = DataLoader(data, 4)",
            before="if epoch: loader = DataLoader(data + 1, 4)",
        ),
        "make it before the loop, or anew in each epoch",
    ),
    "the loop has made optimizer anew, or of other parts": (
        two_levels(before="if epoch: optimizer = torch.optim.SGD(model.parameters(), 0.1)"),
        "make all parts and optimizers before the loop",
    ),
    "the loop has made model anew, or of other parts": (
        two_levels(before="if epoch: model.append(nn.Linear(1, 1))"),
        "make all parts and optimizers before the loop",
    ),
    "no name of the loop leads to a tensor": (
        """
        def train():
            make()
            def made():
                yield torch.zeros(3, requires_grad=True)
            optimizer = torch.optim.SGD(list(made()), lr=0.1)
            for epoch in range(2):
                for i in range(3):
                    optimizer.zero_grad()
                    sum(p.sum() for g in optimizer.param_groups for p in g["params"]).backward()
                    optimizer.step()
        """,
        "keep it in a variable, or on self",
    ),
}


def first_line(note):
    return note.partition("\n")[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("why", INSIDE)
def test_what_stands_in_the_way_has_a_place_and_a_remedy(bench, keeper, why):
    """The checkpoint says so, and is marked as one that no resume takes."""
    source, remedy = INSIDE[why]
    bench.load(source)
    saved = bench.call(keeper("all")).keeper.saved
    partial = [s for s in saved.values() if s.header.kind == "partial"]
    assert partial
    for snapshot in partial:
        said, _, way_out = snapshot.notes[0].partition("\n  ")
        assert said.startswith("it cannot be resumed from: ")
        assert why in said
        assert re.search(r"loops\.py:\d+", said)
        assert way_out.startswith(remedy)
        assert snapshot.levels == [] and snapshot.variables == {}


@pytest.mark.parametrize("why", INSIDE)
def test_a_loop_is_exact_or_says_that_it_is_not(bench, keeper, why):
    """Each head is taken up again with the same bits, or is not taken up."""
    bench.load(INSIDE[why][0])
    bare = bench.call()
    for snapshot in bench.call(keeper("all")).keeper.saved.values():
        if snapshot.header.kind != "partial":
            again = bench.call(keeper(start=snapshot))
            assert (again.result, again.rng) == (bare.result, bare.rng)


REMEDIES = {
    "a DataLoader that is gone is still iterated over": (
        """
        def train():
            model, optimizer = make()
            losses = []
            {a}
            for epoch in range(2):
                for i, x in enumerate({b}):
                    losses.append(update(model, optimizer, x))
            return losses, total(model)
        """,
        {"a": "pass", "b": "DataLoader(Noisy(12), 4, num_workers=1, persistent_workers=True)"},
        {
            "a": "loader = DataLoader(Noisy(12), 4, num_workers=1, persistent_workers=True)",
            "b": "loader",
        },
    ),
    "have begun batches that the loop has not taken": (
        """
        def train():
            model, optimizer = make()
            loader = DataLoader(Noisy(16), 4, num_workers=1, persistent_workers=True)
            losses = []
            for epoch in range(2):
                for i, x in enumerate(loader):
                    losses.append(update(model, optimizer, x))
                    {a}
            return losses, total(model)
        """,
        {"a": "if i == 1: break"},
        {"a": "pass"},
    ),
    "the state of Told cannot be read (KeyError: 'at')": (
        """
        class Told(IterableDataset):
            def __init__(self):
                self.at = 0
            def __iter__(self):
                while self.at < 12:
                    self.at += 1
                    yield torch.full((3,), self.at / 12)
                self.at = 0
            def state_dict(self):
                return {a}
            def load_state_dict(self, state):
                self.at = state["at"]

        def train():
            model, optimizer = make()
            loader = DataLoader(Told(), 4)
            losses = []
            for epoch in range(2):
                for x in loader:
                    losses.append(update(model, optimizer, x))
            return losses, total(model)
        """,
        {"a": "{{}['at']: 1}"},
        {"a": "{'at': self.at}"},
    ),
}


@pytest.mark.parametrize("why", REMEDIES)
def test_a_remedy_that_is_taken_has_the_loop_taken_up(bench, check, keeper, why):
    source, before, after = REMEDIES[why]

    def filled(parts):
        text = source
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", part)
        return text

    bench.load(filled(before))
    saved = bench.call(keeper("all")).keeper.saved
    notes = [s.notes[0] for s in saved.values() if s.header.kind == "partial"]
    assert any(why in note for note in notes), notes
    check(filled(after))


PLUGIN = "plugins/hookcore-checkpoint/tests/test_remedies.py"
ELSEWHERE = {
    "see:  hookcore explain": "tests/explain",
    "it is from the next epoch on; this one is continued at its end": "tests/resume/test_shapes.py",
    "instrument() the function that holds the loop over epochs": PLUGIN,
    "run the script with hookcore run": PLUGIN,
    "move it into a function, or to the top of the script": PLUGIN,
    "call iter() of the DataLoader inside the run": PLUGIN,
    "take every batch of the pass": "tests/resume/test_concerns.py",
    "make the DataLoader before the loop over epochs": "tests/resume/test_concerns.py",
    "mend its state_dict": "tests/resume/test_concerns.py",
    "hand it to the function that holds the loop": "tests/resume/test_loaders.py",
    "keep no more there than a few numbers or texts": "tests/resume/test_copies.py",
    "change it between two epochs": "tests/resume/test_copies.py",
    "begin the DataLoader's first pass inside the run": "tests/resume/test_loaders.py",
    "have its state_dict give plain values and tensors": "tests/resume/test_stateful.py",
}
"""Where those remedies are taken that are not of ``INSIDE``; its own are in test_remedies.py."""


def concerns():
    """Each that is written in the source: the words of its sentence, and its remedy."""
    folder = Path(hookcore.plain.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Concern":
                yield path.name, node.args


def test_every_concern_has_a_remedy_that_a_test_knows():
    known = [remedy for _, remedy in INSIDE.values()] + list(ELSEWHERE)
    root = Path(__file__).parents[2]
    assert all((root / place).exists() for place in ELSEWHERE.values())
    found = list(concerns())
    assert len(found) > 20
    for file, (_, remedy) in found:
        assert isinstance(remedy, ast.Constant), file
        text = remedy.value
        assert any(text.startswith(one) or one in text for one in known), (file, text)


def test_a_concern_is_its_sentence_and_can_be_copied():
    concern = Concern("the loop is odd", "mend it").at("train.py:3")
    assert concern == "the loop is odd (the loop at train.py:3)"
    assert concern.at("other.py:4") is concern
    for copied in (copy.copy(concern), copy.deepcopy(concern)):
        assert (copied, copied.remedy) == (concern, "mend it")
    assert concern.lines == f"{concern}\n  mend it"
