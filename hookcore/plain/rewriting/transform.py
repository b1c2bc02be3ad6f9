"""The walk over one file's syntax tree that puts the sites in."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from types import CodeType

import attrs

from hookcore.plain import table
from hookcore.plain.rewriting import loops, syntax
from hookcore.plain.rewriting.codes import Codes
from hookcore.plain.rewriting.snippets import Snippets, Variable
from hookcore.plain.rewriting.variables import variables

_SITES_ONLY = frozenset({"forward", "__call__", "__init__"})
_NO_SCALAR = (*syntax.COMPREHENSIONS, ast.List, ast.Set, ast.Tuple, ast.GeneratorExp,
              ast.Lambda, ast.JoinedStr)  # fmt: skip
_Owner = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# By name: bound methods on the instance would be a cycle, and the tree would outlive the walk.
_SPECIAL = {
    ast.For: "_loop",
    ast.While: "_loop",
    ast.Break: "_jump",
    ast.Continue: "_jump",
    ast.Return: "_return",
    ast.Assign: "_assignment",
    ast.AugAssign: "_assignment",
    ast.AnnAssign: "_assignment",
}


@attrs.define(eq=False)
class _Loop:
    """A loop that the walk is inside of.

    Attributes:
        site: Its id, or None where it is no site.
        end: Its last line.
        body: Whether the walk is in its body, and not in its ``else``.
        breaks: Whether a ``break`` leaves it.
        covers: How many blocks between it and the walk see what happens at a ``break`` in them.
        late: Whether a ``break`` in such a block leaves it: it tells behind the loop.
        at_head: Whether its iterations end at its head, where a ``continue`` leads.
        reads: What its tail does.
        bindings: Ids of the assignments whose innermost loop it is.
    """

    site: int | None
    end: int
    body: bool = True
    breaks: bool = False
    covers: int = 0
    late: bool = False
    at_head: bool = False
    reads: list[ast.stmt] = attrs.field(factory=list)
    bindings: list[int] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Frame:
    """The scope that the walk is in.

    Attributes:
        full: Whether more than sites is put in.
        function: Id of the function where it reports its return.
        variables: What its insertions read.
        loops: The loops around the walk's place, outermost first.
        settled: Variables that are bound for certain where the walk is.
        bindings: Ids by name and innermost site.
    """

    full: bool
    function: int | None = None
    variables: tuple[Variable, ...] = ()
    loops: list[_Loop] = attrs.field(factory=list)
    settled: set[str] = attrs.field(factory=set)
    bindings: dict[tuple[str, int | None], int] = attrs.field(factory=dict)

    def shown(self, line: int) -> tuple[Variable, ...]:
        """The variables, of which only those are shown that can be bound at a line."""
        last = max([line, *(loop.end for loop in self.loops[:1])])
        shown = [
            variable if variable.line <= last else attrs.evolve(variable, shown=False)
            for variable in self.variables
        ]
        while shown and not shown[-1].shown:
            shown.pop()
        return tuple(shown)

    def outermost(self) -> int | None:
        """The outermost site that is not left yet."""
        found = (loop for loop in self.loops if loop.body and loop.site is not None)
        return next((loop.site for loop in found), None)

    def around(self) -> _Loop | None:
        """The innermost loop in whose body the walk is."""
        return next((loop for loop in reversed(self.loops) if loop.body), None)

    def innermost(self) -> _Loop | None:
        """The innermost site in whose body the walk is."""
        found = (loop for loop in reversed(self.loops) if loop.body and loop.site is not None)
        return next(found, None)


class Transformer:
    """Changes one file's tree in place, and notes what it has put in.

    Args:
        tree: The tree.
        text: What it was read from.
        path: The file, as its code objects name it.
        module: Name of the module.
        plain: Python's own compilation of the text.
        deepest: How many sites may nest, or None for any number.
    """

    def __init__(
        self,
        tree: ast.Module,
        text: str,
        path: str,
        module: str,
        plain: CodeType,
        deepest: int | None = None,
    ) -> None:
        self.sites: list[table.Site] = []
        self.functions: list[table.Function] = []
        self.bindings: list[table.Binding] = []
        self._tree, self._path, self._module, self._deepest = tree, path, module, deepest
        self._codes = Codes(plain)
        self._ordinals = syntax.ordinals(tree)
        self._roles = syntax.roles(self._ordinals, text, path)
        self._compiled = syntax.compiled_names(tree, text)
        self._comprehensions_at = sorted(
            node.lineno for node in self._ordinals if isinstance(node, syntax.COMPREHENSIONS)
        )
        self._verdicts: dict[ast.AST, bool] = {}
        sites = (node.lineno for node in self._ordinals if self._is_site(node))
        self._telling = sorted({*sites, *syntax.switch_lines(text)})
        self._frame: _Frame | None = None
        self._follows = False
        self._qualname = ""
        self._class: ast.ClassDef | None = None  # the class in whose body the walk is
        self._owner = ""  # name of the class around it, for private names

    @property
    def changed(self) -> bool:
        """Whether anything was put in."""
        return bool(self.sites or self.functions)

    def run(self) -> None:
        """Walk the whole tree, where anything in it may be told of."""
        if not self._telling:
            return
        self._frame = _Frame(full=True)
        self._tree.body = self._block(self._tree.body)

    # -- scopes

    def _block(self, body: list[ast.stmt], *, repeated: bool = False) -> list[ast.stmt]:
        before, frame = self._follows, self._frame
        settled = set(frame.settled) if frame is not None else None
        out: list[ast.stmt] = []
        for number, node in enumerate(body, 1):
            self._follows = before or repeated or number < len(body)
            out += self._statement(node)
            if frame is not None and isinstance(node, (ast.Assign, ast.AnnAssign)):
                # What follows in this block is reached through this statement only.
                frame.settled.update(syntax.assigned(node))
        self._follows = before
        if frame is not None and settled is not None:
            frame.settled = settled
        return out

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._definition(node)
            return [node]
        if self._frame is not None:
            if _any_between(self._comprehensions_at, node.lineno, _end(node)):
                self._comprehensions(self._frame, node)
            special = _SPECIAL.get(type(node))
            if special is not None:
                rewritten: list[ast.stmt] = getattr(self, special)(node)
                return rewritten
        loop = self._frame.around() if self._frame is not None else None
        for owner, name in syntax.blocks(node):
            covered = loop.covers if loop is not None else 0
            if loop is not None and syntax.covers(node, owner, name):
                loop.covers += 1
            setattr(owner, name, self._block(getattr(owner, name)))
            if loop is not None:
                loop.covers = covered
        return [node]

    def _definition(self, node: _Owner) -> None:
        before = self._frame, self._follows, self._qualname, self._class, self._owner
        self._qualname = f"{self._qualname}{node.name}"
        self._follows = False
        if isinstance(node, ast.ClassDef):
            # What a class body runs is left as it is; its methods are not.
            self._frame, self._class, self._owner = None, node, node.name
            self._qualname += "."
            node.body = self._block(node.body)
        else:
            self._function(node)
        self._frame, self._follows, self._qualname, self._class, self._owner = before

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        frame = self._frame = self._frame_of(node)
        qualname, self._qualname = self._qualname, f"{self._qualname}.<locals>."
        self._class = None
        node.body = self._block(node.body)
        if frame is None or frame.function is None:
            return
        self._report_end(frame, node.body)
        self.functions.append(
            table.Function(
                id=frame.function,
                path=self._path,
                line=node.lineno,
                module=self._module,
                qualname=qualname,
                names=_names(frame.variables, settable=True),
                free=_names(frame.variables, settable=False),
                bindings=tuple(frame.bindings.values()),
            )
        )

    def _frame_of(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> _Frame | None:
        """What is put into a function; None: nothing, as into coroutines and generators."""
        if isinstance(node, ast.AsyncFunctionDef):
            return None
        if not _any_between(self._telling, syntax.first_line(node), _end(node)):
            return _Frame(full=False)
        scope, code = syntax.scope_of(node), self._codes.of(node)
        if scope.suspends or code is None:
            return None
        if self._sites_only(node, scope):
            return _Frame(full=False)
        shown = tuple(variables(node, scope, code, self._owner))
        given = {argument.arg for argument in syntax.arguments(node)}
        return _Frame(full=True, function=table.next_id(), variables=shown, settled=given)

    def _sites_only(self, node: ast.FunctionDef, scope: syntax.Scope) -> bool:
        if node.name in _SITES_ONLY or node.name in self._compiled:
            return True
        if not scope.switches and not any(map(self._is_site, scope.loops)):
            return True
        # What a module computes may be compiled; a method that trains or evaluates is not.
        members = self._class.body if self._class is not None else ()
        module = any(getattr(member, "name", None) == "forward" for member in members)
        return module and not scope.trains and not scope.switches

    # -- loops

    def _is_site(self, node: syntax.Loop) -> bool:
        if node not in self._verdicts:
            self._verdicts[node] = node in self._roles or syntax.can_step(node)
        return self._verdicts[node]

    def _loop(self, node: ast.For | ast.While) -> list[ast.stmt]:
        frame = self._here
        depth = sum(loop.site is not None for loop in frame.loops)
        if not self._is_site(node) or (self._deepest is not None and depth >= self._deepest):
            self._walk_loop(frame, node, _Loop(None, _end(node)))
            return [node]
        loop = _Loop(table.next_id(), _end(node), at_head=loops.ends_at_head(node))
        site, tail = self._site(frame, node, loop.site), None
        if frame.full:
            tail = self._tail_of(frame, node, loop, site)
            loop.reads = tail.reads
        self._walk_loop(frame, node, loop)
        site.breaks, site.bindings = loop.breaks, tuple(loop.bindings)
        return [loops.watched(node, site.id, tail, late=loop.late)]

    def _tail_of(
        self, frame: _Frame, node: ast.For | ast.While, loop: _Loop, site: table.Site
    ) -> loops.Tail:
        new = Snippets(loops.place(node))
        site.has_tail = True
        if frame.function is None:
            reads = [new.do("see_globals", new.constant(site.id))]
            return loops.Tail(reads, new.write_back(site.id, (), ()))
        shown = frame.shown(loop.end)
        bound = frame.settled | set(_bound_by_head(node))
        site.names, site.free = _names(shown, settable=True), _names(shown, settable=False)
        return loops.Tail(
            new.reads(site.id, shown, bound), new.write_back(site.id, shown, bound)
        )

    def _walk_loop(self, frame: _Frame, node: ast.For | ast.While, loop: _Loop) -> None:
        frame.loops.append(loop)
        settled = set(frame.settled)
        frame.settled.update(_bound_by_head(node))
        node.body = self._block(node.body, repeated=True)
        frame.settled = settled
        frame.loops[-1] = _Loop(loop.site, loop.end, body=False)
        node.orelse = self._block(node.orelse)
        frame.loops.pop()

    def _comprehensions(self, frame: _Frame, statement: ast.stmt) -> None:
        stack: list[ast.AST] = list(syntax.expressions(statement))
        while stack:
            node = stack.pop()
            if isinstance(node, ast.GeneratorExp):
                stack.append(node.generators[0].iter)  # the rest is a generator's
                continue
            if isinstance(node, ast.Lambda):
                stack.append(node.body)
                continue
            stack += syntax.children(node)
            if isinstance(node, syntax.COMPREHENSIONS) and self._is_site(node):
                first = node.generators[0]
                if not first.is_async:
                    site = self._site(frame, node, table.next_id())
                    first.iter = loops.each(site.id, first.iter)

    def _site(self, frame: _Frame, node: syntax.Loop, number: int | None) -> table.Site:
        """Note a site; to be called before its parts are rewritten."""
        assert number is not None
        kind, head, target = _parts(node)
        inner = frame.innermost()
        site = table.Site(
            id=number,
            kind=kind,
            path=self._path,
            line=node.lineno,
            ordinal=self._ordinals[node],
            module=self._module,
            scope=self._scope,
            body=_body_lines(node, head),
            function=frame.function,
            parent=inner.site if inner is not None else None,
            targets=syntax.target_names(target) if target is not None else (),
            shape=syntax.shape_of(target) if target is not None else None,
            mentions=syntax.names_in(head),
            role_comment=self._roles.get(node),
            endless=kind == "while" and isinstance(head, ast.Constant) and bool(head.value),
            follows=self._follows,
            may_step=any(map(syntax.is_training_call, syntax.walk(node))),
        )
        self.sites.append(site)
        return site

    def _jump(self, node: ast.Break | ast.Continue) -> list[ast.stmt]:
        loop = self._here.around()  # in the else of a loop, which is over by then: one around that
        assert loop is not None
        if isinstance(node, ast.Continue):
            return [*([] if loop.at_head else _tail(loop, node)), node]
        loop.breaks = True
        loop.late = loop.late or loop.covers > 0
        left = [loops.left(loop.site, node)] if loop.site is not None and not loop.covers else []
        return [*_tail(loop, node), *left, node]

    # -- returns and bindings

    def _return(self, node: ast.Return) -> list[ast.stmt]:
        frame = self._here
        if frame.function is not None:
            return self._report(frame, node)
        outermost = frame.outermost()
        if outermost is not None:
            at = Snippets(node.value or node)
            node.value = at.call(
                "returning", at.constant(outermost), node.value or at.constant(None)
            )
        return [node]

    def _report(self, frame: _Frame, node: ast.Return) -> list[ast.stmt]:
        assert frame.function is not None
        new, at = Snippets(node), Snippets(node.value or node)
        outermost = frame.outermost()
        where = () if outermost is None else (at.constant(outermost),)
        value = node.value or at.constant(None)
        node.value = at.call("returned", at.constant(frame.function), value, *where)
        reads = new.reads(frame.function, frame.shown(node.lineno), frame.settled)
        return [new.when(frame.function, "frames", body=reads), node] if reads else [node]

    def _report_end(self, frame: _Frame, body: list[ast.stmt]) -> None:
        """Report at the end of a function's body, or of a branch there, at what ran last."""
        last = body[-1]
        if isinstance(last, (ast.Return, ast.Raise)):
            return
        if not isinstance(last, ast.If):
            body += self._report(frame, ast.copy_location(ast.Return(), last))
            return
        self._report_end(frame, last.body)
        if last.orelse:
            self._report_end(frame, last.orelse)
        else:
            last.orelse = self._report(frame, ast.copy_location(ast.Return(), last.test))

    def _assignment(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.stmt]:
        frame = self._here
        loop = frame.innermost()
        if not frame.full or (frame.function is None and loop is None):
            return [node]
        own = _names(frame.variables, settable=True)
        site = loop.site if loop is not None else None
        out: list[ast.stmt] = [node]
        for name in dict.fromkeys(_scalars(node)):
            if frame.function is None or name in own:
                number = frame.bindings.get((name, site))
                if number is None:
                    number = frame.bindings[name, site] = table.next_id()
                    self.bindings.append(table.Binding(number, name, frame.function, site))
                    if loop is not None:
                        loop.bindings.append(number)
                out.append(Snippets(node).mark(number))
        return out

    @property
    def _here(self) -> _Frame:
        assert self._frame is not None
        return self._frame

    @property
    def _scope(self) -> str:
        return self._qualname.removesuffix(".<locals>.") or "<module>"


def _any_between(lines: list[int], first: int, last: int) -> bool:
    """Whether a sorted list has a line from the first to the last."""
    place = bisect_left(lines, first)
    return place < len(lines) and lines[place] <= last


def _parts(node: syntax.Loop) -> tuple[table.Kind, ast.expr, ast.expr | None]:
    """What a loop is, what its head asks, and what it binds."""
    if isinstance(node, ast.For):
        return "for", node.iter, node.target
    if isinstance(node, ast.While):
        return "while", node.test, None
    return "comprehension", node.generators[0].iter, node.generators[0].target


def _body_lines(node: syntax.Loop, head: ast.expr) -> range:
    """Lines on which nothing of a loop's head stands, and nothing but its body."""
    if not isinstance(node, (ast.For, ast.While)):
        return range(0)
    after_head = (head.end_lineno or node.lineno) + 1
    return range(max(after_head, node.body[0].lineno), _end(node.body[-1]) + 1)


def _bound_by_head(node: ast.For | ast.While) -> Iterator[str]:
    """Variables that a loop's head has bound when its body runs."""
    return syntax.plain_names(node.target) if isinstance(node, ast.For) else iter(())


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _names(shown: Iterable[Variable], *, settable: bool) -> tuple[str, ...]:
    """Names that are shown, as the user writes them."""
    return tuple(item.source for item in shown if item.shown and item.settable is settable)


def _tail(loop: _Loop, place: ast.expr | ast.stmt) -> list[ast.stmt]:
    """``if site in h.tails: ...``; the reads themselves keep the loop's own place."""
    if loop.site is None or not loop.reads:
        return []
    return [Snippets(place).when(loop.site, "tails", body=loop.reads)]


def _scalars(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[str]:
    """The variables that an assignment may bind to a number or a tensor."""
    if not isinstance(node, ast.Assign):
        if node.value is not None and not _is_no_scalar(node.value):
            yield from syntax.plain_names(node.target)
        return
    for target in node.targets:
        if not isinstance(target, ast.Name) or not _is_no_scalar(node.value):
            yield from syntax.plain_names(target)


def _is_no_scalar(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return not isinstance(value.value, (int, float))
    return isinstance(value, _NO_SCALAR)
