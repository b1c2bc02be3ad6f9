"""What has stood still for some epochs, and moves then: it is back at every head like all else."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LATE = {
    "a number": ("RATE = 1.0", "global RATE; RATE = 1.5", "RATE"),
    "a list": ("RATES = [1.0, 2.0]", "RATES.append(0.5)", "sum(RATES)"),
    "a list that was empty": ("RATES = []", "RATES.append(1.5)", "sum(RATES, 1.0)"),
    "an item of a list": ("RATES = [1.0, 2.0]", "RATES[1] = 2.5", "sum(RATES)"),
    "an item that goes from list to list": (
        "ONE, OTHER = [1.0, 2.0], [3.0]",
        "OTHER.insert(0, ONE.pop())",
        "sum(ONE) + 0.5 * sum(OTHER)",
    ),
    "a dictionary": ("RATES = {'x': 1.0}", "RATES['x'] = 1.5", "RATES['x']"),
    "a key": ("RATES = {'x': 1.0}", "RATES['y'] = RATES.pop('x')", "RATES.get('y', 2.0)"),
    "a set": ("SEEN = {1, 2}", "SEEN.add(7)", "sum(SEEN)"),
    "a function": (
        "def one(x): return x\ndef other(x): return 1.5 * x\nCHOSEN = one",
        "global CHOSEN; CHOSEN = other",
        "CHOSEN(1.0)",
    ),
    "an attribute of a function": (
        "def step(): pass",
        "step.rate = 1.5",
        "getattr(step, 'rate', 1.0)",
    ),
    "a default": ("def rate(seen=[1.0]): return seen", "rate().append(0.5)", "sum(rate())"),
    "a cell": (
        """
def made():
    rate = 1.0
    def rise():
        nonlocal rate
        rate += 0.5
    def read():
        return rate
    return rise, read

rise, read = made()
""",
        "rise()",
        "read()",
    ),
    "an attribute of a class": ("class Run:\n    rate = 1.0", "Run.rate = 1.5", "Run.rate"),
    "a list of a class": ("class Run:\n    rates = [1.0]", "Run.rates += [0.5]", "sum(Run.rates)"),
    "an attribute of a base": (
        "class Base:\n    rate = 1.0\nclass Run(Base):\n    def __init__(self): super().__init__()",
        "Base.rate = 1.5",
        "Run().rate",
    ),
    "an attribute of a method": (
        "class Run:\n    def step(self): super().__init__()",
        "Run.step.rate = 1.5",
        "getattr(Run.step, 'rate', 1.0)",
    ),
    "a name that was not there": (
        "",
        "global RATE; RATE = 1.5",
        "globals().get('RATE', 1.0)",
    ),
    "a number by its name": ("RATE = 1.0", "globals()['RATE'] = 1.5", "RATE"),
    "a number that was none": ("RATE = None", "global RATE; RATE = 1.5", "RATE or 1.0"),
    "a tuple": ("RATES = (1.0, 2.0)", "global RATES; RATES += (0.5,)", "sum(RATES)"),
    "an object": (
        "import threading\nRATE = threading.Lock()",
        "global RATE; RATE = 1.5",
        "1.0 if hasattr(RATE, 'locked') else RATE",
    ),
}
SOURCE = """
{made}

def moves():
    {moved}

def train():
    model, optimizer = make()
    losses = []
    for epoch in range(4):
        if epoch == 2:
            moves()
        for x in DataLoader(Noisy(6), 3):
            losses.append(update(model, optimizer, x * ({read})))
    return losses, total(model)
"""


@pytest.mark.parametrize("what", LATE)
def test_what_moves_late(check, what):
    """Its value is that of the head where the run goes on, however long it stood before."""
    made, moved, read = LATE[what]
    check(SOURCE.format(made=made, moved=moved, read=read), every=3)  # before, after; both kinds
