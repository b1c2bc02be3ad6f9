"""However a loop is left, every start has one end, innermost first, with the right ``how``.

Programs are generated as source text: nests of loops of all kinds, with functions, ``try`` and
``with`` round them, and one way out of them. Each runs bare, and with sites under a recorder. What
should happen is worked out by a small interpreter of the program's tree that knows nothing of
hookcore's code.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

PRELUDE = """
import contextlib
import random
import torch

log = []
ask = lambda how: None

def make():
    parameter = torch.nn.Parameter(torch.zeros(1))
    return parameter, torch.optim.SGD([parameter], lr=0.1)

def step(pair):
    parameter, optimizer = pair
    optimizer.zero_grad()
    (parameter * torch.rand(1)).sum().backward()
    optimizer.step()
    log.append(f"step {random.random():.6f}")

class Visits:
    def __init__(self):
        self.seen = {}

    def __call__(self, place, wanted):
        self.seen[place] = self.seen.get(place, -1) + 1
        return self.seen[place] == wanted
"""

# -- programs ------------------------------------------------------------------------------


@attrs.frozen
class Step:
    """The optimizer's step."""


@attrs.frozen
class Leave:
    """At its ``visit``-th execution, control goes ``way``; before that and after it, nothing."""

    way: str
    visit: int


@attrs.frozen
class Say:
    """A statement of the user's, seen in the log."""

    text: str


@attrs.frozen
class Loop:
    """A loop: ``for``, ``enumerate``, ``while`` or ``endless``, of ``n`` iterations."""

    kind: str
    n: int
    body: tuple
    orelse: bool


@attrs.frozen
class Guard:
    """``try`` or ``with`` round a body. ``catches`` names the exception that ends here."""

    kind: str
    catches: bool
    body: tuple


@attrs.frozen
class Helper:
    """A body in a function of its own."""

    body: tuple


LOUD = ("raise", "interrupt", "exit")
STOPS = ("stop", "stop now", "stop run")
WAYS = ("none", "break", "continue", "return", *LOUD, *STOPS)


@st.composite
def programs(draw):
    """A nest of one to three loops round a step, with one way out somewhere in it."""
    depth = draw(st.integers(1, 3))
    way = draw(st.sampled_from(WAYS))
    place = draw(st.integers(0, depth - 1))
    visit = draw(st.integers(0, 4))
    body = (Step(),)
    for level in reversed(range(depth)):
        if level == place and way != "none":
            leave = Leave(way, visit)
            inner = draw(st.sampled_from(("plain", "guarded", "finally", "caught")))
            item = {
                "plain": leave,
                "guarded": Guard("with", False, (leave,)),
                "finally": Guard("finally", False, (leave, Say("inside"))),
                "caught": Guard("try", True, (leave,)),
            }[inner]
            # The first step comes before any way out: what went before it is only counted.
            body = (*body, item, Say(f"rest {level}"))
        else:
            body = (*body, Say(f"rest {level}"))
        loop = Loop(
            draw(st.sampled_from(("for", "enumerate", "while", "endless"))),
            draw(st.integers(1, 3)),
            body,
            draw(st.booleans()),
        )
        around = draw(
            st.sampled_from(("plain", "plain", "helper", "try", "with", "finally", "swallow"))
        )
        body = {
            "plain": (loop,),
            "helper": (Helper((loop, Say(f"after {level}"))),),
            "try": (Guard("try", True, (loop,)),),
            "with": (Guard("with", False, (loop,)),),
            "finally": (Guard("finally", False, (loop,)),),
            "swallow": (Guard("with", True, (loop,)),),
        }[around]
    return (*body, Say("after"))


# -- as source -----------------------------------------------------------------------------


class Writer:
    """Writes a program as the text of a module."""

    def __init__(self):
        self.helpers = []
        self.count = 0

    def module(self, program):
        body = "\n".join(self.block(program, 1, ()))
        head = "def train():\n    pair = make()\n    visits = Visits()"
        train = f"{head}\n{body}\n    {SHOW}\n    return 'end'"
        return "\n\n".join((*self.helpers, train)) + "\n"

    def block(self, items, indent, loops):
        return [line for item in items for line in self.item(item, indent, loops)]

    def item(self, item, indent, loops):
        at = "    " * indent
        self.count += 1
        number = self.count
        if isinstance(item, Step):
            return [f"{at}step(pair)"]
        if isinstance(item, Say):
            return [f"{at}log.append({item.text!r})"]
        if isinstance(item, Leave):
            return [f"{at}if visits({number}, {item.visit}):", *self.leave(item, at + "    ")]
        if isinstance(item, Helper):
            lines = self.block(item.body, 1, ())
            self.helpers.append(
                "\n".join(
                    (
                        f"def helper{number}(pair, visits):",
                        *lines,
                        f"    {SHOW}",
                        "    return 'helped'",
                    )
                )
            )
            return [f"{at}got = helper{number}(pair, visits)", f"{at}log.append(got)"]
        if isinstance(item, Guard):
            return self.guard(item, indent, loops)
        return self.loop(item, number, indent, loops)

    @staticmethod
    def leave(item, at):
        if item.way in STOPS:
            return [f"{at}ask({item.way!r})"]
        return {
            "break": [f"{at}break"],
            "continue": [f"{at}continue"],
            "return": [f"{at}return 'returned'"],
            "raise": [f"{at}raise ValueError('x')"],
            "interrupt": [f"{at}raise KeyboardInterrupt"],
            "exit": [f"{at}raise SystemExit(3)"],
        }[item.way]

    def guard(self, item, indent, loops):
        at, body = "    " * indent, self.block(item.body, indent + 1, loops)
        if item.kind == "with":
            manager = (
                "contextlib.suppress(ValueError)" if item.catches else "contextlib.nullcontext()"
            )
            return [f"{at}with {manager}:", *body]
        if item.kind == "finally":
            return [f"{at}try:", *body, f"{at}finally:", f"{at}    log.append('finally')"]
        return [
            f"{at}try:",
            *body,
            f"{at}except ValueError as error:",
            f"{at}    log.append('caught')",
        ]

    def loop(self, item, number, indent, loops):
        at, name = "    " * indent, f"i{number}"
        body = self.block(item.body, indent + 1, (*loops, number))
        if item.kind in ("for", "enumerate"):
            given = f"range({item.n})" if item.kind == "for" else f"enumerate(range({item.n}))"
            target = name if item.kind == "for" else f"{name}, same{number}"
            lines = [
                f"{at}for {target} in {given}:",
                f"{at}    log.append(f'loop {number} {{{name}}}')",
            ]
        elif item.kind == "while":
            lines = [
                f"{at}{name} = -1",
                f"{at}while {name} < {item.n - 1}:",
                f"{at}    {name} += 1",
                f"{at}    log.append(f'loop {number} {{{name}}}')",
            ]
        else:
            lines = [
                f"{at}{name} = -1",
                f"{at}while True:",
                f"{at}    {name} += 1",
                f"{at}    if {name} == {item.n}: break",
                f"{at}    log.append(f'loop {number} {{{name}}}')",
            ]
        lines += body
        if item.orelse:
            lines += [f"{at}else:", f"{at}    log.append('else {number}')"]
        return lines


SHOW = "log.append(list(locals()))"


# -- what should happen --------------------------------------------------------------------


class Gone(Exception):
    """Control leaves a body."""

    def __init__(self, way):
        self.way = way


HOWS = {"break": "broke", "return": "returned", "raise": "exception", "interrupt": "exception",
        "exit": "exit"}  # fmt: skip


OUTCOMES = {
    "return": "returned",
    "raise": ("ValueError", "x"),
    "interrupt": ("KeyboardInterrupt", ""),
    "exit": ("SystemExit", "3"),
}


class Model:
    """Interprets a program: the user's own log, and the events that belong to it."""

    def __init__(self, program):
        self.program, self.log, self.events = program, [], []
        self.visits = {}
        self.count = 0
        self.numbers = {}
        self.stack = []
        self.roles = {}
        self.fit = False
        self.stopped = None
        self.number(program)

    def number(self, items):
        """The numbers that the writer gives, in its order: a loop's before its body's."""
        for item in items:
            self.count += 1
            self.numbers[id(item)] = self.count
            self.number(getattr(item, "body", ()))

    def run(self):
        try:
            self.block(self.program)
        except Gone as gone:
            return OUTCOMES[gone.way]
        return "end"

    def block(self, items):
        for item in items:
            getattr(self, type(item).__name__.lower())(item)

    def say(self, item):
        self.log.append(item.text)

    def step(self, item):
        self.log.append("step")
        if not self.fit:
            self.recognise()
        self.events.append("s")

    def recognise(self):
        self.fit = True
        outer, batch = self.stack[0], self.stack[-1]
        self.roles = (
            {outer: {"epoch"}, batch: {"batch"}} if outer is not batch else {outer: {"batch"}}
        )
        self.outer = outer
        self.events += ["T(", *(["E("] if outer is not batch else []), "b"]

    def leave(self, item):
        seen = self.visits[id(item)] = self.visits.get(id(item), -1) + 1
        if seen != item.visit:
            return
        if item.way in STOPS:
            if self.fit and (self.stopped is None or (item.way == "stop now" != self.stopped)):
                self.stopped = item.way
            return
        raise Gone(item.way)

    def helper(self, item):
        try:
            self.block(item.body)
        except Gone as gone:
            if gone.way != "return":
                raise
            self.log.append("returned")
            return
        self.log.append("helped")

    def guard(self, item):
        try:
            self.block(item.body)
        except Gone as gone:
            if item.catches and gone.way == "raise":
                if item.kind == "try":
                    self.log.append("caught")
                return
            raise
        finally:
            if item.kind == "finally":
                self.log.append("finally")

    def loop(self, item):
        number = self.numbers[id(item)]
        self.stack.append(item)
        way = "finished"
        try:
            for index in range(item.n + (item.kind == "endless")):
                self.began(item)
                if index == item.n:
                    # The last look at the counter is an iteration of its own.
                    self.ended(item, "broke")
                    way = "broke"
                    break
                self.log.append(f"loop {number} {index}")
                how, out = "finished", None
                try:
                    self.block(item.body)
                except Gone as gone:
                    how, out = HOWS.get(gone.way, "finished"), gone
                self.ended(item, how)
                if out is not None and out.way == "break":
                    way = "broke"
                    break
                if out is not None and out.way != "continue":
                    way = how
                    raise out
                if self.ends(item):
                    way = "stopped"
                    break
        finally:
            self.stack.pop()
            if self.fit and item is self.outer:
                self.end_fit(way)
        if way in ("finished", "stopped") and item.orelse:
            self.log.append(f"else {number}")

    def began(self, item):
        role = self.roles.get(item, ())
        self.events += ["E("] * ("epoch" in role) + ["b"] * ("batch" in role)

    def ended(self, item, how):
        role = self.roles.get(item, ())
        said = "" if how == "finished" else f"<{how}>"
        if "batch" in role:
            self.events.append(f".{said}")
        if "epoch" in role:
            if self.cut and how == "finished":
                said = "<stopped>"
            self.cut = False
            self.events.append(f")E{said}")

    cut = False

    def ends(self, item):
        """At a head: whether a stop ends this loop."""
        if self.stopped is None or not self.fit:
            return False
        if item is self.outer:
            self.events.append("STOP")
            return True
        # Loops between the two end too.
        if self.stopped == "stop now" and self.inside_fit(item):
            self.cut = True
            return True
        return False

    def inside_fit(self, item):
        return item in self.stack

    def end_fit(self, way):
        said = "" if way == "finished" else f"<{way}>"
        self.events.append(f")T{said}")
        self.fit = False
        self.roles = {}
        self.stopped = None


# -- the tests -----------------------------------------------------------------------------


class Stopper:
    """Stops when the loop asks for it."""

    name, role = "stopper", "control"

    def __init__(self):
        self.fit = self.run = None

    @hookimpl
    def on_train_start(self, run, fit):
        self.run, self.fit = run, fit

    @hookimpl
    def on_train_end(self):
        self.fit = None

    def ask(self, how):
        if self.fit is None:
            return
        if how == "stop run":
            self.run.stop("asked")
        else:
            self.fit.stop("asked", now=how == "stop now")


def plain(log):
    """The user's log as the model has it: without numbers drawn and variables."""
    return [entry.split(" ")[0] if str(entry).startswith("step") else entry for entry in log
            if isinstance(entry, str)]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=250)
@given(programs())
def test_every_start_has_one_end(lab, program):
    """Pairs, order and `how` are those of the model; the user's part is that of the bare loop."""
    source = Writer().module(program)
    bare, ours = lab.pair(source, PRELUDE)
    model = Model(program)
    result = model.run()
    stopper = Stopper()
    ours.ask = stopper.ask

    first = lab.bare(bare.train)
    heard = lab.play(ours.train, plugins=[stopper])

    words = heard.story.split()
    assert [word for word in words if word != "X" and not word.startswith("R")] == model.events, (
        source
    )
    assert plain(ours.log) == model.log, source
    assert heard.result == result, source
    if not any(way in source for way in ("ask('stop",)):
        assert heard.same == first.same, source
        assert ours.log == bare.log, source


# -- what a generated program does not do ----------------------------------------------------

TRAINER = """
        class Trainer:
            def __init__(self):
                self.model = make(); self.optimizer = sgd(self.model)

            def __call__(self, last):
                for i in range(5):
                    update(self.model, self.optimizer)
                    if i == last:
                        return
"""
ODD = {
    "a finally goes on after a return": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for i in range(2):
                    try:
                        update(model, optimizer)
                        return "never"
                    finally:
                        continue
            return weights(model)
        """,
        "T( E( b s .<returned> )E<returned> )T<returned> T( b s . b s . )T R",
    ),
    "a finally breaks in spite of an exception": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for i in range(2):
                    try:
                        update(model, optimizer)
                        raise ValueError
                    finally:
                        break
            return weights(model)
        """,
        "T( E( b s .<broke> )E E( b s .<broke> )E )T R",
    ),
    "a function whose for loop calls the function": (
        """
        def go(model, optimizer, depth):
            for i in range(2):
                update(model, optimizer)
                if depth:
                    go(model, optimizer, depth - 1)

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                go(model, optimizer, 1)
            return weights(model)
        """,
        "T( E( b s s s . b s s s . )E E( b s s s . b s s s . )E )T R",
    ),
    "a function whose while loop calls the function": (
        """
        def go(model, optimizer, depth):
            i = 0
            while i < 2:
                update(model, optimizer)
                i += 1
                if depth:
                    go(model, optimizer, depth - 1)

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                go(model, optimizer, 1)
            return weights(model)
        """,
        "T( E( b s s s . b s s s . )E E( b s s s . b s s s . )E )T R",
    ),
    "a generator that trains": (
        """
        def steps(model, optimizer):
            for i in range(2):
                yield update(model, optimizer)

        def train():
            model = make(); optimizer = sgd(model)
            losses = []
            for epoch in range(2):
                for loss in steps(model, optimizer):
                    losses.append(loss)
            return weights(model), losses
        """,
        "T( s s s s )T R",
    ),
    "an exception in a comprehension, and a loop after it": (
        """
        def one(model, optimizer, i):
            update(model, optimizer)
            if i == 1:
                raise ValueError

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                try:
                    losses = [one(model, optimizer, i) for i in range(3)]
                except ValueError:
                    pass
                for i in range(1):
                    update(model, optimizer)
            return weights(model)
        """,
        "T( E( b s . b s .<exception> b s . )E E( b s . b s .<exception> b s . )E )T R",
    ),
    "data that raises": (
        """
        def data():
            yield X
            raise RuntimeError("no more")

        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                for x in data():
                    update(model, optimizer)
        """,
        "T( E( b s . )E<exception> )T<exception> X R<exception>",
    ),
    "an object that cannot be iterated": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(2):
                update(model, optimizer)
                for x in 5:
                    update(model, optimizer)
        """,
        "T( E( b s .<exception> )E<exception> )T<exception> X R<exception>",
    ),
    "a condition that raises": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            left = 2
            while 1 / left:
                update(model, optimizer)
                left -= 1
        """,
        "T( b s . b s . )T<exception> X R<exception>",
    ),
    "a StopIteration of the user's": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            numbers = iter([1, 2])
            for epoch in range(2):
                for i in range(5):
                    next(numbers)
                    update(model, optimizer)
        """,
        "T( E( b s . b s . b .<exception> )E<exception> )T<exception> X R<exception>",
    ),
    "an else that continues and one that breaks": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            for epoch in range(3):
                for i in range(2):
                    update(model, optimizer)
                    if epoch == 1:
                        break
                else:
                    continue
                break
            return weights(model)
        """,
        "T( E( b s . b s . )E E( b s .<broke> )E<broke> )T<broke> R",
    ),
    "a return out of a method that tells of nothing else, twice": (
        """
        class Trainer:
            def __init__(self):
                self.model = make(); self.optimizer = sgd(self.model)

            def __call__(self, last):
                for epoch in range(5):
                    for i in range(2):
                        update(self.model, self.optimizer)
                    if epoch == last:
                        return weights(self.model)

        def train():
            return Trainer()(0), Trainer()(1)
        """,
        (
            "T( E( b s . b s . )E<returned> )T<returned> "
            "T( E( b s . b s . )E E( b s . b s . )E<returned> )T<returned> R"
        ),
    ),
    "a return out of such a method in each epoch, and a loop after it": (
        TRAINER + """
        def train():
            trainer = Trainer()
            for epoch in range(2):
                trainer(1)
                for i in range(1):
                    update(trainer.model, trainer.optimizer)
            return weights(trainer.model)
        """,
        "T( E( b s . b s .<returned> b s . )E E( b s . b s .<returned> b s . )E )T R",
    ),
    "a return out of such a method, and an evaluation without a loop": (
        TRAINER + """
        def train():
            trainer = Trainer()
            for epoch in range(2):
                trainer(1)
                trainer.model.eval()
                with torch.no_grad():
                    trainer.model(X)
                trainer.model.train()
            return weights(trainer.model)
        """,
        "T( E( b s . b s .<returned> V( v )V )E E( b s . b s .<returned> V( v )V )E )T R",
    ),
    "a loop over next": (
        """
        def train():
            model = make(); optimizer = sgd(model)
            batches = iter([1, 2])
            while True:
                try:
                    next(batches)
                except StopIteration:
                    break
                update(model, optimizer)
            return weights(model)
        """,
        "T( b s . b s . b .<broke> )T<broke> R",
    ),
}


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # Python 3.14 on a finally that leaves
@pytest.mark.parametrize("name", ODD)
def test_odd_ways(lab, name):
    """The user's part is that of the bare loop, and what is delivered is paired."""
    source, expected = ODD[name]
    assert lab.story(source) == expected


def test_a_run_that_ends_inside_a_loop(lab):
    """The loop goes on as if there had never been a run."""
    source = """
    def train(leave=lambda: None):
        model = make()
        optimizer = sgd(model)
        for epoch in range(3):
            for i in range(3):
                update(model, optimizer)
                if (epoch, i) == (1, 1):
                    leave()
        return weights(model)
    """
    bare, ours = lab.pair(source)
    from hookcore.testing import isolated_run

    first = lab.bare(bare.train)
    run = isolated_run()
    run.__enter__()
    second = lab.bare(ours.train, lambda: run.__exit__(None, None, None))
    assert second.same == first.same
