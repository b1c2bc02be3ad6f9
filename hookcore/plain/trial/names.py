"""What the user calls an object."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from hookcore.plain import table
from hookcore.plain.resume.reach import Reach

_FEW = 16


class Names:
    """Finds the names that lead to an object.

    Args:
        frame: Variables of the outermost loop's frame.
        module: Name of its module.
    """

    def __init__(self, frame: Mapping[str, Any], module: str) -> None:
        self._reach = Reach(frame, module, table.rewritten())
        self._plain: dict[int, str] = {}
        spaces = [frame]
        for file in table.rewritten():
            found = sys.modules.get(file.module)
            spaces.append({} if found is None else vars(found))
        for space in spaces:
            self._enter(space, "")
        self._enter(getattr(frame.get("self"), "__dict__", {}), "self.")

    def _enter(self, space: Mapping[str, Any], owner: str) -> None:
        for name, value in tuple(space.items()):
            self._plain.setdefault(id(value), owner + name)
            if type(value) is dict and len(value) <= _FEW:
                for key, part in tuple(value.items()):
                    self._plain.setdefault(id(part), f"{owner}{name}[{key!r}]")

    def of(self, thing: Any) -> str:
        """The shortest one that is known, or nothing."""
        plain = self._plain.get(id(thing))
        if plain is not None:
            return plain
        path = self._reach.path_of(thing) or ""
        return path.rpartition(":")[2]
