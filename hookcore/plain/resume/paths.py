"""Paths that lead to values, ``self.history['loss'][3]``: the same in each process.

A dictionary's key is spelled so that it can be read again.
"""

from __future__ import annotations

import ast
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

from hookcore.errors import SnapshotError
from hookcore.plain.resume.homes import find_definition, home_of
from hookcore.snapshot import Encoded, decode, encode

_LITERAL = (type(None), bool, int, float, complex, str, bytes)
_MARKED = re.compile(r"\[[&#@]")
Known = Callable[[Any], str | None]
"""Gives the path at which an object was found already."""


def spelled(keys: Iterable[Any], known: Known) -> dict[str, Any]:
    """The keys of a dictionary, by how a path spells them.

    What has no value of its own, an object, is spelled by where else it was found, or by its place
    among the keys.

    Args:
        keys: The keys.
        known: Tells where an object was found.
    """
    found = {}
    for number, key in enumerate(keys):
        text = _spell(key)
        if text is None:
            path = known(key)
            text = f"#{number}" if path is None else f"&{path}"
        found[text] = key
    return found


def is_literal(key: Any) -> bool:
    """Whether Python's own way of writing a key can be read again, and is taken for no other."""
    if type(key) is tuple:
        return all(map(is_literal, key))
    if isinstance(key, (str, bytes)):
        return type(key) in _LITERAL and _MARKED.search(repr(key)) is None
    return type(key) in _LITERAL and (type(key) is not float or math.isfinite(key))


def unspelled(text: str, standing: Callable[[str], Any]) -> Any:
    """The key that is spelled so.

    Args:
        text: Its spelling.
        standing: Gives what stands at a path, or None.

    Raises:
        ValueError: There is none.
    """
    mark, rest = text[:1], urllib.parse.unquote(text[1:])
    if mark == "&":
        found = standing(text[1:])
    elif mark == "@" and rest[:1] == "{":
        try:
            return decode(Encoded(json.loads(rest), {}))
        except SnapshotError as error:
            raise ValueError(str(error)) from None
    elif mark == "@":
        found = find_definition(rest)
    else:
        return _literal(text)
    if found is None:
        raise ValueError(f"nothing is spelled {text}")
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except SyntaxError as error:
        raise ValueError(str(error)) from None


def _spell(key: Any) -> str | None:
    if is_literal(key):
        return repr(key)
    if callable(key) and hasattr(key, "__qualname__"):
        home = home_of(key)
        return None if home is None else "@" + urllib.parse.quote(home, safe="")
    try:
        encoded = encode(key, "key")
    except SnapshotError:
        return None
    if encoded.blobs or not isinstance(encoded.document, dict):
        return None
    return "@" + urllib.parse.quote(json.dumps(encoded.document), safe="")


def name_of(path: str) -> str:
    """The name that a path begins with."""
    return re.split(r"[.\[(]", path, maxsplit=1)[0]


def owner_of(path: str) -> str:
    """The path of what has an attribute or an item."""
    inside = place_in(path)
    return path.rpartition(".")[0] if inside is None else inside[0]


def place_in(path: str) -> tuple[str, str] | None:
    """An item's container, and how its key or index is spelled; None of any other path."""
    at = path.rfind("[") if path.endswith("]") else -1
    while at > 0:
        text = path[at + 1 : -1]
        if _is_spelling(text):
            return path[:at], text
        at = path.rfind("[", 0, at)  # a bracket inside a key
    return None


def _is_spelling(text: str) -> bool:
    """Whether a text between brackets is a key, and no part of one."""
    if text[:1] in ("&", "#", "@"):
        return True
    try:
        _literal(text)
    except ValueError:
        return False
    return True
