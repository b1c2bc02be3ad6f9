"""What an epoch's head costs where checkpoints are taken: calls, whatever a project is made of."""

from __future__ import annotations

import functools
import itertools
import sys
import textwrap

import pytest

pytest.importorskip("torch")

import hookcore
from hookcore.plain import gate, table
from hookcore.plain.rewriting.rewrite import rewrite
from hookcore.plain.rewriting.snippets import GATE

pytestmark = [
    pytest.mark.torch,
    pytest.mark.plugins,
    pytest.mark.usefixtures("fewer_objects"),
]

LOOP = """
import torch

def train(mark):
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], 0.1)
    for epoch in range(8):
        mark()
        for batch in [torch.ones(7), torch.ones(7)]:
            optimizer.zero_grad()
            weight.pow(2).backward()
            optimizer.step()
"""

DEFINITIONS = """
import enum
import functools
import logging
import torch
from torch import nn

LOG = logging.getLogger(__name__)
SIZE, RATE, NAME = 32, 0.1, "net"
SHAPE = (3, 32, 32)

class Kind(enum.Enum):
    ONE = 1

class Block(nn.Module):
    rate = 0.1
    def __init__(self, width):
        super().__init__()
        self.width = width
    def forward(self, x):
        return x

class Wide(Block):
    '''Another.'''
    @property
    def wide(self):
        return True
    @staticmethod
    def made(width=SIZE):
        return Wide(width)

def logged(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner

@logged
def one(x, rate=0.1):
    return x

@torch.no_grad()
def other(x, *, seen=()):
    return x

@functools.lru_cache
def third(x):
    return x
"""
NOISE = 1
"""Twenty calls an epoch: whether a thread has written the last checkpoint goes by the clock."""

TABLES = "\n".join(f"NAMES_{i} = ['one', 'other']\nRATES_{i} = {{'x': 0.1}}" for i in range(10))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """Calls of an epoch with its head, once the first epochs are over."""
    folder, made = tmp_path_factory.mktemp("heads"), []

    def load(name, text):
        path = folder / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        module = type(sys)(name)
        vars(module).update({"__file__": str(path), GATE: gate})
        sys.modules[name] = module
        made.append(name)
        exec(rewrite(path.read_text(), str(path), name), vars(module))
        return module

    @functools.cache
    def calls(modules, text, loop=LOOP):
        seen, marks = 0, []

        def count(_frame, event, _argument):
            nonlocal seen
            seen += event in ("call", "c_call")

        def mark():
            marks.append(seen)

        for _ in range(modules):
            load(f"part_{len(made)}", text)
        train = load(f"loop_{len(made)}", loop).train
        options = {"checkpoint": {"directory": str(folder / str(len(made)))}}
        run = hookcore.run(only=["checkpoint"], options=options, quiet=True)
        sys.setprofile(count)
        try:
            with run:
                train(mark)
        finally:
            sys.setprofile(None)
            forget()
        return min(b - a for a, b in itertools.pairwise(marks[3:]))

    def forget():
        for name in made:
            sys.modules.pop(name, None)
        for key in [key for key in table.FILES if key[1] in made]:
            del table.FILES[key]

    yield calls
    forget()


def added(head, text, **how):
    """Calls of an epoch that each further module of a text adds."""
    few, many = (head(count, text, **how) for count in (2, 22))
    return (many - few) / 20


def test_functions_classes_and_numbers(head):
    """They are looked at once: a module of them adds what an empty one does, its digest's name."""
    empty = added(head, "")
    assert empty <= 8
    assert added(head, DEFINITIONS) <= empty + NOISE


def test_what_moves_is_looked_at_alone(head):
    """A list that grows with each epoch, and an attribute that changes, have no other looked at."""
    moves = LOOP.replace("mark()", "mark(); HISTORY.append(epoch); train.epoch = epoch")
    assert added(head, DEFINITIONS, loop=f"{moves}\nHISTORY = []") <= added(head, "") + NOISE


def test_lists_and_dictionaries(head):
    """They are in each checkpoint: some twenty calls for each."""
    assert added(head, TABLES) - added(head, "") <= 20 * 26


def test_a_project_that_changes_names_by_strings(head):
    """Of each name a checkpoint says to what it is bound: ten calls for each, methods too."""
    names = 20
    loop = f"{LOOP}\ndef shown():\n    return vars()"
    assert added(head, DEFINITIONS, loop=loop) - added(head, "", loop=loop) <= 10 * names
