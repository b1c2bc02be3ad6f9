"""How a loop that is a site is written: its head, its body and its tail."""

from __future__ import annotations

import ast

import attrs

from hookcore.plain.rewriting.snippets import Snippets


@attrs.frozen(eq=False)
class Tail:
    """What the end of an iteration may do, where somebody asks.

    Attributes:
        reads: Shows the frame's variables.
        back: Puts a checkpoint's values back, in the place of a body.
    """

    reads: list[ast.stmt]
    back: list[ast.stmt]


def each(site: int, iterable: ast.expr) -> ast.Call:
    """``h.each(site, iterable)``: the head of a ``for`` or a comprehension."""
    new = Snippets(iterable)
    return new.call("each", new.constant(site), iterable)


def place(node: ast.For | ast.While) -> ast.expr | ast.stmt:
    """What a tracer sees a loop come back to."""
    return node if isinstance(node, ast.For) else node.test


def ends_at_head(node: ast.For | ast.While) -> bool:
    """Whether an iteration ends at the loop's head, so that no ``continue`` need end it."""
    # Only a condition that fails leads into an else.
    return isinstance(node, ast.While) and not node.orelse


def left(site: int, at: ast.expr | ast.stmt) -> ast.stmt:
    """``h.left(site)``: control leaves the loop, at one of the user's nodes."""
    new = Snippets(at)
    return new.do("left", new.constant(site))


def watched(node: ast.For | ast.While, site: int, tail: Tail | None, *, late: bool) -> ast.Try:
    """A loop with a site.

    Args:
        node: The loop, whose own body has been walked.
        site: Its id.
        tail: What its tail may do, None where its variables are nobody's.
        late: Whether it tells behind itself that it was left, too.
    """
    at = place(node)
    new = Snippets(at)
    end = _end(new, site, tail)
    loop: ast.stmt = node
    if isinstance(node, ast.For):
        node.iter = each(site, node.iter)
        if tail is not None:
            node.body = [new.only_if(new.not_among(site, "back"), node.body), *end]
    elif ends_at_head(node):
        head: list[ast.stmt] = [_head(new, site, node.test, end)]
        loop = Snippets(None).endless(head + node.body)
    else:
        node.test = new.both(_unless_dead(new, site, "again"), node.test)
        node.body = [new.only_if(_unless_dead(new, site, "begin"), node.body), *end]
        node.orelse = [left(site, at), *node.orelse]
    behind = [left(site, at)] if late else []
    return new.guarded([loop, *behind], [new.do("failed", new.constant(site))])


def _end(new: Snippets, site: int, tail: Tail | None) -> list[ast.stmt]:
    """``if site in h.tails: reads``, and in it ``if site in h.back: back``.

    What is put back is shown before: a site that goes back is among the tails.
    """
    if tail is None:
        return []
    back = new.when(site, "back", tail.back)
    return [Snippets(None).when(site, "tails", [*tail.reads, back])]


def _head(new: Snippets, site: int, test: ast.expr, end: list[ast.stmt]) -> ast.stmt:
    """The head of a ``while`` without an ``else``, as the first statement of its body.

    ::

        if site not in h.dead:
            end
            if not (h.again(site) and (test)):
                h.left(site)
                break
            if not h.begin(site): continue
        elif not (test): break

    So one that nobody watches pays one look into a dict. The compiler reads the test twice.
    """
    number = new.constant(site)
    goes_on = new.both(new.call("again", number), test)
    return new.either(
        new.not_among(site, "dead"),
        [
            *end,
            new.unless(goes_on, [new.do("left", number), new.leave()]),
            new.unless(new.call("begin", number), [new.next()]),
        ],
        [new.unless(test, [new.leave()])],
    )


def _unless_dead(new: Snippets, site: int, function: str) -> ast.expr:
    """``site in h.dead or h.function(site)``."""
    return new.one_of(new.among(site, "dead"), new.call(function, new.constant(site)))
