"""A script or module run as Python runs it, with sites in it."""

# Paths are kept as they were typed, "./" and all, which pathlib would change.
# ruff: noqa: PTH109, PTH112, PTH113, PTH118, PTH120, PTH123
from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import attrs

from hookcore.errors import UsageError
from hookcore.plain import gate as the_gate
from hookcore.plain.loading.finder import Finder, load
from hookcore.plain.loading.roots import Roots, folders, project_of, roots_of
from hookcore.plain.rewriting.snippets import GATE


@attrs.frozen(eq=False, kw_only=True)
class Target:
    """What ``hookcore run`` is to run; found, and nothing of it run yet.

    Attributes:
        name: As it was typed.
        argv: Its arguments, without its name.
        folder: What comes first on ``sys.path``.
        roots: Which files are the user's.
        path: The script's file, or None for a module or a folder.
        is_folder: Whether it is a folder with a ``__main__.py``.
    """

    name: str
    argv: tuple[str, ...]
    folder: str
    roots: Roots
    path: str | None = None
    is_folder: bool = False

    @classmethod
    def script(cls, name: str, argv: Sequence[str] = ()) -> Target:
        """A script, or a folder with a ``__main__.py``.

        Args:
            name: Its path, as typed.
            argv: Its arguments.

        Raises:
            UsageError: There is no such file, or it is no Python script.
        """
        path = os.path.join(os.getcwd(), name)
        if os.path.isdir(path):
            main = os.path.join(path, "__main__.py")
            if not os.path.isfile(main):
                raise UsageError(f"can't find '__main__' module in '{path}'")
            roots = roots_of(main)
            return cls(name=name, argv=tuple(argv), folder=path, roots=roots, is_folder=True)
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise UsageError(
                f"can't open file '{path}': [Errno {error.errno}] {error.strerror}"
            ) from None
        if zipfile.is_zipfile(path):
            raise UsageError(
                f"'{name}' is a zip archive",
                "the source inside it cannot be rewritten",
                "unpack it, and run the folder",
            )
        # Python follows a link to the script, not links on the way to it.
        folder = os.path.dirname(os.path.realpath(path))
        roots = roots_of(path) + folders(folder) + project_of(folder)
        return cls(name=name, argv=tuple(argv), folder=folder, roots=roots, path=path)

    @classmethod
    def module(cls, name: str, argv: Sequence[str] = ()) -> Target:
        """A module, or a package with a ``__main__.py``.

        Args:
            name: Its dotted name.
            argv: Its arguments.

        Raises:
            UsageError: There is no top-level package or module of that name.
        """
        folder = os.getcwd()
        top = name.partition(".")[0]
        spec = PathFinder.find_spec(top, [folder, *sys.path[1:]]) if top else None
        if spec is None:
            raise UsageError(f"No module named {name}", way_out="a script is named with its .py")
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        roots = Roots(())
        for place in places:
            roots += roots_of(place) if spec.origin else folders(os.path.dirname(place))
        return cls(name=name, argv=tuple(argv), folder=folder, roots=roots)

    def run(self, gate: Any = the_gate, *, rewriting: bool = True) -> None:
        """Run it as ``__main__``. Whatever it raises comes out, ``SystemExit`` included.

        ``sys.argv``, ``sys.path[0]`` and ``sys.modules["__main__"]`` stay as the program leaves
        them, as its exit handlers and threads may use them.

        Args:
            gate: What rewritten code calls.
            rewriting: False runs Python's own code. Imports are the :class:`Finder`'s business.

        Raises:
            UsageError: There is no such module in the package; it cannot be run.
        """
        called = gate if rewriting else None
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = self.folder
        if self.path is not None:
            sys.argv = [self.name, *self.argv]
            _run_file(self.path, called)
        elif self.is_folder:
            sys.argv = [self.name, *self.argv]
            _run_spec(_spec_in(self.folder), called)
        else:
            sys.argv = ["-m", *self.argv]
            spec = _spec_of(self.name)
            sys.argv[0] = spec.origin or self.name
            _run_spec(spec, called)


def run_script(name: str, argv: Sequence[str] = (), gate: Any = the_gate) -> None:
    """Run a script with sites, and the user's modules that it imports.

    Args:
        name: Its path, as typed.
        argv: Its arguments.
        gate: What rewritten code calls.

    Raises:
        UsageError: There is no such script.
    """
    target = Target.script(name, argv)
    with Finder(target.roots, gate):
        target.run(gate)


def run_module(name: str, argv: Sequence[str] = (), gate: Any = the_gate) -> None:
    """The same for ``python -m name``.

    Args:
        name: The module's dotted name.
        argv: Its arguments.
        gate: What rewritten code calls.

    Raises:
        UsageError: There is no such module.
    """
    target = Target.module(name, argv)
    with Finder(target.roots, gate):
        target.run(gate)


def _run_file(path: str, gate: Any) -> None:
    source = Path(path).read_bytes()
    code = _compiled(source, path, gate)
    main = _main(gate)
    vars(main).update(
        __file__=path,
        __loader__=SourceFileLoader("__main__", path),
        __package__=None,
        __spec__=None,
        __cached__=None,
    )
    exec(code, vars(main))  # noqa: S102  running it is what was asked for


def _run_spec(spec: ModuleSpec, gate: Any) -> None:
    path = spec.origin
    if path is None or not path.endswith(".py"):
        raise UsageError(
            f"module {spec.name} cannot be run",
            "it has no source file",
            "pass the script that starts the training",
        )
    spec.loader = SourceFileLoader(spec.name, path)
    code = _compiled(Path(path).read_bytes(), path, gate)
    main = _main(gate)
    vars(main).update(
        __file__=path,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
        __cached__=spec.cached,
    )
    exec(code, vars(main))  # noqa: S102  running it is what was asked for


def _compiled(source: bytes, path: str, gate: Any) -> CodeType:
    plain = compile(source, path, "exec", dont_inherit=True)
    return plain if gate is None else load(source, path, "__main__", plain, gate)


def _main(gate: Any) -> ModuleType:
    main = ModuleType("__main__")
    if sys.version_info < (3, 14):
        vars(main)["__annotations__"] = {}
    vars(main)["__builtins__"] = builtins
    if gate is not None:
        vars(main)[GATE] = gate
    sys.modules["__main__"] = main
    return main


def _spec_in(folder: str) -> ModuleSpec:
    spec = PathFinder.find_spec("__main__", [folder])
    assert spec is not None
    return spec


def _spec_of(name: str) -> ModuleSpec:
    """A module's spec; its packages are imported, as Python does."""
    parent = name.rpartition(".")[0]
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # Python's message is for the module that was typed; another's absence is the program's.
        if error.name is None or not (parent == error.name or parent.startswith(f"{error.name}.")):
            raise
        spec = None
    if spec is None:
        raise UsageError(f"No module named {name}")
    if spec.submodule_search_locations is None:
        return spec
    inner = importlib.util.find_spec(f"{name}.__main__")
    if inner is None:
        raise UsageError(
            f"No module named {name}.__main__",
            f"'{name}' is a package and cannot be directly executed",
        )
    return inner
