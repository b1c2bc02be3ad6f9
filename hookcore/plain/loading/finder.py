"""The import hook: the user's modules are loaded with sites."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import cache_from_source, decode_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from hookcore.errors import NotRewritable
from hookcore.plain import gate as the_gate
from hookcore.plain import table
from hookcore.plain.loading.roots import Roots, never
from hookcore.plain.rewriting.parsing import unwarned
from hookcore.plain.rewriting.rewrite import Rewritten, rewritten
from hookcore.plain.rewriting.snippets import GATE

if TYPE_CHECKING:
    from typing_extensions import Self


class Finder(MetaPathFinder):
    """Finds what the finders after it find, and gives the user's files another loader.

    Use as a context manager, or call :meth:`install` and :meth:`remove`.

    Args:
        roots: Which files are the user's.
        gate: What rewritten code calls.
    """

    def __init__(self, roots: Roots, gate: Any = the_gate) -> None:
        self.roots, self._gate = roots, gate

    def install(self) -> None:
        """See every import from now on, before any other finder does."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """See no import any more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; part of Python's import protocol."""
        if never(fullname) or self not in sys.meta_path:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
            if spec is not None:
                return self._with_sites(spec, target)
        return None

    def _with_sites(self, spec: ModuleSpec, target: ModuleType | None) -> ModuleSpec:
        loader = spec.loader
        if type(loader) is SourceFileLoader and self.roots.own(loader.path):
            spec.loader = Loader(loader.name, loader.path, self._gate)
            if target is not None:  # a reload, into the module that is there
                spec.loader.create_module(spec, target)
        return spec


class Loader(SourceFileLoader):
    """Loads one file with sites.

    Only a module that it has just made gets such code: ``runpy`` takes a loader's code and runs
    it among globals of its own, which lack the gate.
    """

    def __init__(self, fullname: str, path: str, gate: Any = the_gate) -> None:
        super().__init__(fullname, path)
        self._gate = gate
        self._ready = False
        self._cached = b""  # how the code in the cache begins, where that was taken

    def create_module(self, spec: ModuleSpec, module: ModuleType | None = None) -> ModuleType:
        """An empty module with the gate in it."""
        if module is None:
            module = ModuleType(spec.name)
        vars(module)[GATE] = self._gate
        self._ready = True
        return module

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code. Python's own is cached as ever; the rewritten one never is.

        What is in the cache runs without hookcore, be it of another source or not: such code is
        left as it is.
        """
        self._cached = b""
        plain = super().get_code(fullname)
        if plain is None or not self._ready:
            return plain
        self._ready = False
        path = self.get_filename(fullname)
        source = self.get_data(path)
        cache = cache_from_source(path)
        if self._cached and _is_doubtful(self._cached, cache) and not _is_of(plain, source, path):
            why = f"what is compiled in {cache} is not what the file says"
            code = left(source, path, fullname, plain, why)
        else:
            code = load(source, path, fullname, plain, self._gate)
        host = the_gate.live()
        if host is not None:
            host.file_came()
        return code

    def get_data(self, path: str) -> bytes:
        """A file's bytes; part of Python's import protocol."""
        data = super().get_data(path)
        if path.endswith(".pyc"):
            self._cached = data[:16]
        return data

    def source_to_code(  # type: ignore[override] # a method in fact, if not in typeshed
        self, data: Any, path: Any, **options: Any
    ) -> CodeType:
        """Compile: there was no code in the cache, or it was older."""
        self._cached = b""
        code: CodeType = super().source_to_code(data, path, **options)
        return code


def _is_doubtful(head: bytes, cache: str) -> bool:
    """Whether code that Python takes from its cache may be of another source than is there now.

    It is not told to look, or looks at the source's size and its time in seconds: an edit in the
    second in which the cache was written may keep both.

    Args:
        head: How the file in the cache begins: magic number, flags, time and size (PEP 552).
        cache: That file.
    """
    flags, changed = (int.from_bytes(head[place : place + 4], "little") for place in (4, 8))
    if flags & 1:
        return not flags & 2
    return Path(cache).stat().st_mtime < changed + 2


def _is_of(plain: CodeType, source: bytes, path: str) -> bool:
    """Whether code is what Python makes of a source now."""
    with unwarned(path):
        return compile(source, path, "exec", dont_inherit=True) == plain


def load(source: bytes, path: str, module: str, plain: CodeType, gate: Any = the_gate) -> CodeType:
    """Rewrite a file that is about to run, or leave it as it is and note why.

    Args:
        source: The file.
        path: The file, as its code objects name it.
        module: Name of the module whose globals the code will see.
        plain: Python's own compilation.
        gate: What the code will call.

    Raises:
        UsageError: A ``# hookcore:`` comment at a loop names no role.
    """
    try:
        result = rewritten(source, path, module, plain)
    except NotRewritable as error:
        return left(source, path, module, plain, error.why)
    arm(result, gate)
    return result.code


def left(source: bytes, path: str, module: str, plain: CodeType, why: str) -> CodeType:
    """Note why a file is left as it is; gives its own code.

    Args:
        source: As for :func:`load`.
        path: As for :func:`load`.
        module: As for :func:`load`.
        plain: As for :func:`load`.
        why: The reason.
    """
    table.record(table.File(path, module, decode_source(source), reason=why), [], [], [])
    return plain


def arm(result: Rewritten, gate: Any) -> None:
    """Let a file's ``while`` loops cost one inlined guard until a run begins."""
    if getattr(gate, "host", None) is None:
        sites = (table.SITES[number] for number in result.file.sites)
        gate.dead.update({site.id: None for site in sites if site.kind == "while"})
