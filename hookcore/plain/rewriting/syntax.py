"""What can be read off a syntax tree before anything is rewritten."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import attrs

from hookcore.errors import UsageError
from hookcore.layers import ROLES

Loop: TypeAlias = "ast.For | ast.While | Comprehension"
Comprehension: TypeAlias = "ast.ListComp | ast.SetComp | ast.DictComp"
Definition: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Shape: TypeAlias = "tuple[Shape, ...] | None"

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp)
LOOPS = (ast.For, ast.While, *COMPREHENSIONS)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# fmt: off
_SAFE_FUNCTIONS = frozenset({
    "abs", "bool", "chr", "divmod", "enumerate", "float", "format", "getattr", "hasattr", "hash",
    "id", "int", "isinstance", "issubclass", "len", "open", "ord", "pow", "print", "range", "repr",
    "reversed", "round", "setattr", "str", "type", "zip",
})
_SAFE_METHODS = frozenset({
    "append", "close", "decode", "encode", "endswith", "extend", "format", "insert", "item",
    "items", "join", "keys", "lower", "readline", "readlines", "replace", "setdefault", "sort",
    "split", "startswith", "strip", "upper", "values", "write",
})
# fmt: on
_GRADIENT_MODES = frozenset({"no_grad", "inference_mode", "set_grad_enabled"})
_TRAINING_METHODS = frozenset({"step", "backward", "zero_grad"})
_SWITCH = re.compile("|".join((*_GRADIENT_MODES, "eval")))
_NEWLINE = re.compile(r"\r\n|\r|\n")
_COMPILERS = frozenset({"compile", "script", "trace"})
_ROLE_COMMENT = re.compile(r"#\s*hookcore:\s*(\S+)")
_ONE_BLOCK = ("body", "orelse", "finalbody")
_NO_NODES = frozenset({"attr", "ctx", "id", "kind", "op", "ops", "type_comment"})
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_NO_EXPRESSION = frozenset({*_ONE_BLOCK, "handlers", "cases", "annotation"})


@attrs.define(eq=False)
class Scope:
    """What one function, or a module, binds and holds; nested scopes do not count.

    Attributes:
        loops: Its loops and comprehensions.
        definitions: Names bound by an import, a ``def`` or a ``class``.
        declared: Names declared ``global`` or ``nonlocal``.
        first: Names bound by an assignment, a loop, ``with``, ``except``, ``match``, ``del``, each
            with the first line that does; a parameter's is 0.
        deleted: Names that a ``del`` or the end of an ``except`` block unbinds.
        suspends: Whether it is a generator.
        switches: Whether it mentions ``.eval(`` or a gradient mode.
        trains: Whether it calls something named ``step``, ``backward`` or ``zero_grad``.
    """

    loops: list[Loop] = attrs.field(factory=list)
    first: dict[str, int] = attrs.field(factory=dict)
    definitions: set[str] = attrs.field(factory=set)
    declared: set[str] = attrs.field(factory=set)
    deleted: set[str] = attrs.field(factory=set)
    suspends: bool = False
    switches: bool = False
    trains: bool = False

    def bind(self, name: str, line: int) -> None:
        """Note that a line binds a variable."""
        self.first[name] = min(line, self.first.get(name, line))


def scope_of(owner: Definition | ast.Module) -> Scope:
    """Read one scope.

    Args:
        owner: The function or module.
    """
    scope = Scope()
    if not isinstance(owner, ast.Module):
        scope.first.update((argument.arg, 0) for argument in arguments(owner))
        for decorator in owner.decorator_list:
            scope.switches = scope.switches or any(map(_is_switch, walk(decorator)))
    for node in own(owner):
        enter = _ENTER.get(type(node))
        if enter is not None:
            enter(scope, node)
    return scope


def _enter_name(scope: Scope, node: ast.Name) -> None:
    if not isinstance(node.ctx, ast.Load):
        scope.bind(node.id, node.lineno)
        if isinstance(node.ctx, ast.Del):
            scope.deleted.add(node.id)
    scope.switches = scope.switches or _is_switch(node)


def _enter_use(scope: Scope, node: ast.Attribute | ast.Call) -> None:
    scope.switches = scope.switches or _is_switch(node)
    scope.trains = scope.trains or is_training_call(node)


def _enter_loop(scope: Scope, node: Loop) -> None:
    scope.loops.append(node)


def _enter_yield(scope: Scope, _: ast.Yield | ast.YieldFrom) -> None:
    scope.suspends = True


def _enter_definition(scope: Scope, node: Definition | ast.ClassDef) -> None:
    scope.definitions.add(node.name)


def _enter_import(scope: Scope, node: ast.alias) -> None:
    scope.definitions.add(node.asname or node.name.partition(".")[0])


def _enter_handler(scope: Scope, node: ast.ExceptHandler) -> None:
    if node.name:
        scope.bind(node.name, node.lineno)
        scope.deleted.add(node.name)


def _enter_match(scope: Scope, node: ast.MatchAs | ast.MatchStar) -> None:
    if node.name:
        scope.bind(node.name, node.lineno)


def _enter_mapping(scope: Scope, node: ast.MatchMapping) -> None:
    if node.rest:
        scope.bind(node.rest, node.lineno)


def _enter_declaration(scope: Scope, node: ast.Global | ast.Nonlocal) -> None:
    scope.declared.update(node.names)


_ENTER: dict[type[ast.AST], Callable[[Scope, Any], None]] = {
    ast.Name: _enter_name,
    ast.Attribute: _enter_use,
    ast.Call: _enter_use,
    **dict.fromkeys(LOOPS, _enter_loop),
    ast.Yield: _enter_yield,
    ast.YieldFrom: _enter_yield,
    **dict.fromkeys((*DEFINITIONS, ast.ClassDef), _enter_definition),
    ast.alias: _enter_import,
    ast.ExceptHandler: _enter_handler,
    ast.MatchAs: _enter_match,
    ast.MatchStar: _enter_match,
    ast.MatchMapping: _enter_mapping,
    ast.Global: _enter_declaration,
    ast.Nonlocal: _enter_declaration,
}
"""What each kind of node tells of a scope; most nodes tell nothing."""


def own(owner: Definition | ast.Module) -> Iterator[ast.AST]:
    """The nodes of one scope; of a nested scope the node itself and what is evaluated outside it.

    The targets of comprehensions are left out: they are no variables of the scope.
    """
    stack: list[ast.AST] = list(owner.body)
    while stack:
        node = stack.pop()
        yield node
        stack += _IN_SCOPE.get(type(node), children)(node)


def _of_function(node: Definition) -> list[ast.expr]:
    return [*node.decorator_list, *_defaults(node.args)]


_IN_SCOPE: dict[type[ast.AST], Callable[[Any], Iterable[ast.AST]]] = {
    **dict.fromkeys(DEFINITIONS, _of_function),
    ast.Lambda: lambda node: _defaults(node.args),
    ast.ClassDef: lambda node: [*node.decorator_list, *node.bases, *node.keywords],
    ast.comprehension: lambda node: [node.iter, *node.ifs],
    ast.AnnAssign: lambda node: [node.target, *([node.value] if node.value else ())],
}
"""What of a node's children is evaluated in the scope around it, where it is not all of them."""
if hasattr(ast, "TypeAlias"):  # since Python 3.12
    _IN_SCOPE[ast.TypeAlias] = lambda _: ()


def children(node: ast.AST) -> list[ast.AST]:
    """What a node consists of, but for operators and contexts.

    Half of the time that a file takes is spent here; ``ast.iter_child_nodes`` takes four times
    as long.
    """
    found: list[ast.AST] = []
    kind = type(node)
    if kind is ast.Name or kind is ast.Constant:
        return found
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(name for name in kind._fields if name not in _NO_NODES)
    for name in names:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif value and type(value) is list:
            found += [item for item in value if isinstance(item, ast.AST)]
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and everything in it, in no particular order."""
    stack = [node]
    while stack:
        item = stack.pop()
        yield item
        stack += children(item)


def _defaults(args: ast.arguments) -> list[ast.expr]:
    return [*args.defaults, *(default for default in args.kw_defaults if default is not None)]


def arguments(function: Definition) -> list[ast.arg]:
    """A function's parameters, in the order of ``co_varnames``."""
    args = function.args
    stars = [star for star in (args.vararg, args.kwarg) if star is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *stars]


def _is_switch(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "eval"
    if isinstance(node, ast.Attribute):
        return node.attr in _GRADIENT_MODES
    return isinstance(node, ast.Name) and node.id in _GRADIENT_MODES


def is_training_call(node: ast.AST) -> bool:
    """Whether a node calls a method named ``step``, ``backward`` or ``zero_grad``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr in _TRAINING_METHODS


def compiled_names(tree: ast.Module, text: str) -> set[str]:
    """Functions that a file hands to a compiler, as a decorator or by ``torch.compile(name)``."""
    names: set[str] = set()
    if not any(word in text for word in _COMPILERS):
        return names
    for node in walk(tree):
        if isinstance(node, ast.FunctionDef):
            mentioned = {name for item in node.decorator_list for name in names_in(item)}
            if not _COMPILERS.isdisjoint(mentioned):
                names.add(node.name)
        elif isinstance(node, ast.Call) and not _COMPILERS.isdisjoint(names_in(node.func)):
            names.update(name for argument in node.args for name in target_names(argument))
    return names


def early_declarations(function: Definition) -> set[str]:
    """Names declared ``global`` or ``nonlocal`` before anything is put into the function.

    Later declarations are left alone: Python refuses a name that is read before them.
    """
    names: set[str] = set()
    for statement in function.body:
        if isinstance(statement, (ast.Global, ast.Nonlocal)):
            names.update(statement.names)
        elif not isinstance(statement, (ast.Expr, ast.Import, ast.ImportFrom)):
            break
    return names


def can_step(loop: Loop) -> bool:
    """Whether anything in a loop can reach an optimizer's step.

    It cannot where it calls nothing, or only harmless builtins and methods of builtin types, and
    iterates over a plain name, an attribute or the result of such a call. A generator bound to a
    plain name is taken to be data.
    """
    parts: list[ast.AST]
    if isinstance(loop, ast.For):
        parts = [loop.iter, *loop.body, *loop.orelse]
    elif isinstance(loop, ast.While):
        parts = [loop.test, *loop.body, *loop.orelse]
    else:
        parts = [loop]
    raised = set()
    for part in parts:
        for node in walk(part):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                raised.add(node.exc)  # an exception is built, and the loop is left
            elif node not in raised and _can_run_code(node):
                return True
    return False


def _can_run_code(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return not _is_safe(node.func)
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _is_safe(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _SAFE_FUNCTIONS
    return isinstance(function, ast.Attribute) and function.attr in _SAFE_METHODS


def roles(loops: Iterable[Loop], source: str, path: str) -> dict[Loop, str]:
    """The roles that ``# hookcore: role`` comments in the loops' heads give them.

    A comment in the head of a ``for`` or ``while`` is not for the comprehensions in that head.

    Args:
        loops: The file's loops.
        source: The file's text.
        path: The file, for messages.

    Raises:
        UsageError: A comment at a loop names no role.
    """
    comments = _comments(source)
    found: dict[Loop, str] = {}
    if not comments:
        return found
    ordered = sorted(loops, key=lambda loop: isinstance(loop, COMPREHENSIONS))
    for loop in ordered:
        for line in _head_lines(loop):
            if line in comments:
                found[loop] = _checked(comments.pop(line), path, line)
                break
    return found


def _comments(source: str) -> dict[int, str]:
    if "hookcore:" not in source:
        return {}
    matches = ((n, _ROLE_COMMENT.search(line)) for n, line in enumerate(source.split("\n"), 1))
    return {number: match[1] for number, match in matches if match}


def _checked(role: str, path: str, line: int) -> str:
    if role in ROLES:
        return role
    raise UsageError(
        f"{path}:{line}: '# hookcore: {role}' is no role of a loop",
        f"a loop is one of: {', '.join(ROLES)}",
        "correct the comment, or take it away",
    )


def _head_lines(loop: Loop) -> range:
    """Lines from a loop's first to the last of its head; of a comprehension, all."""
    head: ast.expr | Loop = loop
    if isinstance(loop, ast.For):
        head = loop.iter
    elif isinstance(loop, ast.While):
        head = loop.test
    return range(loop.lineno, (head.end_lineno or loop.lineno) + 1)


def names_in(node: ast.AST) -> tuple[str, ...]:
    """Names and attributes that an expression mentions, each once."""
    found: dict[str, None] = {}
    for part in walk(node):
        if isinstance(part, ast.Name):
            found[part.id] = None
        elif isinstance(part, ast.Attribute):
            found[part.attr] = None
    return tuple(found)


def target_names(target: ast.expr) -> tuple[str, ...]:
    """Names that a target binds; of an attribute its last name, of an item nothing."""
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Attribute):
        return (target.attr,)
    if isinstance(target, ast.Starred):
        return target_names(target.value)
    if isinstance(target, (ast.Tuple, ast.List)):
        return tuple(name for part in target.elts for name in target_names(part))
    return ()


def shape_of(target: ast.expr) -> Shape:
    """How a target takes its item apart: None, or a tuple with the shape of each part."""
    if isinstance(target, (ast.Tuple, ast.List)):
        fixed = [part for part in target.elts if not isinstance(part, ast.Starred)]
        return tuple(shape_of(part) for part in fixed)
    return None


def plain_names(target: ast.expr) -> Iterator[str]:
    """The variables that a target binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Starred):
        yield from plain_names(target.value)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from plain_names(part)


def assigned(statement: ast.Assign | ast.AnnAssign) -> Iterator[str]:
    """The variables that an assignment has bound when it is over."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from plain_names(target)
    elif statement.value is not None:
        yield from plain_names(statement.target)


def expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement itself, without its blocks and without annotations."""
    for name, value in ast.iter_fields(statement):
        if name in _NO_EXPRESSION:
            continue
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, ast.expr):
                yield item
            elif isinstance(item, ast.withitem):
                yield item.context_expr
    for handler in getattr(statement, "handlers", ()):
        if handler.type is not None:
            yield handler.type
    for case in getattr(statement, "cases", ()):
        if case.guard is not None:
            yield case.guard


def blocks(statement: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """Where a compound statement keeps its blocks: an owner and the name of its field."""
    for name in _ONE_BLOCK:
        if getattr(statement, name, None):
            yield statement, name
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part, "body"


def covers(statement: ast.stmt, owner: ast.AST, name: str) -> bool:
    """Whether a block's statement may catch what is raised in it, or runs code when it is left."""
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return True
    tries = name == "body" and owner is statement and hasattr(statement, "handlers")
    return tries or (name != "finalbody" and bool(getattr(statement, "finalbody", None)))


def ordinals(tree: ast.Module) -> dict[Loop, int]:
    """The loops of a file, numbered as they are read."""
    loops = [node for node in walk(tree) if isinstance(node, LOOPS)]
    loops.sort(key=lambda node: (node.lineno, node.col_offset))
    return {node: number for number, node in enumerate(loops)}


def switch_lines(text: str) -> list[int]:
    """Lines on which a file may put a model into eval mode, or switch gradients off.

    Args:
        text: The file.
    """
    if _SWITCH.search(text) is None:
        return []
    lines = _NEWLINE.split(text)  # a form feed is none to Python
    return [number for number, line in enumerate(lines, 1) if _SWITCH.search(line)]


def first_line(function: Definition) -> int:
    """``co_firstlineno``: the line of the first decorator, where there is one."""
    return min([function.lineno, *(item.lineno for item in function.decorator_list)])
