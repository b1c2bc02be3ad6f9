"""Names that a loop takes from one iteration into the next: read there before they are bound."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import lru_cache

from hookcore.plain.rewriting.parsing import parse
from hookcore.plain.rewriting.syntax import ordinals

_Bound = frozenset[str]


@lru_cache(maxsize=64)
def carried(source: str, ordinal: int) -> frozenset[str]:
    """Names whose values an iteration may take from the one before it.

    An inner ``for`` is taken to run at least once, as a loop over batches does.

    Args:
        source: The file's text.
        ordinal: The loop's place among the file's loops.
    """
    loop = next(node for node, n in ordinals(parse(source)).items() if n == ordinal)
    flow = _Flow()
    if isinstance(loop, ast.While):
        flow.read(loop.test, frozenset())
        flow.block(loop.body, frozenset())
    elif isinstance(loop, ast.For):
        flow.block(loop.body, frozenset(_names(loop.target)))
    else:
        flow.read(loop, frozenset())
    return frozenset(flow.found)


@lru_cache(maxsize=64)
def read_after(source: str, ordinal: int) -> frozenset[str]:
    """Names that the code behind a loop reads."""
    tree = parse(source)
    loop = next(node for node, n in ordinals(tree).items() if n == ordinal)
    end = getattr(loop, "end_lineno", 0)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return frozenset(n.id for n in names if isinstance(n.ctx, ast.Load) and n.lineno > end)


class _Flow:
    """Follows the ways through a body; of None nothing goes on.

    Attributes:
        found: Names that were read and may not have been bound on the way.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._left: list[list[_Bound]] = [[]]  # what is bound where a loop is left or goes on

    def read(self, node: ast.AST | None, bound: _Bound) -> None:
        """An expression."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                self.found.update({part.id} - bound)

    def block(self, body: Sequence[ast.stmt], bound: _Bound | None) -> _Bound | None:
        """Statements one after another."""
        for statement in body:
            if bound is None:
                return None
            bound = self._statement(statement, bound)
        return bound

    def _statement(self, node: ast.stmt, bound: _Bound) -> _Bound | None:
        if isinstance(node, ast.If):
            self.read(node.test, bound)
            return _either([self.block(node.body, bound), self.block(node.orelse, bound)])
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            return self._loop(node, bound)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.read(item.context_expr, bound)
                bound |= _names(item.optional_vars)
            return self.block(node.body, bound)
        if isinstance(node, ast.Try):
            ways = [self.block([*node.body, *node.orelse], bound)]
            ways += [self.block(h.body, bound | {h.name or ""}) for h in node.handlers]
            end = self.block(node.finalbody, bound)
            whole = _either(ways)
            return None if end is None or whole is None else whole | end
        if isinstance(node, ast.Match):
            self.read(node.subject, bound)
            return _either([bound, *(self.block(case.body, bound) for case in node.cases)])
        return self._simple(node, bound)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, bound: _Bound) -> _Bound | None:
        inside = bound
        if isinstance(node, ast.While):
            self.read(node.test, bound)
        else:
            self.read(node.iter, bound)
            inside = bound | _names(node.target)
        self._left.append([])
        end = self.block(node.body, inside)
        ways = [*self._left.pop(), end]
        if isinstance(node, ast.While) and not isinstance(node.test, ast.Constant):
            ways.append(bound)
        after = _either(ways)
        return self.block(node.orelse, inside if after is None else after)

    def _simple(self, node: ast.stmt, bound: _Bound) -> _Bound | None:
        if isinstance(node, ast.AugAssign):
            self.found.update(_names(node.target) - bound)
        self.read(node, bound)
        if isinstance(node, (ast.Break, ast.Continue)):
            self._left[-1].append(bound)
            return None
        if isinstance(node, (ast.Return, ast.Raise)):
            return None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return bound | {node.name}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return bound | {(a.asname or a.name).partition(".")[0] for a in node.names}
        if isinstance(node, ast.Delete):
            return bound - {name.id for name in node.targets if isinstance(name, ast.Name)}
        if isinstance(node, ast.Assign):
            return bound.union(*map(_names, node.targets))
        if isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
            return bound | _names(node.target)
        return bound


def _names(target: ast.AST | None) -> _Bound:
    """Names that a target binds."""
    parts = ast.walk(target) if target is not None else ()
    return frozenset(
        part.id for part in parts
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    )  # fmt: skip


def _either(ways: Iterable[_Bound | None]) -> _Bound | None:
    """What is bound whichever way was taken."""
    reached = [way for way in ways if way is not None]
    return frozenset.intersection(*reached) if reached else None
