"""Which files are the user's: the loop's own project, and nothing that was installed."""

# Paths are compared as Python spells them, which pathlib would change.
# ruff: noqa: PTH100, PTH109, PTH110, PTH113, PTH117, PTH118, PTH119, PTH120, PTH206
from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import attrs

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NEVER = frozenset({"torch", "hookcore"})
_PLUGIN = "hookcore_"
_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
_CELLS = ("<ipython-input-", "<python-input-")
_KERNEL = "ipykernel_"
_HOOKCORE = str(Path(os.path.abspath(__file__)).parents[2])


@attrs.frozen
class Roots:
    """Folders, and single files, whose code is the user's.

    Attributes:
        places: Their absolute paths.
    """

    places: tuple[str, ...]

    def own(self, path: str) -> bool:
        """Whether a file is the user's.

        Never torch, the standard library, hookcore or its plugins; nothing in a
        ``site-packages``, unless the root itself lies in it.

        Args:
            path: The file.
        """
        return _owns(self.places, path)

    def __add__(self, other: Roots) -> Roots:
        return Roots(tuple(dict.fromkeys((*self.places, *other.places))))


def roots_of(path: str) -> Roots:
    """The project that a file belongs to: the folder of its top-level package, or its own.

    Args:
        path: The file.
    """
    top = os.path.abspath(path)
    folder = os.path.dirname(top)
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        top, folder = folder, os.path.dirname(folder)
    # Beside an installed package lie other people's.
    return Roots(tuple(_spellings(top if _is_shared(folder) else folder)))


def project_of(folder: str) -> Roots:
    """The project a script's folder belongs to: the nearest one at or above it that says so.

    A script in ``examples/`` trains with the package beside it.

    Args:
        folder: The script's folder.
    """
    place = Path(folder).resolve()
    for above in (place, *place.parents):
        if above in (Path.home(), Path(above.anchor)):
            break
        if any((above / mark).exists() for mark in _MARKS):
            return folders(str(above))
    return folders(folder)


def project_around(path: str) -> Roots:
    """The project that one of its files belongs to: what may run together with that file.

    Args:
        path: The file; a notebook's cell belongs to the working folder.
    """
    folder = os.getcwd() if is_cell(path) else os.path.dirname(path)
    return (Roots(()) if is_cell(path) else roots_of(path)) + project_of(folder)


def is_cell(path: str) -> bool:
    """Whether a file name is one that a notebook or an interactive prompt gives to its input."""
    return path.startswith(_CELLS) or (_KERNEL in path and not os.path.exists(path))


def folders(*paths: str) -> Roots:
    """Folders that the user names.

    Args:
        paths: The folders, or single files.
    """
    return Roots(tuple(place for path in paths for place in _spellings(path)))


def never(module: str) -> bool:
    """Whether a module of this name is never rewritten, wherever it lies.

    Args:
        module: Its full name.
    """
    return module.partition(".")[0] in _NEVER


def is_standard_library(path: str) -> bool:
    """Whether a file came with Python."""
    parts = path.split(os.sep)
    return _INSTALLED.isdisjoint(parts) and any(_inside(path, place) for place in _standard())


def is_installed(path: str) -> bool:
    """Whether a file lies in a ``site-packages``."""
    return not _INSTALLED.isdisjoint(path.split(os.sep))


def _spellings(path: str) -> Iterator[str]:
    """A path as it was typed and, where links lead elsewhere, as it is."""
    absolute = os.path.abspath(path)
    yield absolute
    if os.path.realpath(absolute) != absolute:
        yield os.path.realpath(absolute)


def _is_shared(folder: str) -> bool:
    return os.path.basename(folder) in _INSTALLED or folder in _standard()


@lru_cache(maxsize=4096)
def _owns(places: tuple[str, ...], path: str) -> bool:
    if path.startswith("<"):  # generated code is in no folder, though linecache may have its text
        return False
    absolute = os.path.abspath(path)
    # Python's own file names are absolute; others are made up.
    if not os.path.isabs(path) or _inside(absolute, _HOOKCORE):
        return False
    for place in places:
        if _inside(absolute, place):
            parts = absolute[len(place) :].split(os.sep)[1:]
            foreign = not _INSTALLED.isdisjoint(parts) or _is_package_of_ours(parts)
            return not foreign and not is_standard_library(absolute)
    return False


def _is_package_of_ours(parts: list[str]) -> bool:
    packages = parts[:-1]
    if any(package.startswith(_PLUGIN) for package in packages):  # developed in the same project
        return True
    return bool(packages) and packages[0] in _NEVER


def _inside(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=1)
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({place for name in ("stdlib", "platstdlib") for place in _spellings(paths[name])})
