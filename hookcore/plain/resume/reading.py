"""The code that runs as data is read: what it can change, and which globals it can get at."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch.utils.data import Dataset

from hookcore.plain import table
from hookcore.plain.resume.slots import filled, space_of
from hookcore.plain.rewriting.codes import within

FEW = 64
"""Items of a container up to which each is looked at."""

_READS = ("__getitem__", "__getitems__", "__iter__", "__next__")
_CHANGES = frozenset({
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "put", "remove", "reverse", "rotate", "setdefault", "sort", "update",
})  # fmt: skip
_IN_PLACE = frozenset({"shuffle", "heapify", "heappush", "heappop", "insort", "copyto", "put"})
"""Functions that change what they are given."""
_BOUND = (types.MethodType, staticmethod, classmethod)
_BY_TEXT = frozenset({"getattr", "attrgetter", "vars", "__dict__"})
"""Names by which code gets at what a module holds under a name in a string."""
_OWN = frozenset({"globals", "eval", "exec"})
"""The same, of its own module."""
_ALL = frozenset({"modules", "import_module", "__import__"})
"""The same, of every module."""
_DRAWS = frozenset({
    "bernoulli", "beta", "choice", "choices", "dropout", "exponential_", "gauss", "getrandbits",
    "integers", "multinomial", "normal", "normal_", "permutation", "permuted", "poisson", "rand",
    "rand_like", "randint", "randn", "randn_like", "random", "random_", "randperm", "randrange",
    "shuffle", "standard_normal", "uniform", "uniform_", "urandom", "uuid4",
})  # fmt: skip
"""Names by which code draws random numbers."""
_FOREIGN = 3
"""Objects of others in a row that are gone through, on the way to the project's own."""


class Reading:
    """The project's code that may run as data is read, as far as names and objects lead to it.

    Args:
        objects: What data is read with: a dataset, a ``collate_fn``, what they hold.
        modules: Names of the project's modules.

    Attributes:
        names: By module, names that this code mentions; not all of them are globals.

    Cost: once a worker; it grows with the code that is reached, not with the project.
    """

    def __init__(self, objects: Iterable[Any], modules: Collection[str]) -> None:
        self.names: dict[str, dict[str, None]] = {}
        self._modules = modules
        self._seen: dict[int, Any] = {}
        waiting = [(value, _FOREIGN) for value in objects]
        while waiting:
            value, foreign = waiting.pop()
            if id(value) in self._seen or foreign == 0:
                continue
            self._seen[id(value)] = value
            left = foreign - 1
            if isinstance(value, types.FunctionType) or self._own(value) is not None:
                left = _FOREIGN
            waiting += ((part, left) for part in self._behind(value))

    def objects(self) -> Iterator[Any]:
        """Everything that was gone through."""
        return iter(self._seen.values())

    def _behind(self, value: Any) -> Iterator[Any]:
        if isinstance(value, types.FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, type):
            for kind in value.__mro__ if self._own(value) is not None else ():
                yield from vars(kind).values() if self._own(kind) is not None else ()
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield from value if len(value) <= FEW else ()
        elif isinstance(value, dict):
            yield from value.values() if len(value) <= FEW else ()
        elif isinstance(value, functools.partial):
            yield from (value.func, value.args, value.keywords)
        elif isinstance(value, property):
            yield from (value.fget, value.fset)
        elif not isinstance(value, types.ModuleType):
            yield type(value)
            if isinstance(value, _BOUND):
                yield from (value.__func__, getattr(value, "__self__", None))
            yield from space_of(value).values()

    def _of_function(self, function: types.FunctionType) -> Iterator[Any]:
        space = function.__globals__
        home = self._home(str(space.get("__name__")))
        if home is not None:
            for code in within(function.__code__):
                yield from self._mentioned(home, space, frozenset(code.co_names))
        yield from (cell.cell_contents for cell in function.__closure__ or () if filled(cell))
        yield from (function.__defaults__, function.__kwdefaults__, vars(function))

    def _mentioned(self, home: str, space: dict[str, Any], names: frozenset[str]) -> Iterator[Any]:
        """What names lead to, in a module and in those that they lead to from there."""
        spaces = {home: space}
        waiting = [home]
        if not names.isdisjoint(_ALL):
            waiting += [module for module in self._modules if module in sys.modules]
            spaces = {module: vars(sys.modules[module]) for module in waiting} | spaces
        for module in self._imported_by(names) - spaces.keys():
            spaces[module] = vars(sys.modules[module])
            waiting.append(module)
        while waiting:
            module = waiting.pop()
            by_text = _ALL | (_OWN if module == home else _BY_TEXT)
            found = names if names.isdisjoint(by_text) else names | spaces[module].keys()
            self.names.setdefault(module, {}).update(dict.fromkeys(found))
            for name in found:
                value = spaces[module].get(name)
                if not isinstance(value, types.ModuleType):
                    yield value
                    continue
                other = self._home(value.__name__)
                if other is not None and other not in spaces:
                    spaces[other] = vars(value)
                    waiting.append(other)

    def _imported_by(self, names: frozenset[str]) -> set[str]:
        """The project's modules that a function imports itself, under whatever name."""
        ends = {module for module in self._modules if module.rpartition(".")[2] in names}
        return {module for module in ends | (names & set(self._modules)) if module in sys.modules}

    def _own(self, value: Any) -> str | None:
        kind = value if isinstance(value, type) else type(value)
        return self._home(kind.__module__)

    def _home(self, module: str) -> str | None:
        return home_in(self._modules, module)


def home_in(modules: Collection[str], module: str) -> str | None:
    """The project's module of this name, or None; a spawned worker's main has another one."""
    name = "__main__" if module == "__mp_main__" else module
    return name if name in modules else None


def draws(function: Any, modules: Collection[str]) -> bool:
    """Whether a function, or what it calls in the project, may draw random numbers.

    Args:
        function: The function, or what a decorator made of it.
        modules: Names of the project's modules.
    """
    names = Reading([getattr(function, "__wrapped__", function)], modules).names
    return any(not _DRAWS.isdisjoint(found) for found in names.values())


def changed(dataset: Any) -> dict[str, str]:
    """Paths from a dataset to what reading it can change, each with where it is changed.

    Args:
        dataset: A dataset, or one around others.
    """
    found: dict[str, str] = {}
    for path, inner in datasets_in(dataset):
        for name, where in stored_by(type(inner)).items():  # type: ignore[arg-type] # hashable
            found[f"{path}{name}"] = where
    return found


def at(dataset: Any, path: str) -> Any:
    """What stands at one of these paths."""
    found = dataset
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else space_of(found).get(name)
    return found


def datasets_in(dataset: Any, path: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """A dataset and those inside it, each with the path to it."""
    yield path, dataset
    if not depth:
        return
    for name, value in space_of(dataset).items():
        parts = enumerate(value) if isinstance(value, (list, tuple)) and len(value) < FEW else ()
        inside = [(name, value), *((f"{name}.{i}", part) for i, part in parts)]
        for place, part in inside:
            if isinstance(part, Dataset):
                yield from datasets_in(part, f"{path}{place}.", depth - 1)


@functools.lru_cache(maxsize=256)
def stored_by(kind: type) -> dict[str, str]:
    """Attributes that a class's objects change in themselves while they are read, with where."""
    found: dict[str, str] = {}
    waiting, seen = list(_READS), set()
    while waiting:
        name = waiting.pop()
        function = inspect.getattr_static(kind, name, None)
        function = getattr(function, "fget", function)
        if name in seen or not inspect.isfunction(function):
            continue
        seen.add(name)
        tree, first = _tree_of(function)
        if tree is None or not tree.args.args:
            continue
        own = tree.args.args[0].arg
        where = f"{kind.__name__}.{name}, {_short(function.__code__.co_filename)}"
        for node in ast.walk(tree):
            attribute = _changed_by(node, own)
            if attribute is not None:
                found.setdefault(attribute, f"{where}:{first + getattr(node, 'lineno', 1) - 1}")
            elif isinstance(node, ast.Attribute) and _is_name(node.value, own):
                waiting.append(node.attr)
    return found


@functools.lru_cache(maxsize=256)
def written_by_others(kind: type) -> frozenset[str]:
    """Attributes that a class's bases outside the project change after they have been made."""
    found: set[str] = set()
    for base in kind.__mro__:
        known = table.is_module_rewritten(base.__module__) or base.__module__.startswith("torch.")
        functions = [] if known or base is object else list(vars(base).values())
        for function in functions:
            if inspect.isfunction(function) and function.__name__ != "__init__":
                found |= _written_in(function)
    return frozenset(found)


def _written_in(function: types.FunctionType) -> set[str]:
    tree, _ = _tree_of(function)
    if tree is None or not tree.args.args:
        return set()
    own, found = tree.args.args[0].arg, set()
    for node in ast.walk(tree):
        found.add(_changed_by(node, own))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _IN_PLACE:
            parts = [part for part in node.args if isinstance(part, ast.Attribute)]
            found |= {part.attr for part in parts if _is_name(part.value, own)}
    return {name for name in found if name is not None}


def _tree_of(function: Any) -> tuple[ast.FunctionDef | None, int]:
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, SyntaxError, TypeError, IndexError):
        return None, 0  # without a source it is taken for what it mostly is: a reader
    return (tree if isinstance(tree, ast.FunctionDef) else None), first


def _changed_by(node: ast.AST, own: str) -> str | None:
    """The attribute of its own object that a node changes, or None."""
    target: ast.AST | None = None
    if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
        target = node
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        target = node.func.value if node.func.attr in _CHANGES else None
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        if isinstance(target, ast.Attribute) and _is_name(target.value, own):
            return target.attr
        target = target.value
    return None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _short(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
