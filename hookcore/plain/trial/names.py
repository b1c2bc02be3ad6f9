"""What the user calls an object."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from hookcore.plain import table
from hookcore.plain.reach import Reach


class Names:
    """Finds the names that lead to an object.

    Args:
        frame: Variables of the outermost loop's frame.
        module: Name of its module.
    """

    def __init__(self, frame: Mapping[str, Any], module: str) -> None:
        self._reach = Reach(frame, module)
        self._plain: dict[int, str] = {}
        spaces = [frame]
        for file in table.rewritten():
            found = sys.modules.get(file.module)
            spaces.append({} if found is None else vars(found))
        for space in spaces:
            for name, value in tuple(space.items()):
                self._plain.setdefault(id(value), name)
        owner = frame.get("self")
        for name, value in tuple(getattr(owner, "__dict__", {}).items()):
            self._plain.setdefault(id(value), f"self.{name}")

    def of(self, thing: Any) -> str:
        """The shortest one that is known, or nothing."""
        plain = self._plain.get(id(thing))
        if plain is not None:
            return plain
        path = self._reach.path_of(thing) or ""
        return path.rpartition(":")[2]
