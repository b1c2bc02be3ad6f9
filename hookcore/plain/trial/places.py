"""Where things lie in a trial's copy of the user's folders, and what the user calls them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs


@attrs.frozen
class Places:
    """Reads paths back.

    Attributes:
        places: Folders as the user knows them, to where they lie now.
        folder: The working folder as the user knows it.
    """

    places: Mapping[str, str]
    folder: str

    def where(self, path: str, line: int) -> str:
        """A place as the user knows it: relative to the working folder where it lies in there."""
        path = os.path.normpath(path)  # Python calls a script by what was typed, ".." and all
        for folder, place in self.places.items():
            with contextlib.suppress(ValueError):
                path = str(Path(folder) / Path(path).relative_to(place))
                break
        with contextlib.suppress(ValueError):
            path = str(Path(path).relative_to(self.folder))
        return f"{path}:{line}"


def move_path(places: Mapping[str, str]) -> None:
    """Have what is imported from a copied folder be imported from the copy; never hookcore."""
    ours = Path(__file__).parents[3]
    for number, entry in enumerate(sys.path):
        for folder, place in places.items():
            with contextlib.suppress(ValueError):
                copy = Path(place) / Path(entry).relative_to(folder)
                if copy.is_dir() and ours != Path(entry):
                    sys.path[number] = str(copy)
