"""Loops that do not train are let be, and watched again when there is a reason."""

from __future__ import annotations

import textwrap

import pytest

from hookcore import hookimpl
from hookcore.plain import gate, table

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]


class Watch:
    """Writes down at each epoch's end the lines of the loops that nobody watches."""

    name = "watch"

    def __init__(self):
        self.lines = []

    @hookimpl
    def on_epoch_end(self):
        self.lines.append(sorted(table.SITES[site].line for site in gate.dead))


def let_be(lab, source):
    """Line of each loop by its comment's word, and what was let be at each epoch's end."""
    module = lab.module(source, prelude=PRELUDE)
    watch = Watch()
    outcome = lab.play(module.train, plugins=[watch])
    text = PRELUDE + textwrap.dedent(source)
    words = {
        number: line.partition("# ")[2]
        for number, line in enumerate(text.splitlines(), 1)
        if "# " in line
    }
    return [[words[line] for line in lines if line in words] for lines in watch.lines], outcome


PRELUDE = """
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

X, Y = torch.randn(16, 4), torch.randint(0, 3, (16,))
PARTS = list(zip(X.split(8), Y.split(8)))

def make():
    model = torch.nn.Linear(4, 3)
    return model, torch.optim.SGD(model.parameters(), 0.1)

def update(model, optimizer, x, y):
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()

def by_hand(model, x, y):
    F.cross_entropy(model(x), y).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
            p.grad = None

def helper(*_):
    return 1
"""


def test_in_a_fit_one_pass_is_enough(lab):
    """Whatever it is written as; a loop that was not even entered is none that was seen."""
    found, _ = let_be(lab, """
    def train():
        model, optimizer = make()
        for epoch in range(3):
            for x, y in PARTS:
                update(model, optimizer, x, y)
            for n in range(3):  # for
                helper(n)
            n = 0
            while n < 3:  # while
                n += helper(n)
            [helper(n) for n in range(3)]  # comprehension
            for n in [] if epoch < 2 else [1]:  # empty
                helper(n)
    """)  # fmt: skip
    assert found[0] == ["for", "while", "comprehension"]
    assert found[1] == ["for", "while", "comprehension"]
    assert found[2] == ["for", "while", "comprehension", "empty"]


def test_a_loop_in_a_batch_is_let_be_too(lab):
    """It is entered in each of them."""
    found, outcome = let_be(lab, """
    def train():
        model, optimizer = make()
        for epoch in range(2):
            for x, y in PARTS:
                update(model, optimizer, x, y)
                for p in model.parameters():  # parameters
                    helper(p)
    """)  # fmt: skip
    assert found == [["parameters"], ["parameters"]]
    assert outcome.story == "T( E( b s . b s . )E E( b s . b s . )E )T R"


def test_what_evaluates_or_reads_a_loader_is_watched(lab):
    """A validation's loop, and a loader's, which may be the next phase's training."""
    found, outcome = let_be(lab, """
    def train():
        model, optimizer = make()
        data = DataLoader(TensorDataset(X, Y), 8)
        for epoch in range(2):
            for x, y in data:
                update(model, optimizer, x, y)
            with torch.no_grad():
                for x, y in PARTS:  # validation
                    helper(model(x))
            for x, y in data:  # loader
                helper(x)
    """)  # fmt: skip
    assert found == [[], []]
    assert outcome.run.fit.validations == 2


def test_before_a_fit_a_pass_proves_nothing(lab):
    """Epochs that only warm up: the loop that trains later is the loop of batches."""
    _, outcome = let_be(lab, """
    def once(model, optimizer, x, y, trains):
        if trains:
            update(model, optimizer, x, y)

    def train():
        model, optimizer = make()
        for epoch in range(5):
            for x, y in PARTS:
                once(model, optimizer, x, y, epoch > 2)
    """)  # fmt: skip
    assert outcome.run.fit.epochs_done == 5
    assert outcome.run.fit.batches == 10


def test_a_function_that_first_ran_over_the_data_without_training_is_followed(lab):
    """However long its loop is: before a fit passes count, and not their iterations."""
    _, outcome = let_be(lab, """
    def once(model, optimizer, trains):
        for x, y in PARTS * 100:
            if trains:
                update(model, optimizer, x, y)

    def train():
        model, optimizer = make()
        once(model, optimizer, False)
        for epoch in range(2):
            once(model, optimizer, True)
    """)  # fmt: skip
    fit = outcome.run.fit
    assert (fit.epochs_done, fit.batches, fit.step) == (2, 400, 400)


ENTERED = """
def episode(model, optimizer, trains):
    for x, y in PARTS:  # episode
        if trains:
            {update}

def train():
    model, optimizer = {make}
    for epoch in range(150):
        episode(model, optimizer, epoch >= 120)
"""


@pytest.mark.parametrize(
    ("make", "update"),
    [("make()", "update(model, optimizer, x, y)"), ("make()[0], None", "by_hand(model, x, y)")],
)
def test_a_fit_begins_with_a_pass_that_is_watched(lab, make, update):
    """What has done nothing in a hundred passes is let be, and watched from its next pass on."""
    found, outcome = let_be(lab, ENTERED.replace("{make}", make).replace("{update}", update))
    fit = outcome.run.fit
    assert (fit.epochs_done, fit.batches) == (150, 2 * (100 + 29))  # each pass that was watched
    assert found[-1] == []


def test_a_loop_that_trains_after_all_is_watched_again(lab):
    """From its next entry on: its first steps have no batch, and tell that there is one."""
    found, outcome = let_be(lab, """
    def once(model, optimizer, x, y, trains):
        if trains:
            update(model, optimizer, x, y)

    def train():
        model, optimizer = make()
        for epoch in range(5):
            for x, y in PARTS:
                update(model, optimizer, x, y)
            for x, y in PARTS:  # second
                once(model, optimizer, x, y, epoch > 1)
    """)  # fmt: skip
    assert found == [["second"], ["second"], [], [], []]
    fit = outcome.run.fit
    assert (fit.epochs_done, fit.step) == (5, 16)
    assert fit.batches == 5 * 2 + 2 * 2  # all but the two of the epoch in which it began


def test_the_next_fit_looks_anew(lab):
    """What did nothing in the first training may be all of the second."""
    _, outcome = let_be(lab, """
    def loop(model, optimizer, trains):
        for x, y in PARTS:  # both
            if trains:
                helper(update(model, optimizer, x, y))

    def train():
        for fold in range(2):
            model, optimizer = make()
            for epoch in range(2):
                if fold == 0:
                    for x, y in PARTS:
                        update(model, optimizer, x, y)
                loop(model, optimizer, fold == 1)
    """)  # fmt: skip
    assert outcome.run.fits == 2
    assert outcome.story == " ".join(["T( E( b s . b s . )E E( b s . b s . )E )T"] * 2) + " R"


def test_recursion_keeps_its_outer_loop(lab):
    """A site that still runs further out is watched until it is left."""
    found, outcome = let_be(lab, """
    def walk(depth):
        for n in range(2):  # recursive
            if depth:
                walk(depth - 1)
            elif n:
                break

    def train():
        model, optimizer = make()
        for epoch in range(2):
            for x, y in PARTS:
                update(model, optimizer, x, y)
            walk(2)
    """)  # fmt: skip
    assert found == [["recursive"], ["recursive"]]
    assert outcome.story == "T( E( b s . b s . )E E( b s . b s . )E )T R"


def test_after_the_run_no_loop_is_remembered(lab):
    """All ``while`` loops cost their guard alone, and every ``for`` its one look for a run."""
    let_be(lab, """
    def train():
        model, optimizer = make()
        for epoch in range(2):
            for x, y in PARTS:
                update(model, optimizer, x, y)
            for n in range(3):  # for
                helper(n)
    """)  # fmt: skip
    assert all(table.SITES[site].kind == "while" for site in gate.dead)
