"""Where functions and classes stand in their modules: the same place in each process."""

from __future__ import annotations

import sys
import types
from typing import Any


def home_of(value: Any) -> str | None:
    """The path of a function or a class from its module, ``train:Trainer``; None without one.

    It is the same wherever it was found, before and after the loop has bound names to it.
    """
    homes = [f"{value.__module__}:{value.__qualname__}"]
    if isinstance(value, types.BuiltinFunctionType):  # torch's own do not say where they stand
        homes += [f"{module}:{value.__name__}" for module in ("torch", "torch.nn.functional")]
    return next((home for home in homes if find_definition(home) is value), None)


def find_definition(home: str) -> Any:
    """The function or class that stands at such a path, or None; nothing is run for it."""
    module, _, names = home.partition(":")
    found: Any = sys.modules.get(module)
    for name in names.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    return found
