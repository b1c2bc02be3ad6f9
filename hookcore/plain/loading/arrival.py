"""A word as soon as a module has been imported; importing it is the script's to do."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Arrival(MetaPathFinder):
    """Finds one module, once, as the other finders do, and calls back when it has run.

    Args:
        name: The module.
        arrived: Called then.
    """

    def __init__(self, name: str, arrived: Callable[[], None]) -> None:
        self._name = name
        self._arrived = arrived
        self._looking = False

    def await_it(self) -> None:
        """See imports from now on, until the module comes."""
        sys.meta_path.insert(0, self)

    def give_up(self) -> None:
        """Wait no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module; part of Python's import protocol."""
        if fullname != self._name or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        loader: Any = None if spec is None else spec.loader
        if loader is not None and hasattr(loader, "exec_module"):
            run = loader.exec_module

            def run_and_tell(module: ModuleType) -> None:
                run(module)
                if self in sys.meta_path:  # who only looks for a module does not import it
                    sys.meta_path.remove(self)
                    self._arrived()

            loader.exec_module = run_and_tell
        return spec
