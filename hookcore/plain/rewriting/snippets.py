"""The code that is put into a user's file, as syntax nodes."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import attrs

GATE = "@hookcore"
"""The gate's name in the globals of rewritten code: no identifier, so it clashes with nothing."""

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


class Snippets:
    """Writes nodes that have the place of one of the user's nodes.

    Args:
        place: The node whose line and columns they get.
    """

    def __init__(self, place: ast.expr | ast.stmt) -> None:
        self._at: dict[str, Any] = {
            "lineno": place.lineno,
            "col_offset": place.col_offset,
            "end_lineno": place.end_lineno,
            "end_col_offset": place.end_col_offset,
        }
        # Python gives what an attribute does the line on which it ends: that must be the first.
        self._first_line = {
            **self._at,
            "end_lineno": place.lineno,
            "end_col_offset": place.col_offset,
        }
        self._gates: dict[str, ast.Attribute] = {}

    # -- expressions

    def name(self, name: str) -> ast.Name:
        """``name``."""
        return ast.Name(name, _LOAD, **self._at)

    def constant(self, value: int | str | bool | None) -> ast.Constant:
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

    def _among(self, owner: int, group: str, *, negated: bool = False) -> ast.Compare:
        operator = ast.NotIn() if negated else ast.In()
        return ast.Compare(self.constant(owner), [operator], [self._gate(group)], **self._at)

    def condition(self, site: int, test: ast.expr) -> ast.BoolOp:
        """``(site in h.dead or h.again(site)) and (test) and (... h.begin(site))``."""
        again, begin = (
            ast.BoolOp(
                ast.Or(),
                [self._among(site, "dead"), self.call(name, self.constant(site))],
                **self._at,
            )
            for name in ("again", "begin")
        )
        return ast.BoolOp(ast.And(), [again, test, begin], **self._at)

    # -- statements

    def do(self, function: str, *arguments: ast.expr) -> ast.stmt:
        """``h.function(*arguments)`` as a statement."""
        return ast.Expr(self.call(function, *arguments), **self._at)

    def mark(self, binding: int) -> ast.stmt:
        """``h.bound[binding] = 1``."""
        target = ast.Subscript(self._gate("bound"), self.constant(binding), _STORE, **self._at)
        return ast.Assign([target], self.constant(1), **self._at)

    def when(
        self, owner: int, group: str, body: list[ast.stmt], *, negated: bool = False
    ) -> ast.If:
        """``if owner in h.group: body``."""
        return ast.If(self._among(owner, group, negated=negated), body, [], **self._at)

    def guarded(self, loop: ast.stmt, site: int) -> ast.Try:
        """``try: loop; h.left(site)`` with ``except: h.failed(site); raise``.

        The ``except`` is bare, so that a user's own ``BaseException`` is not asked for.
        """
        number = self.constant(site)
        handler = ast.ExceptHandler(
            None, None, [self.do("failed", number), ast.Raise(None, None, **self._at)], **self._at
        )
        return ast.Try([loop, self.do("left", number)], [handler], [], [], **self._at)

    def reads(
        self, owner: int, variables: Sequence[Variable], settled: Collection[str]
    ) -> list[ast.stmt]:
        """``try: h.see(owner, "a", a)`` with ``except NameError: pass``, for each variable.

        Those that are ``settled`` are bound for certain, and need no ``try``.

        The compiler lists variables in the order in which it meets them, and ``locals()`` has
        that order. So where one is not shown, all are first mentioned in code that never runs,
        and that is not even emitted.
        """
        shown = [
            self._read(owner, variable, variable.steady and variable.source in settled)
            for variable in variables
            if variable.shown
        ]
        if not shown or all(variable.shown for variable in variables):
            return shown
        mention = ast.Tuple([self._mention(item) for item in variables], _LOAD, **self._at)
        never = ast.If(self.constant(False), [ast.Expr(mention, **self._at)], [], **self._at)
        return [never, *shown]

    def _read(self, owner: int, variable: Variable, bound: bool) -> ast.stmt:
        text, value = self.constant(variable.source), self.name(variable.name)
        see = self.do("see", self.constant(owner), text, value)
        if bound:
            return see
        unbound = ast.ExceptHandler(
            self.name("NameError"), None, [ast.Pass(**self._at)], **self._at
        )
        return ast.Try([see], [unbound], [], [], **self._at)

    def _mention(self, variable: Variable) -> ast.expr:
        if not variable.hidden:
            return self.name(variable.name)
        # Since Python 3.12 a comprehension's variable is listed among its function's.
        target = ast.Name(variable.name, _STORE, **self._at)
        part = ast.comprehension(target, ast.Tuple([], _LOAD, **self._at), [], 0)
        return ast.ListComp(self.constant(None), [part], **self._at)

    def write_back(self, site: int, variables: Iterable[Variable]) -> list[ast.stmt]:
        """``h.restore(site)``, then ``if h.has("a"): a = h.take("a")`` for each variable."""
        shown = [variable for variable in variables if variable.shown and variable.settable]
        return [self.do("restore", self.constant(site)), *map(self._take, shown)]

    def _take(self, variable: Variable) -> ast.stmt:
        text = self.constant(variable.source)
        target = ast.Name(variable.name, _STORE, **self._at)
        take = ast.Assign([target], self.call("take", text), **self._at)
        return ast.If(self.call("has", text), [take], [], **self._at)
