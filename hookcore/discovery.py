"""Discovery: what is installed in the entry-point group. Imports no plugin."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from typing import Any

import attrs

from hookcore.checks import Refused
from hookcore.hookspecs import PROJECT
from hookcore.layers import key


@attrs.frozen
class Found:
    """One name in the entry-point group, and everything installed that goes by it."""

    name: str
    points: list[tuple[importlib.metadata.EntryPoint, str, str, list[str]]]
    """(entry point, distribution, version, what it requires of hookcore)."""

    @property
    def labels(self) -> str:
        """The packages that have it, with their versions."""
        return " and ".join(sorted(f"{name} {version}" for _, name, version, _ in self.points))

    def load(self) -> Any:
        """Import what the name stands for."""
        if len(self.points) > 1:
            raise Refused(f"two packages have a plugin of this name: {self.labels}")
        return self.points[0][0].load()

    def stands_for(self, item: Any) -> bool:
        """Whether an object, or its class, is what an entry point names. Imports nothing."""
        for point, *_ in self.points:
            target: Any = sys.modules.get(point.module)
            for part in filter(None, (point.attr or "").split(".")):
                target = getattr(target, part, None)
            if target is not None and (target is item or target is type(item)):
                return True
        return False


def discover(distributions: Iterable[importlib.metadata.Distribution] | None) -> list[Found]:
    """All names of the group, in the order of names.

    The order of folders in site-packages is nobody's decision.
    """
    if distributions is None:
        distributions = importlib.metadata.distributions()
    found: dict[str, Found] = {}
    seen = set()
    for distribution in distributions:
        points = distribution.entry_points.select(group=PROJECT)
        if not points:
            continue
        name = distribution.metadata["Name"] or "a package without a name"
        if key(name) in seen:
            continue  # a second copy, further down sys.path: the first one is imported
        seen.add(key(name))
        requires = [r for r in distribution.requires or () if key(r).startswith(PROJECT)]
        for point in points:
            of_name = found.setdefault(key(point.name), Found(point.name, []))
            of_name.points.append((point, name, distribution.version, requires))
    return sorted(found.values(), key=lambda one: one.name)


def core_version() -> str:
    """The installed version of hookcore."""
    try:
        return importlib.metadata.version(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        return "(a checkout)"
