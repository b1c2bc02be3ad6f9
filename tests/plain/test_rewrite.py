"""Rewritten code does what the user's code does, and tells the gate what it is to be told."""

import ast
import contextlib
import importlib.util
import linecache
import os
import sys
import textwrap
import traceback
import types
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookcore.errors import NotRewritable, UsageError
from hookcore.plain import table
from hookcore.plain.rewriting import codes
from hookcore.plain.rewriting.rewrite import rewrite, rewritten
from hookcore.plain.rewriting.snippets import GATE

SPEC = importlib.util.spec_from_file_location("inert", Path(__file__).parent / "data/inert.py")
inert = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(inert)

KEPT = (
    "co_name",
    "co_firstlineno",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_kwonlyargcount",
    "co_posonlyargcount",
    "co_flags",
)


def load(source, path="snippet.py"):
    return rewritten(textwrap.dedent(source), path, "snippet")


def sites(source):
    result = load(source)
    return [table.SITES[number] for number in result.file.sites]


def site(source):
    (only,) = sites(source)
    return only


def execute(code, gate=None):
    """What a program does: its log, its result, and its exception with all lines."""
    log = []
    scope = {"__name__": "snippet", "log": log.append, GATE: gate, "f": lambda x=None: x}
    try:
        exec(code, scope)
        result = scope["run"]() if "run" in scope else None
    except BaseException as error:
        return log, trace(error)
    return log, repr(result)


def trace(error):
    if error is None:
        return None
    lines = [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = lines[1:]  # the first is this file's
    return type(error), str(error), own, trace(error.__cause__), trace(error.__context__)


def same(source, path="snippet.py"):
    """Hold a program against its rewritten self, unwatched and watched."""
    source = textwrap.dedent(source)
    result = load(source, path)
    bare = execute(result.plain)
    for watching in (False, True):
        gate = inert.Gate(watching)
        assert execute(result.code, gate) == bare
    for plain, new in codes.pairs(result.plain, result.code):
        for name in KEPT:
            assert getattr(plain, name) == getattr(new, name), (plain.co_name, name)
    return result


SNIPPETS = {
    "nested loops": """
        def run():
            for epoch in range(3):
                for i, (x, *rest) in enumerate([(1, 2), (3, 4, 5), (6,)]):
                    if x == 3:
                        continue
                    if epoch == 2:
                        break
                    log((f(epoch), i, x, rest, dict(locals())))
                else:
                    log("else")
            return locals()
        """,
    "break and continue in an else": """
        def run():
            for a in range(4):
                for b in range(2):
                    log(f(b))
                else:
                    if a == 1:
                        continue
                    if a == 2:
                        break
                log(a)
            else:
                log("never")
            while f(True):
                while f(False):
                    pass
                else:
                    break
            return a, b
        """,
    "while": """
        def run():
            n, out = 0, []
            while (n := n + 1) < 10 and f(True):
                if n % 2:
                    continue
                if n == 8:
                    break
                out.append(f(n))
            else:
                out.append("else")
            while n > 0:
                n -= f(3)
            else:
                out.append("done")
            return out, n, locals()
        """,
    "while true": """
        def run():
            n = 0
            while True:
                n += f(1)
                if n == 4:
                    return n
        """,
    "a condition is asked once": """
        class Once:
            def __init__(self): self.asked = 0
            def __bool__(self):
                self.asked += 1
                return self.asked < 4
        def run():
            once = Once()
            while once: log(f(once.asked))
            return once.asked
        """,
    "returns": """
        def deep(n):
            for i in range(3):
                with open(__import__("os").devnull) as file:
                    try:
                        while f(True):
                            if i == n:
                                return i, "inside"
                            break
                    finally:
                        log(("finally", i, file.closed))
            return "outside"
        def nothing():
            for i in range(2): log(f(i))
        def empty():
            for i in f([1]):
                return
        def run():
            return deep(0), deep(2), deep(5), nothing(), empty()
        """,
    "exceptions": """
        def inner(n):
            for i in f([1, 2, 3]):
                if i == n:
                    raise ValueError(i)
        def run():
            for n in range(5):
                try:
                    inner(n)
                except ValueError as error:
                    log((str(error), error.__traceback__.tb_lineno))
                finally:
                    log(n)
                log(dict(locals()))
            for x in f([0]):
                1 / x
        """,
    "an exception in an iterator": """
        def gen():
            yield 1
            raise KeyError("gen")
        def run():
            for x in gen():
                log(f(x))
        """,
    "no iterable": """
        def run():
            for x in f(3):
                log(f(x))
        """,
    "exceptions in handlers": """
        def run():
            for x in f([1]):
                try:
                    f(1 / 0)
                except ZeroDivisionError:
                    for y in f([2]):
                        raise LookupError(y)
        """,
    "suppressed": """
        import contextlib
        def run():
            with contextlib.suppress(KeyError):
                for x in f([1, 2]):
                    log(f(x))
                    raise KeyError(x)
            return x
        """,
    "exits": """
        def run():
            for x in f([1]):
                raise SystemExit(3)
        """,
    "private names and super": """
        class A:
            __step = 2
            def go(self): return self.__step
        class _B(A):
            def go(self, __p=1):
                __total = 0
                for __i in range(f(3)):
                    __total += super().go() + __p
                    log(sorted(locals()))
                def inner():
                    nonlocal __total
                    for __j in range(f(2)):
                        __total += __j
                    return __total, __class__
                return inner()[0], locals().keys()
        def run():
            return _B().go()
        """,
    "closures": """
        def run():
            total, seen = 0, []
            def add(n):
                nonlocal total
                for i in range(n):
                    total += f(i)
                    seen.append(lambda: (i, total))
                return [g() for g in seen]
            out = add(3)
            for k in range(2):
                out += add(k)
            return out, total
        """,
    "globals": """
        counter = 0
        def early():
            global counter
            for i in range(3): counter += f(i)
        def late(n):
            if n:
                return n
            global other
            for other in range(f(3)): pass
        def run():
            early(); late(1); late(0)
            return counter, other
        """,
    "targets": """
        class Box: pass
        def run():
            box, items = Box(), {}
            for box.x in f([1, 2]): pass
            for items["k"], *box.rest in f([(1, 2, 3)]): pass
            for (a, (b, *c)), d in f([((1, (2, 3)), 4)]): pass
            for x in 1, *f([2, 3]): log(f(x))
            return box.x, items, box.rest, a, b, c, d, locals().keys()
        """,
    "names that come and go": """
        def run(flag=False):
            for i in range(f(3)):
                if i == 1:
                    late = i
                try:
                    raise KeyError(i)
                except KeyError as error:
                    pass
                if i == 2:
                    del late
                log(sorted(locals()))
            import os as system
            def helper(): pass
            class Local: pass
            after: int = 1
            declared: int
            with open(system.devnull) as file, file as again: pass
            if (found := after): pass
            return list(locals())
        """,
    "order of names": """
        def run(z, *args, b=1, **more):
            if b == 5:
                return list(locals())
            y = 1
            for x in f([1]):
                w = [q for q in (1, 2)]
            import os
            v = {u: t for u, t in {1: 2}.items()}
            def s(): return y
            r = 1
            return list(locals())
        run = __import__("functools").partial(run, 0)
        """,
    "comprehensions": """
        def run():
            a = [f(x) for x in range(4) if f(x) if (last := x) < 3]
            b = {f(x): [f(y) for y in range(x)] for x in f(a)}
            c = {f(x) for row in b.values() for x in row}
            d = list(f(x) for x in f(a))
            e = (lambda k: [f(x) + k for x in a])(1)
            g = [[f(x) for x in a] for _ in f([1, 2])]
            return a, b, c, d, e, g, last, list(locals())
        """,
    "comprehension in a class": """
        class C:
            n = 2
            table = [f(x) for x in range(n)]
            def go(self): return [f(x) for x in self.table]
        def run(): return C().go(), C.table
        """,
    "an exception in a comprehension": """
        def run():
            return [
                f(1) / x
                for x in f([1, 0])
            ]
        """,
    "match": """
        def run():
            out = []
            for item in f([1, "a", [1, 2, 3], {"k": 1, "z": 2}, None]):
                match item:
                    case int(n) if f(n): out.append(n)
                    case [first, *others]: out.append((first, others))
                    case {"k": v, **rest}:
                        out.append((v, rest))
                        continue
                    case str() as text: out.append(text)
                    case _: break
                log(list(locals()))
            return out
        """,
    "generators and coroutines": """
        import asyncio
        def gen():
            for i in range(3):
                got = yield f(i)
        async def co():
            total = 0
            for i in range(3):
                total += f(i)
                await asyncio.sleep(0)
            def inner():
                for j in range(2): log(f(j))
                return j
            return total + inner() + sum([x async for x in agen()])
        async def agen():
            for i in range(2): yield f(i)
        def run():
            loop = asyncio.new_event_loop()
            try:
                return list(gen()), loop.run_until_complete(co())
            finally:
                loop.close()
        """,
    "try finally": """
        def run():
            out = []
            for i in range(f(4)):
                try:
                    if i == 1: continue
                    if i == 3: break
                    out.append(i)
                finally:
                    for j in range(f(2)):
                        if j: break
                        out.append(("finally", i, j))
            return out
        """,
    "return in a finally": """
        def helper():
            for i in f([1]):
                try:
                    f(1 / 0)
                finally:
                    for k in range(f(2)): pass
                    z = 1
            return z
        def run():
            try:
                return helper()
            except ZeroDivisionError as error:
                return error.__traceback__.tb_next.tb_lineno
        """,
    "future": """
        from __future__ import annotations
        def run(x: Missing = 1) -> Missing:
            for i in range(f(2)): y: Missing = i
            return run.__annotations__, y
        """,
    "docstrings and decorators": '''
        """Module."""
        import functools
        def twice(function):
            """Wrapper."""
            @functools.wraps(function)
            def inner(*args):
                """Inner."""
                for _ in range(f(2)): result = function(*args)
                return result
            return inner
        @twice
        @twice
        def go(n, m=[f(x) for x in range(2)]):
            """Doc."""
            for i in range(f(n)): log(i)
            return n, m
        def run(): return __doc__, go(2), go.__doc__, go.__defaults__
        ''',
    "gradient modes": """
        class torch:
            class no_grad:
                def __enter__(self): log("in")
                def __exit__(self, *_): log("out")
        def evaluate(n):
            with torch.no_grad():
                if n:
                    return n
                loss = n + 1
            accuracy = loss / 2
        def run(): return evaluate(1), evaluate(0)
        """,
    "module level": """
        total = 0
        for i in range(3):
            if i == 1: continue
            total += f(i)
        else:
            log(total)
        while f(total) > 0:
            total -= 1
            if total == 1: break
        out = [f(x) for x in range(2)]
        def run(): return total, out, i
        """,
    "module level exception": """
        for i in range(3):
            for j in f([0]):
                i / j
        """,
    "one-line bodies": """
        def run():
            for i in f([1, 2]): log(i)
            while f(False): pass
            return i
        """,
    "lambdas": """
        def run():
            g = lambda n=[f(k) for k in (1, 2)]: [f(i) for i in n]
            for h in f([g, lambda: 1]): log(h())
        """,
    "deep nesting": """
        def run():
            n = 0
            for a in f([1]):
             for b in f([1]):
              for c in f([1]):
               for d in f([1]):
                for e in f([1]):
                 for g in f([1]):
                  for h in f([1]):
                   for i in f([1]):
                    for j in f([1]):
                     for k in f([1]):
                      for l in f([1, 2]):
                       n += l
            return n
        """,
    "stop in the middle": """
        def run():
            it = iter(range(10))
            for x in it:
                for y in it:
                    if y > f(2): break
                else:
                    log("exhausted")
                log((x, y))
            return next(it, "end")
        """,
}
if sys.version_info >= (3, 11):
    SNIPPETS["exception groups"] = """
        def run():
            out = []
            for i in range(f(3)):
                try:
                    raise ExceptionGroup("g", [ValueError(i), KeyError(i)])
                except* ValueError as group:
                    for error in f(group.exceptions):
                        if i: continue
                        out.append(str(error))
                except* KeyError:
                    for k in range(f(2)):
                        if k: break
            return out, list(locals())
        """
if sys.version_info >= (3, 12):
    SNIPPETS["type parameters"] = """
        type Pair[T] = tuple[T, T]
        class Box[T]:
            def go[U: int](self, x: T, y: U) -> list[T]:
                out = []
                for i in range(f(2)): out.append((x, T, i))
                def inner():
                    for k in f([U]): return k
                return out, inner()
        def run(): return Box().go(1, 2)
        """


@pytest.mark.parametrize("name", SNIPPETS)
def test_rewritten_code_does_the_same(name):
    same(SNIPPETS[name])


# -- generated programs --------------------------------------------------------------------------


@st.composite
def blocks(draw, depth, looping=False):
    return [
        line for _ in range(draw(st.integers(1, 3))) for line in draw(statements(depth, looping))
    ]


@st.composite
def statements(draw, depth, looping):
    simple = ["log(f(n))", "n += 1", "return n", "raise KeyError(n)", "x, y = n, 2", "del x"]
    jumps = ["break", "continue"] if looping else []
    if depth == 0 or draw(st.booleans()):
        return [draw(st.sampled_from(simple + jumps * 3))]
    kind = draw(st.sampled_from(["for", "while", "if", "try", "finally", "with", "def"]))
    body = draw(blocks(depth - 1, looping=kind in {"for", "while"} or (looping and kind != "def")))
    other = draw(blocks(depth - 1, looping=looping and kind != "def"))
    condition = draw(st.sampled_from(["n % 2", "n < 3", "f(n)"]))
    heads = {
        "for": ("for i in range(f(3)):", "else:"),
        "while": ("while (n := n + 1) % 4:", "else:"),
        "if": (f"if {condition}:", "else:"),
        "try": ("try:", "except KeyError as error:"),
        "finally": ("try:", "finally:"),
        "with": ("with guard:", "if n:"),
        "def": ("def inner(n=n):", "if n:"),
    }
    first, second = heads[kind]
    if kind == "finally":  # since 3.14 Python warns about leaving it by a jump
        other = [line for line in other if line.strip() not in {"break", "continue", "return n"}]
        other.append("log('finally')")
    return [first, *indent(body), second, *indent(other)]


def indent(lines):
    return ["    " + line for line in lines]


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(blocks(3))
def test_any_program_does_the_same(body):
    head = ["import contextlib", "guard = contextlib.suppress(UnboundLocalError)"]
    tail = ["    return sorted(locals())"]
    program = [*head, "def run(n=0):", *indent(body), *tail]
    if compiles("\n".join(program)):
        same("\n".join(program))


def compiles(source):
    try:
        ast.parse(source)
        compile(source, "snippet.py", "exec")
    except SyntaxError:
        return False
    return True


# -- what the gate is told -----------------------------------------------------------------------


def told(source, watching=False, **scope):
    result = load(source)
    gate = inert.Gate(watching)
    names = {"__name__": "snippet", GATE: gate, "f": lambda x=None: x, **scope}
    try:
        exec(result.code, names)
    except KeyError:
        gate.calls.append("KeyError")
    return gate, [table.SITES[number] for number in result.file.sites], result.file


def test_a_for_is_entered_and_its_iterator_knows_when_it_is_over():
    gate, (only,), _ = told("for i in range(2): f(i)")
    assert gate.calls == [("each", only.id)]


@pytest.mark.parametrize("head", ["for i in range(2):", "while f(1):"])
def test_a_break_tells_that_it_leaves_its_loop(head):
    gate, (only,), _ = told(f"{head}\n    f(0)\n    if f(1): break\nelse:\n    f()")
    assert gate.calls[-1] == ("left", only.id)


@pytest.mark.parametrize(("block", "calls"), [
    ("try:\n  f()\n  break\n finally:\n  f(log('inside'))", ["inside", "left"]),
    ("try:\n  f(0)\n  break\n except KeyError: pass", ["left"]),
    ("with box:\n  f()\n  break", ["inside", "left"]),
    ("try: raise KeyError\n except KeyError: break", ["left"]),
    ("try: f()\n finally:\n  f(log('inside'))\n  break", ["inside", "left"]),
], ids=["finally", "try", "with", "except", "in the finally"])  # fmt: skip
def test_a_loop_is_left_after_all_that_a_break_runs(block, calls):
    """What a ``finally`` or a ``with`` does at a ``break`` is of the loop."""
    result = load(f"for i in f([1]):\n {block}")
    gate = inert.Gate()

    class Box:
        __enter__ = str

        def __exit__(self, *_):
            gate.calls.append(("inside",))

    log = lambda word: gate.calls.append((word,))  # noqa: E731
    exec(result.code, {GATE: gate, "f": lambda x=None: x, "box": Box(), "log": log})
    assert [call[0] for call in gate.calls[1:]] == calls


def test_a_while_tells_that_its_condition_failed():
    gate, (only,), _ = told("n = 1\nwhile f(n): n -= 1\nelse: f()")
    assert gate.calls[-2:] == [("again", only.id), ("left", only.id)]
    gate, (only,), _ = told("n = 1\nwhile f(n): n -= 1")
    assert gate.calls[-2:] == [("again", only.id), ("left", only.id)]


def test_an_exception_fails_every_loop_around_it():
    gate, (outer, inner), _ = told("for i in f([1]):\n  for j in f([1]):\n    raise KeyError(f())")
    assert gate.calls[2:] == [("failed", inner.id), ("failed", outer.id), "KeyError"]


@pytest.mark.parametrize(("inner", "calls"), [
    ("for j in f([1]):", ["left"]), ("while f(0):", ["again", "left", "left"])
])  # fmt: skip
def test_a_loop_is_left_before_its_else_breaks_the_loop_around_it(inner, calls):
    gate, (outer, _), _ = told(f"for i in f([1]):\n  {inner}\n    f()\n  else:\n    break")
    assert [call[0] for call in gate.calls if call[0] != "each"] == calls
    assert gate.calls[-1] == ("left", outer.id)


def test_a_return_from_a_loop_in_an_else_leaves_that_loop():
    source = "def go():\n for i in f([1]): f()\n else:\n  for j in f([1]): return j\ngo()"
    gate, (_, inner), file = told(source)
    assert gate.calls[-1] == ("returned", *file.functions, inner.id)


def test_a_return_names_the_outermost_loop_that_it_leaves():
    gate, (outer, inner), file = told(
        """
        def go(n):
            for i in f([1]):
                for j in f([1]):
                    if n: return n
            return 0
        result = go(1), go(0)
        """
    )
    (function,) = file.functions
    assert [call for call in gate.calls if call[0] == "returned"] == [
        ("returned", function, outer.id),
        ("returned", function, None),
    ]
    assert table.FUNCTIONS[function].qualname == "go"
    assert inner.parent == outer.id


def test_a_return_of_a_function_that_has_only_loops_leaves_the_outermost():
    source = """
    class Net:
        def forward(self, n):
            for i in f([1]):
                for j in f([1]):
                    return f(n)
        def __call__(self): return f(1)
    result = Net().forward(3), Net()()
    """
    gate, (outer, _), _ = told(source)
    assert [call for call in gate.calls if call[0] != "each"] == [("returning", outer.id)]


def test_a_function_that_evaluates_reports_its_return_without_a_loop():
    _, _, file = told(
        """
        def evaluate(model):
            model.eval()
            acc = f(1)
        @torch.no_grad()
        def other(model): acc = f(1)
        def plain(model): return f(1)
        """,
        torch=type("torch", (), {"no_grad": staticmethod(lambda: lambda function: function)}),
    )
    assert [table.FUNCTIONS[number].qualname for number in file.functions] == ["evaluate", "other"]


def test_a_while_is_told_of_each_iteration_and_can_be_ended():
    source = (
        "def run():\n  n = 0\n  while f(n) < 5:\n    n += 1\n  else:\n    return n\nout = run()"
    )
    gate, (only,), _ = told(source)
    assert gate.calls.count(("again", only.id)) == 6
    assert gate.calls.count(("begin", only.id)) == 5

    class Stops(inert.Gate):
        def again(self, number):
            super().again(number)
            return len(self.calls) < 4

    scope = {GATE: Stops(), "f": lambda x: x, "__name__": "snippet"}
    exec(rewrite(source, "snippet.py", "snippet"), scope)
    assert scope["out"] == 2


def test_a_dead_while_calls_nothing():
    result = load("n = 0\nwhile f(n) < 3: n += 1")
    gate = inert.Gate()
    gate.dead.update(dict.fromkeys(result.file.sites))
    exec(result.code, {GATE: gate, "f": lambda x: x})
    assert gate.calls == []


def test_tails_show_bound_names_and_only_those():
    gate, (only,), file = told(
        """
        def go(data, __private=3):
            import os
            for x in data:
                loss = f(x)
                if x == 1: continue
                late = x
            after = 1
        go([1])
        """,
        watching=True,
    )
    shown = {name: value for (owner, name), value in gate.seen.items() if owner == only.id}
    assert shown == {"data": [1], "__private": 3, "x": 1, "loss": 1}
    assert only.names == ("data", "__private", "x", "loss", "late")
    (function,) = file.functions
    assert {name for owner, name in gate.seen if owner == function} == {
        "data", "__private", "x", "loss", "after",
    }  # fmt: skip


def test_tails_show_what_enclosing_functions_bind():
    gate, (only,), _ = told(
        """
        def outer():
            history, step = [], 0
            def train():
                nonlocal step
                for x in f([1]):
                    history.append(f(x))
                    step += 1
            train()
        outer()
        """,
        watching=True,
    )
    assert (only.names, only.free) == (("x", "step"), ("history",))
    assert gate.seen[only.id, "history"] == [1]
    assert gate.seen[only.id, "step"] == 1


def test_bindings_know_their_loop():
    gate, (outer, inner), file = told(
        """
        def go():
            first = f(0)
            for i in f([1]):
                for j in f([1]):
                    loss, extra = f((1, 2))
                    names = []
                loss += 1
        go()
        """
    )
    by_name = {(table.BINDINGS[number].name, table.BINDINGS[number].site) for number in gate.bound}
    assert by_name == {
        ("first", None), ("loss", inner.id), ("extra", inner.id), ("loss", outer.id),
    }  # fmt: skip
    assert set(table.FUNCTIONS[file.functions[0]].bindings) == set(gate.bound)
    assert {table.BINDINGS[n].name for n in inner.bindings} == {"loss", "extra"}
    assert [table.BINDINGS[n].name for n in outer.bindings] == ["loss"]


def test_module_level_shows_its_globals_and_marks_what_its_loops_bind():
    gate, (only,), _ = told("before = 1\nfor i in range(2):\n    acc = f(i)", watching=True)
    assert gate.calls.count(("globals", only.id)) == 2
    assert [table.BINDINGS[number].name for number in gate.bound] == ["acc"]
    assert only.module_level
    assert only.names == ()


def test_a_restore_replaces_one_body_and_binds_names():
    result = load(
        """
        def run():
            best = 0
            for epoch in range(5):
                best = max(best, f(epoch))
                log((epoch, best))
            return epoch, best
        """
    )
    (number,) = result.file.sites
    gate = inert.Gate()
    gate.back[number] = gate.tails[number] = None
    gate.given = {"best": 40, "absent": 1}
    log, out = execute(result.code, gate)
    assert log == [(epoch, 40) for epoch in (1, 2, 3, 4)]
    assert out == "(4, 40)"
    assert ("restore", number) in gate.calls
    assert gate.seen[number, "best"] == 0


def test_forward_has_sites_and_nothing_else():
    result = load(
        """
        class Net:
            def __init__(self):
                for n in range(f(2)): x = n
            def forward(self, x):
                for layer in self.layers: x = layer(x)
                return x
            def features(self, x):
                for layer in self.layers: x = layer(x)
                return x
            def fit(self, data):
                for x in data:
                    loss = self(x)
                    loss.backward()
        """
    )
    functions = [table.FUNCTIONS[number].qualname for number in result.file.functions]
    assert functions == ["Net.fit"]
    assert len(result.file.sites) == 4


def test_functions_that_are_compiled_have_sites_and_nothing_else():
    result = load(
        """
        @torch.compile(mode="default")
        def decorated(xs):
            for x in xs: y = f(x)
            return y
        def passed(xs):
            for x in xs: y = f(x)
            return y
        def other(xs):
            for x in xs: y = f(x)
            return y
        fast = torch.compile(passed)
        """
    )
    assert [table.FUNCTIONS[number].qualname for number in result.file.functions] == ["other"]
    assert len(result.file.sites) == 3


# -- which loops are sites -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "loop",
    [
        "for x in data: total += x * 2",
        "for x in data: out.append(str(x).strip())",
        "for k, v in d.items(): out[k] = len(v)",
        "for i, x in enumerate(zip(a, b)): print(i, x.item())",
        "for x in data:\n    if x < 0: raise ValueError('negative')",
        "while i < len(text): i += 1",
        "out = [int(x) for x in text.split(',')]",
    ],
)
def test_a_loop_that_can_reach_no_step_is_no_site(loop):
    assert sites(loop) == []


@pytest.mark.parametrize(
    "loop",
    [
        "for x in data: step(x)",
        "for x in data: next(it)",
        "for x in train(): pass",
        "for x in map(step, data): pass",
        "for x in data: opt.step()",
        "while step(): pass",
        "while True: x = list(it)",
        "for x in data: total += sum(losses(x))",
        "out = [step(x) for x in data]",
        "out = {x: max(data, key=step) for x in data}",
        "for x in data:\n    if x: raise error(step(x))",
        "for x in range(3):  # hookcore: epoch\n    pass",
    ],
)
def test_a_loop_that_can_reach_a_step_is_a_site(loop):
    assert len(sites(loop)) == 1


def test_a_site_knows_its_loop():
    epoch, batch, forever = sites(
        """
        class T:
            def fit(self, epochs):
                for self.epoch in range(self.args.epochs):
                    for i, (x, y) in enumerate(self.loader):
                        self.opt.step()
                        if x: break
                print(1)
            def serve(self):
                while True:
                    self.poll()
        """
    )
    assert (epoch.kind, epoch.scope, epoch.targets) == ("for", "T.fit", ("epoch",))
    assert set(epoch.mentions) == {"range", "self", "args", "epochs"}
    assert (epoch.breaks, batch.breaks, epoch.may_step, forever.may_step) == (0, 1, 1, 0)
    assert (batch.targets, batch.parent, batch.ordinal) == (("i", "x", "y"), epoch.id, 1)
    assert (forever.kind, forever.endless, forever.follows, forever.breaks) == ("while", 1, 0, 0)
    assert (epoch.follows, batch.follows) == (True, True)
    assert (epoch.where, epoch.line) == ("snippet.py:4", 4)
    assert batch.key(str(Path.cwd())) == ("snippet.py", 1)


@pytest.mark.parametrize("role", ["epoch", "batch", "validation", "ignore"])
def test_a_comment_gives_a_role(role):
    only = site(f"for x in [\n    y for y in data\n]:  # hookcore: {role}\n    pass")
    assert (only.kind, only.role_comment) == ("for", role)


def test_a_comment_gives_a_role_to_a_comprehension():
    assert site("out = [x for x in data]  # hookcore: batch").kind == "comprehension"


def test_a_comment_that_names_no_role_is_an_error():
    with pytest.raises(UsageError, match="epoch, batch, validation, ignore"):
        load("for x in data:  # hookcore: epcoh\n    pass")
    load("x = 1  # hookcore: whatever")


def test_ids_are_unique_in_the_process():
    first, second = load("for x in f(): g(x)"), load("for x in f(): g(x)")
    numbers = [*first.file.sites, *second.file.sites, table.next_id()]
    assert len(set(numbers)) == 3


def test_a_file_without_loops_is_left_alone():
    result = load("def f(x):\n    y = x\n    return y")
    assert result.code is result.plain


# -- torch.compile -------------------------------------------------------------------------------

NETWORK = """
    import torch
    def helper(layers, x):
        for layer in layers:
            y = layer(x)
            if y is None: continue
            x = y
        n = 0
        while n < 2:
            x = torch.sigmoid(x)
            n += 1
        return [torch.sigmoid(z) for z in [x]][0]
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(3)])
        def features(self, x):
            for layer in self.layers:
                x = layer(x)
            return x
        def forward(self, x):
            for layer in self.layers:
                if layer is None: break
                x = layer(x)
            return helper(self.layers, self.features(x))
    """


@pytest.mark.torch
def test_dynamo_sees_nothing_of_it():
    torch = pytest.importorskip("torch")

    def dormant():
        """Dynamo guards a set as a whole, and of a plain dictionary the key that is asked for."""
        gate = types.ModuleType("gate")
        gate.back, gate.tails, gate.frames, gate.dead = {}, {}, {}, {}
        gate.bound = {}
        gate.left = gate.failed = lambda site: None
        gate.again = gate.begin = lambda site: True
        gate.each = lambda site, iterable: iterable
        gate.returned = lambda function, value, site=None: value
        return gate

    result = load(NETWORK)
    counts = []
    for code in (result.plain, result.code):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        gate = dormant()
        scope = {"__name__": "snippet", GATE: gate}
        exec(code, scope)
        torch.manual_seed(0)
        network = torch.compile(scope["Network"](), backend="eager", fullgraph=True)
        outputs = []
        for call in range(3):
            gate.tails[-call] = gate.frames[-call] = gate.back[-call] = 1
            gate.bound.clear()
            outputs.append(network(torch.ones(2, 4)).sum().item())
        counters = torch._dynamo.utils.counters
        counts.append((outputs, counters["stats"]["unique_graphs"], dict(counters["graph_break"])))
    assert counts[0] == counts[1]
    assert counts[0][1] == 1


# -- files ---------------------------------------------------------------------------------------


def test_the_digest_sees_code_and_nothing_else():
    def digest(source):
        return table.digest(ast.parse(textwrap.dedent(source)))

    one = digest('"""Doc."""\ndef f(a):\n    """Doc."""\n    return a + 1  # comment\n')
    assert one == digest("def f(a):\n\n    return (a\n + 1)\n")
    assert one != digest("def f(a):\n    return a + 2\n")
    assert one != digest("def f(a):\n    return a + '1'\n")
    assert one == load("def f(a): return a + 1").file.digest
    assert len(one) == 64


def test_warnings_of_the_source_are_given_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("for x in f():\n    g(x is 'a', '\\d')\n", path="warns.py")
        bare = len(caught)
        compile("for x in f():\n    g(x is 'a', '\\d')\n", "warns.py", "exec")
    assert bare == len(caught) - bare > 0


def test_warnings_that_were_given_never_become_errors():
    """A script may turn warnings into errors after Python has compiled its files."""
    source = "for x in f():\n    g('\\d')\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = compile(source, "later.py", "exec")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        file = rewritten(source, "later.py", "later", plain).file
        assert len(file.digest) == 64
        assert rewritten(source, "later.py", "later", quiet=True).code.co_filename == "later.py"
        assert warnings.filters == filters


def test_what_cannot_be_rewritten_is_said():
    source = "x = 1\n" + "if x == 1: pass\n" + "".join(f"elif x == {i}: pass\n" for i in range(900))
    try:
        compile(source, "long.py", "exec")
    except (RecursionError, MemoryError):
        pytest.skip("this Python cannot compile it either")
    with pytest.raises(NotRewritable, match="RecursionError"):
        load(source + "for y in f(): g(y)\n", path="long.py")


def test_a_syntax_error_is_pythons_own():
    with pytest.raises(SyntaxError) as caught:
        load("for x in:\n", path="wrong.py")
    assert caught.value.filename == "wrong.py"


def test_bytes_with_a_coding_line():
    source = "# -*- coding: latin-1 -*-\nfor x in f(): g('é')\n".encode("latin-1")
    assert rewritten(source, "coded.py", "coded").file.source.count("é") == 1


STANDARD = sorted(Path(os.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", STANDARD[::12], ids=lambda path: path.stem)
def test_the_standard_library_keeps_its_variables(path):
    result = rewritten(path.read_bytes(), str(path), "stress", quiet=True)
    for plain, new in codes.pairs(result.plain, result.code):
        for name in KEPT:
            assert getattr(plain, name) == getattr(new, name), (plain.co_name, name)


def lines_of(code, gate):
    """The lines that a tracer sees executed, in order, as coverage and a debugger do."""
    seen = []

    def trace(frame, event, argument):
        if frame.f_code.co_filename != code.co_filename:
            return None
        if event == "line":
            seen.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(ZeroDivisionError):
            exec(code, {GATE: gate})
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.parametrize("watching", [False, True])
def test_a_tracer_sees_the_lines_of_the_source(watching):
    """Those that bare Python executes, and no other: coverage and debuggers stay right."""
    source = """
    def step(x):
        return x

    def train(epochs):
        history = []
        for epoch in range(epochs):
            total = 0.0
            for x in (
                1,
                2,
            ):
                total += step(x)
                if total < 0:
                    print("never")
            history.append(
                total
            )
            if total > 100:
                print("never")
        else:
            history.append("done")
        n = 0
        while (
            n < 2
            and n >= 0
        ):
            n += step(1)
            if n > 10:
                print("never")
            elif n > 20:
                break
        for x in [1, 2]:
            if step(x):
                continue
            print("never")
        if n < 0:
            print("never")

    train(3)
    for x in [1, 2]:
        train(x)
        if x > 5:
            print("never")
    for x in [1]:
        train(x / 0)
    """
    result = load(textwrap.dedent(source), path="traced.py")
    gate = inert.Gate(watching)
    assert set(lines_of(result.code, gate)) == set(lines_of(result.plain, gate))


def test_a_tracer_sees_each_line_as_often_as_in_bare_python():
    """While nobody asks for variables, a debugger stops where it would, once."""
    source = """
    def train(n):
        for x in range(n):
            step(x)
            if x:
                continue
            step(x)
        x = 0
        while step(x) < n:
            x += 1
            if x == 2:
                continue
            step(x)
        for x in range(n):
            if step(x):
                break
        if step(x):
            step(x)

    def step(x):
        return x

    train(4)
    """
    result = load(source, path="traced.py")
    assert lines_of(result.code, inert.Gate()) == lines_of(result.plain, None)


class Asked(dict):
    """One of the gate's groups, which counts how often it is looked into."""

    looks = 0

    def __contains__(self, key):
        self.looks += 1
        return super().__contains__(key)


@pytest.mark.parametrize(("loop", "looks"), [
    ("while log(n) or n > 0: n -= 1", 1),
    ("for _ in range(n): log(n)", 2),
], ids=["while", "for"])  # fmt: skip
def test_a_loop_that_nobody_watches_only_looks_into_the_gate(loop, looks):
    """An iteration of a ``while`` looks once, at its head, and of a ``for`` twice; none calls."""

    def cost(iterations):
        gate = inert.Gate()
        gate.dead, gate.back, gate.tails = (Asked() for _ in range(3))
        result = load(f"def train(n):\n    {loop}\ntrain({iterations})")
        gate.dead.update(dict.fromkeys(result.file.sites))
        execute(result.code, gate)
        assert not {call[0] for call in gate.calls} & {"again", "begin"}
        return gate.dead.looks + gate.back.looks + gate.tails.looks, len(gate.calls)

    assert cost(13) == (cost(3)[0] + 10 * looks, cost(3)[1])


def test_line_numbers_stay_for_a_reader_of_tracebacks(tmp_path):
    path = tmp_path / "lines.py"
    path.write_text(
        "def run():\n    for x in [1]:\n        for y in [2]:\n            print(1 / 0)\n"
    )
    result = rewritten(path.read_bytes(), str(path), "lines")
    texts = []
    for code in (result.plain, result.code):
        scope = {GATE: inert.Gate()}
        exec(code, scope)
        linecache.checkcache()
        with pytest.raises(ZeroDivisionError) as caught:
            scope["run"]()
        texts.append(traceback.format_list(traceback.extract_tb(caught.value.__traceback__)[1:]))
    assert texts[0] == texts[1]
