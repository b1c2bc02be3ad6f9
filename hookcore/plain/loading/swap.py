"""New code for functions that exist: ``__code__`` is replaced in place, so all references see it.

Only what the compiler has made of the very source that is running is ever put in: a function
whose code is not equal to a fresh compilation of its file is refused, and named.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any

import attrs

from hookcore.errors import NotRewritable, UsageError
from hookcore.plain import gate as the_gate
from hookcore.plain import table
from hookcore.plain.loading import sources
from hookcore.plain.loading.finder import Finder, arm
from hookcore.plain.loading.roots import Roots, folders, is_cell, roots_of
from hookcore.plain.rewriting.codes import pairs
from hookcore.plain.rewriting.rewrite import is_rewritten, rewritten
from hookcore.plain.rewriting.snippets import GATE

_Key = tuple[str, str]  # a file's path and its module's name


@attrs.frozen
class Refusal:
    """A function of the user's that keeps its own code.

    Attributes:
        path: Its file.
        line: Its first line.
        qualname: Its qualified name.
        reason: Why.
    """

    path: str
    line: int
    qualname: str
    reason: str


@attrs.define(eq=False)
class _File:
    """One file that is swapped.

    Attributes:
        source: What its code was made of.
        by_place: Its code objects, Python's own beside the rewritten, by name and first line.
        originals: What functions had before, by the id of what they have now.
        users: How many loops need it.
        replaced: What it was before it was edited and loaded again.
    """

    source: str | bytes
    by_place: dict[tuple[str, int], list[tuple[CodeType, CodeType]]]
    originals: dict[int, CodeType] = attrs.field(factory=dict)
    users: int = 0
    replaced: list[_File] = attrs.field(factory=list)

    def new_code(self, live: CodeType) -> CodeType | None:
        """The code for a live function; None where its own is not what its file says."""
        for plain, new in self.by_place.get((live.co_name, live.co_firstlineno), ()):
            if plain == live:
                return new
        return None

    def keep(self, live: CodeType, new: CodeType) -> None:
        """Note what a function, and those that it will make, had before."""
        for before, after in pairs(live, new):
            self.originals.setdefault(id(after), before)


_files: dict[_Key, _File] = {}
"""Files that were ever swapped; their new code lives on, so that its ids stay its own."""


class Swapped:
    """What :func:`swap` has done, and the way back.

    Attributes:
        roots: Which files are the user's.
        refused: Functions that keep their own code.
    """

    def __init__(self, loop: FunctionType, roots: Roots, gate: Any) -> None:
        self.roots = roots
        self.refused: tuple[Refusal, ...] = ()
        self._loop, self._gate = loop, gate
        self._finder = Finder(roots, gate)
        self._mine: set[_Key] = set()
        self._modules = -1

    @property
    def files(self) -> tuple[table.File, ...]:
        """Records of the files that it covers."""
        return tuple(table.FILES[key] for key in sorted(self._mine) if key in table.FILES)

    def refresh(self) -> None:
        """Give new code to functions that were defined since; to be called before the loop is.

        A decorator runs before the rest of its module. The first call looks again, a later one
        where modules have been imported; otherwise it costs a comparison.
        """
        if len(sys.modules) != self._modules:
            self._swap()
            self._modules = len(sys.modules)

    def restore(self) -> None:
        """Put the original code back, unless another loop of the same files needs the new one."""
        self._finder.remove()
        idle = []
        for key in self._mine:
            file = _files[key]
            file.users -= 1
            if file.users == 0:
                idle.append(file.originals)
        self._mine.clear()
        for function in _functions(self._loop, self.roots) if idle else ():
            for originals in idle:
                before = originals.get(id(function.__code__))
                if before is not None:
                    function.__code__ = before

    def start(self) -> None:
        """Swap what is there, and let later imports be rewritten."""
        self._swap()
        self._finder.install()

    def _swap(self) -> None:
        found: dict[_Key, list[FunctionType]] = defaultdict(list)
        for function in _functions(self._loop, self.roots):
            path = function.__code__.co_filename
            found[path, str(function.__globals__.get("__name__"))].append(function)
        refused: list[Refusal] = []
        plan: list[tuple[_File, FunctionType, CodeType]] = []
        for key, functions in found.items():
            self._plan(key, functions, plan, refused)
        self.refused = tuple(refused)
        # Nothing is changed before everything has been looked at: the loop itself may be refused.
        for file, function, new in plan:
            file.keep(function.__code__, new)
            function.__globals__[GATE] = self._gate
            function.__code__ = new

    def _plan(
        self,
        key: _Key,
        functions: list[FunctionType],
        plan: list[tuple[_File, FunctionType, CodeType]],
        refused: list[Refusal],
    ) -> None:
        fresh = [function for function in functions if not is_rewritten(function.__code__)]
        file: _File | None = None
        why = ""
        try:
            file = self._file(key, functions[0].__code__)
        except (LookupError, SyntaxError, ValueError) as error:
            why = str(error.args[0]) if isinstance(error, LookupError) else _edited(error)
        except NotRewritable as error:
            why = error.why
        for function in fresh:
            live = function.__code__
            new = file.new_code(live) if file is not None else None
            if new is None:
                reason = why or _difference(live)
                if function is self._loop:
                    raise sources.refusal(function, reason)
                refused.append(Refusal(key[0], live.co_firstlineno, function.__qualname__, reason))
            elif file is not None and live.co_name != "__init__" and new != live:
                plan.append((file, function, new))

    def _file(self, key: _Key, code: CodeType) -> _File:
        path, module = key
        source = sources.source_of(path)
        file = _files.get(key)
        if file is None or file.source != source:
            flags = sources.flags_of(code)
            plain = sources.compiled_apart(source, path, flags) if is_cell(path) else None
            result = rewritten(source, path, module, plain, flags, quiet=True)
            arm(result, self._gate)
            by_place = defaultdict(list)
            for plain, new in pairs(result.plain, result.code):
                by_place[plain.co_name, plain.co_firstlineno].append((plain, new))
            before = file
            file = _files[key] = _File(source, dict(by_place))
            if before is not None:  # a module that was edited and loaded again
                file.originals, file.users = before.originals, before.users
                file.replaced = [*before.replaced, before]
        if key not in self._mine:
            self._mine.add(key)
            file.users += 1
        return file


def swap(function: FunctionType, roots: Iterable[str] = (), gate: Any = the_gate) -> Swapped:
    """Give a loop, and the other functions of the user's files, code with sites.

    Running calls and generators finish on the code they began with. ``__init__`` keeps its own:
    interpreters are not safe against a change of it.

    Args:
        function: The loop; what :func:`~hookcore.plain.loading.unwrap.unwrap` gives.
        roots: Folders whose files are the user's too.
        gate: What the code is to call.

    Raises:
        NotRewritable: The loop's own code cannot be replaced; nothing has been changed then.
        UsageError: A ``# hookcore:`` comment at a loop names no role.

    Cost: once a file, about 60 ms for 1,000 lines; a look at all objects of the process.
    """
    sources.require(function)
    path = function.__code__.co_filename
    base = folders(os.getcwd()) if is_cell(path) else roots_of(path)  # noqa: PTH109  a str
    swapped = Swapped(function, base + folders(*roots), gate)
    try:
        swapped.start()
    except (NotRewritable, UsageError):
        swapped.restore()
        raise
    return swapped


class _Own(dict[str, bool]):
    """Whether a path is one of the user's, asked once: a process has ten thousands of functions.

    Args:
        roots: Which files are the user's.
        loop: The loop; its own file is, and with a cell all cells are.
    """

    def __init__(self, roots: Roots, loop: FunctionType) -> None:
        path = loop.__code__.co_filename
        super().__init__({path: True})
        self._roots, self._cells = roots, is_cell(path)

    def __missing__(self, path: str) -> bool:
        own = self[path] = self._roots.own(path) or (self._cells and is_cell(path))
        return own


def _functions(loop: FunctionType, roots: Roots) -> list[FunctionType]:
    """All functions of the user's that exist, the loop among them.

    One pass over the collector's objects: ``gc.get_referrers`` of some hundred code objects
    compares every reference in the process with each of them.
    """
    own = _Own(roots, loop)
    found = [
        item
        for item in gc.get_objects()
        if type(item) is FunctionType and own[item.__code__.co_filename]
    ]
    if all(item is not loop for item in found):  # the collector does not show what is frozen
        found.append(loop)
    return found


def _difference(code: CodeType) -> str:
    if any(name.startswith("@py") for name in (*code.co_names, *code.co_varnames)):
        return (
            "pytest has rewritten its assert statements; take them out of it, move it to a module"
            " that pytest does not rewrite, or pass --assert=plain"
        )
    return "its code is not what its file says: edited since it was imported, or changed by a tool"


def _edited(error: Exception) -> str:
    return f"its file cannot be compiled any more: {type(error).__name__}: {error}"
