"""The code that is put into a user's file, as syntax nodes."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import attrs

GATE = "@hookcore"
"""The gate's name in the globals of rewritten code: no identifier, so it clashes with nothing."""

_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")
_LOAD, _STORE = ast.Load(), ast.Store()


@attrs.frozen(eq=False)
class Variable:
    """A variable that inserted code reads.

    Attributes:
        source: The name as the user writes it.
        name: The name as inserted code writes it.
        shown: Whether it is shown to the gate, or only keeps its place among the variables.
        steady: Whether, once bound, nothing unbinds it.
        hidden: Whether it is a comprehension's.
        settable: Whether inserted code may bind it.
        line: It is not bound before this line.
    """

    source: str
    name: str
    shown: bool = True
    steady: bool = False
    hidden: bool = False
    settable: bool = True
    line: int = 0

    def is_bound(self, settled: Collection[str]) -> bool:
        """Whether it is bound for certain.

        Args:
            settled: Names that have been bound by then.
        """
        return self.steady and self.source in settled


class Snippets:
    """Writes nodes that have the place of one of the user's nodes, or none.

    Args:
        place: The node whose line and columns they get. None for what a tracer is not to see: it
            must not call anything, for a traceback could not say where.
    """

    def __init__(self, place: ast.expr | ast.stmt | None) -> None:
        self._at: dict[str, Any] = dict.fromkeys(_PLACE, -1)  # as the compiler marks its own
        if place is not None:
            self._at = {part: getattr(place, part) for part in _PLACE}
        # Python gives what an attribute does the line on which it ends: that must be the first.
        self._first_line = {
            **self._at,
            "end_lineno": self._at["lineno"],
            "end_col_offset": self._at["col_offset"],
        }
        self._gates: dict[str, ast.Attribute] = {}

    # -- expressions

    def name(self, name: str) -> ast.Name:
        """``name``."""
        return ast.Name(name, _LOAD, **self._at)

    def constant(self, value: Any) -> ast.Constant:
        """A literal."""
        return ast.Constant(value, **self._at)

    def _gate(self, attribute: str) -> ast.Attribute:
        # One node however often it stands there: the compiler reads trees, it does not own them.
        if attribute not in self._gates:
            gate = self.name(GATE)
            self._gates[attribute] = ast.Attribute(gate, attribute, _LOAD, **self._first_line)
        return self._gates[attribute]

    def call(self, function: str, *arguments: ast.expr) -> ast.Call:
        """``h.function(*arguments)``."""
        return ast.Call(self._gate(function), list(arguments), [], **self._at)

    def among(self, owner: int, group: str) -> ast.Compare:
        """``owner in h.group``."""
        return ast.Compare(self.constant(owner), [ast.In()], [self._gate(group)], **self._at)

    def not_among(self, owner: int, group: str) -> ast.Compare:
        """``owner not in h.group``."""
        return ast.Compare(self.constant(owner), [ast.NotIn()], [self._gate(group)], **self._at)

    def both(self, first: ast.expr, second: ast.expr) -> ast.BoolOp:
        """``(first) and (second)``."""
        return ast.BoolOp(ast.And(), [first, second], **self._at)

    def one_of(self, first: ast.expr, second: ast.expr) -> ast.BoolOp:
        """``(first) or (second)``."""
        return ast.BoolOp(ast.Or(), [first, second], **self._at)

    # -- statements

    def do(self, function: str, *arguments: ast.expr) -> ast.stmt:
        """``h.function(*arguments)`` as a statement."""
        return ast.Expr(self.call(function, *arguments), **self._at)

    def mark(self, binding: int) -> ast.stmt:
        """``h.bound[binding] = 1``."""
        target = ast.Subscript(self._gate("bound"), self.constant(binding), _STORE, **self._at)
        return ast.Assign([target], self.constant(1), **self._at)

    def when(self, owner: int, group: str, body: list[ast.stmt]) -> ast.If:
        """``if owner in h.group: body``."""
        return self.only_if(self.among(owner, group), body)

    def only_if(self, test: ast.expr, body: list[ast.stmt]) -> ast.If:
        """``if test: body``."""
        return ast.If(test, body, [], **self._at)

    def unless(self, test: ast.expr, body: list[ast.stmt]) -> ast.If:
        """``if not (test): body``."""
        return self.only_if(ast.UnaryOp(ast.Not(), test, **self._at), body)

    def either(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> ast.If:
        """``if test: body`` with ``else: orelse``."""
        return ast.If(test, body, orelse, **self._at)

    def endless(self, body: list[ast.stmt]) -> ast.While:
        """``while True: body``."""
        return ast.While(self.constant(True), body, [], **self._at)

    def leave(self) -> ast.stmt:
        """``break``."""
        return ast.Break(**self._at)

    def next(self) -> ast.stmt:
        """``continue``."""
        return ast.Continue(**self._at)

    def guarded(self, body: list[ast.stmt], failed: list[ast.stmt]) -> ast.Try:
        """``try: body`` with ``except: failed; raise``.

        The ``except`` is bare, so that a user's own ``BaseException`` is not asked for.
        """
        again = ast.Raise(None, None, **self._at)
        handler = ast.ExceptHandler(None, None, [*failed, again], **self._at)
        return ast.Try(body, [handler], [], [], **self._at)

    def reads(
        self, owner: int, variables: Sequence[Variable], settled: Collection[str]
    ) -> list[ast.stmt]:
        """``try: h.see(owner, ("a",), a)`` with ``except NameError: pass``, for each variable.

        Those that are ``settled`` are bound for certain: neighbours among them are shown by one
        call, without a ``try``.

        The compiler lists variables in the order in which it meets them, and ``locals()`` has
        that order. So where one is not shown, all are first mentioned in code that never runs,
        and that is not even emitted.
        """
        shown = [variable for variable in variables if variable.shown]
        reads: list[ast.stmt] = []
        for bound, group in itertools.groupby(shown, lambda item: item.is_bound(settled)):
            if bound:
                reads.append(self._see(owner, list(group)))
            else:
                reads += (self._try_to_see(owner, variable) for variable in group)
        if not shown or len(shown) == len(variables):
            return reads
        mention = ast.Tuple([self._mention(item) for item in variables], _LOAD, **self._at)
        never = ast.If(self.constant(False), [ast.Expr(mention, **self._at)], [], **self._at)
        return [never, *reads]

    def _see(self, owner: int, variables: Sequence[Variable]) -> ast.stmt:
        values = (self.name(variable.name) for variable in variables)
        return self.do("see", self.constant(owner), self._sources(variables), *values)

    def _try_to_see(self, owner: int, variable: Variable) -> ast.stmt:
        unbound = ast.ExceptHandler(
            self.name("NameError"), None, [ast.Pass(**self._at)], **self._at
        )
        return ast.Try([self._see(owner, [variable])], [unbound], [], [], **self._at)

    def _sources(self, variables: Sequence[Variable]) -> ast.Constant:
        return self.constant(tuple(variable.source for variable in variables))

    def _mention(self, variable: Variable) -> ast.expr:
        if not variable.hidden:
            return self.name(variable.name)
        # Since Python 3.12 a comprehension's variable is listed among its function's.
        part = ast.comprehension(self._target(variable), ast.Tuple([], _LOAD, **self._at), [], 0)
        return ast.ListComp(self.constant(None), [part], **self._at)

    def write_back(
        self, site: int, variables: Iterable[Variable], settled: Collection[str]
    ) -> list[ast.stmt]:
        """``h.restore(site)``, then ``if h.has("a"): a = h.take("a")`` for each variable.

        Those that are ``settled`` are bound at once: ``a, b = h.taken(("a", "b"), a, b)``.
        """
        shown = [variable for variable in variables if variable.shown and variable.settable]
        bound = [variable for variable in shown if variable.is_bound(settled)]
        back = [self.do("restore", self.constant(site))]
        if bound:
            values = (self.name(variable.name) for variable in bound)
            targets = ast.Tuple([self._target(variable) for variable in bound], _STORE, **self._at)
            taken = self.call("taken", self._sources(bound), *values)
            back.append(ast.Assign([targets], taken, **self._at))
        return back + [self._take(item) for item in shown if not item.is_bound(settled)]

    def _take(self, variable: Variable) -> ast.stmt:
        text = self.constant(variable.source)
        take = ast.Assign([self._target(variable)], self.call("take", text), **self._at)
        return ast.If(self.call("has", text), [take], [], **self._at)

    def _target(self, variable: Variable) -> ast.Name:
        return ast.Name(variable.name, _STORE, **self._at)
