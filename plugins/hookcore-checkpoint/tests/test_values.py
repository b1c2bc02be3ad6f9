"""Which checkpoint a value is of: arithmetic alone, but for one run."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from hookcore_checkpoint.retention import kept
from hookcore_checkpoint.values import Values


def test_a_value_is_of_the_checkpoint_that_comes_next():
    values = Values()
    values.arrived(0.5, step=8, saved=4, number=1)

    assert values.take(step=8, saved=4) == 0.5
    assert values.take(step=12, saved=8) is None  # of one alone
    assert values.late == {}


def test_or_of_the_one_at_its_own_step():
    """The loop validates before it trains."""
    values = Values()
    values.arrived(0.5, step=4, saved=4, number=1)

    assert values.late == {1: 0.5}
    assert values.take(step=8, saved=4) is None


def test_or_of_both_at_that_step():
    """An epoch's last step, and its end."""
    values = Values()
    values.arrived(0.5, step=4, saved=4, number=1)

    assert values.take(step=4, saved=4) == 0.5


def test_where_none_is_at_its_step_the_next_one_is_the_nearest():
    values = Values()
    values.arrived(0.5, step=6, saved=4, number=1)

    assert values.take(step=8, saved=4) == 0.5
    assert values.late == {}


def test_a_value_that_comes_later_is_of_the_step_at_which_it_was_measured():
    values = Values()
    values.measured(4)
    values.arrived(0.5, step=8, saved=4, number=1)

    assert values.late == {1: 0.5}
    values.measured(8)
    values.start()
    values.arrived(0.7, step=12, saved=8, number=2)
    assert values.late == {1: 0.5}


def test_what_was_not_written_gives_its_value_back():
    values = Values()
    values.arrived(0.5, step=8, saved=4, number=1)
    values.give_back(values.take(step=8, saved=4))

    assert values.take(step=12, saved=4) == 0.5
    values.late = {1: 0.1, 2: 0.2}
    values.keep(frozenset({2}))
    assert values.late == {2: 0.2}


def test_a_later_checkpoint_tells_the_value_of_an_earlier_one():
    about = SimpleNamespace(header=SimpleNamespace(kind="epoch"), position={"fit": 0})
    labels = [
        {"number": 3, "monitor": "loss", "value": None, "late": {2: 0.1}},
        {"number": 1, "monitor": "loss", "value": 0.5},  # an older hookcore's
        {"number": 2, "monitor": "loss", "value": 0.4, "late": {}},
    ]
    found = [(label["number"], about, label) for label in labels]

    assert [(one.key, one.value) for one in kept(found, "loss")] == [(1, 0.5), (2, 0.1), (3, None)]
    assert [one.value for one in kept(found, "accuracy")] == [None] * 3


FIRST = """
import torch
from torch import nn

def main():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    x = torch.ones(1, 1)
    for epoch in range(6):
        model.eval()
        with torch.no_grad():
            val_loss = (model(x) + 2).abs().item()
        model.train()
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    print(model.weight.item())

main()
"""


@pytest.mark.torch
def test_a_loop_that_validates_before_it_trains_gets_the_weights_that_were_validated(desk):
    options = "-o", "checkpoint.keep_best=1", "-o", "checkpoint.keep_last=1"
    load = "-o", "checkpoint.load_best=yes"
    name = desk.put("first.py", FIRST)
    ended = desk.run(*options, *load, name)

    assert ended.out == "-2.0\n"
    assert re.search("puts back .*, 0, of checkpoints/first/epoch-0002-step-000002", ended.err)
    assert desk.checkpoints("first") == ["epoch-0002-step-000002", "epoch-0006-step-000006"]
    killed = desk.run(*options, "-o", "striker.hit=epoch/5/SIGKILL", name)
    assert killed.status == -9
    assert desk.run("--resume", *options, *load, name).out == "-2.0\n"
