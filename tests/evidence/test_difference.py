"""The first difference of two accounts, and whose fault it is."""

from __future__ import annotations

import pytest

from hookcore.evidence import Intervention, first_difference
from hookcore.evidence.difference import differences, unbound, unseeded
from hookcore.evidence.proof import Proof
from hookcore.evidence.result import Result

STEPS = (
    ("backward", {"loss": {"loss": "1"}}),
    ("step", {"weights": {"w": "2"}, "variable": {"x": "3"}}),
    ("step", {"weights": {"w": "4"}, "variable": {"x": "5"}}),
)


def changed(number, kind, name, value):
    """The steps with one value another; None: not there."""
    steps = [(what, {k: dict(v) for k, v in items.items()}) for what, items in STEPS]
    if value is None:
        del steps[number][1][kind][name]
    else:
        steps[number][1].setdefault(kind, {})[name] = value
    return steps


def test_equal(made):
    """Equal accounts differ in nothing."""
    assert first_difference(made(*STEPS, end={}), made(*STEPS, end={})) == (None, [])


@pytest.mark.parametrize(
    ("number", "kind", "name"),
    [(0, "loss", "loss"), (1, "weights", "w"), (2, "variable", "x")],
)
def test_a_value(made, number, kind, name):
    """One value that is another is found, with its step, its place and both values."""
    other = made(*changed(number, kind, name, "9"), end={})
    first, also = first_difference(made(*STEPS, end={}), other)
    assert (first.kind, first.name, first.number) == (kind, name, number)
    assert (first.step, first.where) == (number + 1, f"train.py:{number}")
    assert first.one.shown == STEPS[number][1][kind][name]
    assert (first.other.shown, also) == ("9", [])


def test_a_missing_variable(made):
    """A variable that one side lacks is a difference."""
    first, _ = first_difference(made(*STEPS), made(*changed(1, "variable", "x", None)))
    assert (first.name, first.other.shown) == ("x", "not there")


def test_a_variable_that_a_resume_leaves_out(made):
    """Unbound it can harm nothing, and is named; with another value it is a difference."""
    whole = made(*STEPS, end={})
    resumed = made(*changed(1, "variable", "x", None), end={}, resumed=(0, 0))
    assert first_difference(whole, resumed) == (None, [])
    assert unbound(whole, resumed) == {"x"}
    resumed = made(*changed(1, "variable", "x", "9"), end={}, resumed=(0, 0))
    assert first_difference(whole, resumed)[0].name == "x"


def test_a_batch_of_a_loader_that_has_not_begun(made):
    """A resumed run has not met every loader yet: only what both have taken is compared."""
    one = made(*changed(1, "batch", "validation", "7"))
    assert first_difference(one, made(*STEPS)) == (None, [])
    assert first_difference(one, made(*changed(1, "batch", "validation", "8")))[0] is not None


def test_causes_come_first(made):
    """In one moment a batch stands before weights, weights before variables."""
    steps = changed(1, "weights", "w", "9")
    steps[1][1]["variable"] = {"x": "8"}
    first, also = first_difference(made(*STEPS), made(*steps))
    assert (first.kind, [one.kind for one in also]) == ("weights", ["variable"])


def test_what_goes_on_from_the_middle(made):
    """Moments that a resumed run has passed over are not compared."""
    whole, resumed = made(*STEPS, end={}), made(*changed(0, "loss", "loss", "9"), end={})
    del resumed.moments[0]
    assert first_difference(whole, resumed) == (None, [])


def test_one_ends_earlier(made):
    """A run that ends before the other differs there."""
    first, _ = first_difference(made(*STEPS, end={}), made(*STEPS[:2], end={}))
    assert (first.kind, first.number) == ("course", 2)
    assert (first.one.shown, first.other.shown) == ("a step at train.py:2", "nothing more")
    first, _ = first_difference(made(*STEPS[:2], end={}), made(*STEPS, end={}))
    assert (first.one.shown, first.other.shown) == ("nothing more", "a step at train.py:2")


def test_a_killed_run_is_compared_up_to_its_death(made):
    """It has no end, and what it has not come to is no difference."""
    assert first_difference(made(*STEPS, end={}), made(*STEPS[:2], killed=True)) == (None, [])


def test_another_way_to_end(made):
    """Exit codes and exceptions are compared."""
    one, other = made(*STEPS, end={}), made(*STEPS, end={}, exit="exit code 3")
    first, _ = first_difference(one, other)
    assert (first.kind, first.one.shown) == ("end", "it ends by itself")
    assert first.other.shown == "exit code 3"


def test_what_is_known_to_vary(made):
    """It is left out, and nothing else."""
    other = made(*changed(1, "variable", "x", "9"))
    assert first_difference(made(*STEPS), other, {("variable", "x")}) == (None, [])
    assert len(list(differences(made(*STEPS), other, {("variable", "y")}))) == 1


def test_streams_that_nobody_seeds(made):
    """A stream that differs from before the first line on is the system's seed."""

    def run(python, torch):
        steps = [("step", {"random stream": {"python": python, "torch": torch}})] * 2
        found = made(*steps)
        begin = {"random stream": {"python": python, "torch": "0"}}
        found.begin = made(("begin", begin)).moments[0]
        return found

    assert unseeded(run("a", "1"), run("b", "1")) == {("random stream", "python")}
    assert unseeded(run("a", "1"), run("a", "2")) == set()  # it has been drawn from
    seeded = run("b", "1")
    seeded.moments[1] = run("a", "1").moments[1]
    assert unseeded(run("a", "1"), seeded) == set()  # the script has set it


class Bench:
    """Gives accounts that are there already."""

    by_hand = False

    def __init__(self, *accounts):
        self.accounts = list(accounts)

    def run(self, **_):
        return self.accounts.pop(0)

    def fresh(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def written(self):
        return []

    copied = True


def proof(*accounts, **more):
    """A proof over these accounts, and its result."""
    result = Result(target="train.py", question="interference")
    found = Proof(Bench(*accounts), result, ["earlystop", "lr"], lambda _: None, **more)
    return found, result


def test_two_runs_are_enough(made):
    """Where nothing differs, no third one is needed."""
    found, result = proof(made(*STEPS, end={}), made(*STEPS, end={}))
    assert found.holds()
    assert result.equal
    assert result.compared["steps"] == 2


def test_the_script_s_own_chance(made):
    """Two runs without hookcore that differ are the script's affair, and said so."""
    other = made(*changed(0, "loss", "loss", "9"), end={})
    again = made(*changed(0, "loss", "loss", "8"), end={})
    found, result = proof(made(*STEPS, end={}), other, again)
    assert not found.holds()
    assert (result.cause, result.difference.other.shown) == ("script", "8")


def test_a_clock_is_left_out(made):
    """A variable that varies without hookcore too is left out, and named."""
    other, again = (made(*changed(1, "variable", "x", text), end={}) for text in "98")
    found, result = proof(made(*STEPS, end={}), other, again)
    assert found.holds()
    assert result.known == [("variable", "x")]


def test_a_plugin_interferes(made):
    """What only the run with plugins has is the plugins'."""
    other = made(*changed(1, "weights", "w", "9"), end={})
    found, result = proof(made(*STEPS, end={}), other, made(*STEPS, end={}))
    assert not found.holds()
    assert (result.cause, result.difference.name) == ("plugins", "w")


def test_an_announced_intervention(made):
    """A stop that a plugin has announced ends the comparison, and is named."""
    stopped = made(*STEPS[:2], end={})
    stopped.interventions.append(Intervention("earlystop", "stopped the training", 2, 2, False))
    found, result = proof(made(*STEPS, end={}), stopped)
    assert found.holds()
    assert result.intervention.by == "earlystop"
    assert result.compared["steps"] == 1


@pytest.mark.parametrize(("name", "by", "holds"), [
    ("o.param_groups[0].lr", "lr", True),
    ("o.param_groups[0].lr", "the loop", False),
    ("o.state[0].step", "lr", False),
])
def test_a_rate(made, name, by, holds):
    """A rate counts as a plugin's doing where it is a rate that differs, and the plugin's own."""
    other = made(*changed(1, "optimizer", name, "9"), end={})
    one = made(*changed(1, "optimizer", name, "1"), end={})
    other.interventions.append(Intervention(by, "changed the rate", 1, 1, True))
    found, result = proof(one, other, one)
    assert found.holds() is holds
    assert (result.cause is None) is holds


def test_what_is_printed(made):
    """It is compared on request, and the first line that differs is shown."""
    runs = [made(*STEPS, end={}, printed=f"a\n{text}\n") for text in "bc"]
    found, result = proof(*runs, print_too=True)
    assert not found.holds()
    assert result.printed_differs == (2, "b", "c")
    assert proof(*runs)[0].holds()
