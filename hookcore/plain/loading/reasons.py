"""Code that runs without sites: why, what to do about it, and whether it is in a loop now."""

from __future__ import annotations

import dis
import inspect
from bisect import bisect_right
from functools import lru_cache
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, FrameType
from zipimport import zipimporter

import attrs

from hookcore.plain import table
from hookcore.plain.loading.roots import is_cell, is_installed, is_standard_library, never
from hookcore.plain.loading.sources import source_of
from hookcore.plain.rewriting.snippets import GATE

_DECLARE = "or declare its loops: hookcore.epochs(...), hookcore.batches(...)"
_ENDS = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_ABSOLUTE",
     "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}
)  # fmt: skip
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
_JUMPS = frozenset(dis.hasjabs) | frozenset(dis.hasjrel)


@attrs.frozen
class Reason:
    """Why some code has no sites.

    Attributes:
        why: In a few words.
        way_out: What to do.
    """

    why: str
    way_out: str


def is_unseen(frame: FrameType) -> bool:
    """Whether a frame runs code that could hold the user's loops, and has no sites.

    Args:
        frame: The frame.
    """
    path = frame.f_code.co_filename
    if table.is_rewritten(path):
        # A function that differs from its file keeps its own code. A comprehension's site is in
        # the function that it stands in, which calls it (before Python 3.12).
        owner = frame.f_back if frame.f_code.co_name in _COMPREHENSIONS else frame
        return owner is not None and GATE not in owner.f_code.co_names and is_looping(frame)
    pythons = path.startswith("<frozen") or is_standard_library(path)
    ours = never(frame.f_globals.get("__name__") or "")
    return not (ours or pythons or is_installed(path))


def is_others(frame: FrameType) -> bool:
    """Whether a frame runs an installed package's code, without sites.

    Args:
        frame: The frame.
    """
    path = frame.f_code.co_filename
    return is_installed(path) and not table.is_rewritten(path)


def reason_of(frame: FrameType) -> Reason:
    """Why a frame's code has no sites.

    Args:
        frame: The frame.
    """
    path, loader = frame.f_code.co_filename, frame.f_globals.get("__loader__")
    left = next((file.reason for file in table.FILES.values() if file.path == path), None)
    if left is not None:
        return Reason(f"its file is left as it is: {left}", f"mend that, {_DECLARE}")
    if table.is_rewritten(path):
        if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            return Reason("it stands in a class body, which is left as it is", "make it a function")
        if frame.f_code.co_name == "__init__":
            why = "it stands in an __init__, whose code instrument() cannot replace"
            return Reason(why, "move the loop into a method, or start with: hookcore run")
        why = "its code is not what its file says: edited since, or changed by a tool"
        return Reason(why, f"start anew, {_DECLARE}")
    if isinstance(loader, zipimporter):
        why = f"its source is inside a zip archive, {loader.archive}"
        return Reason(why, f"unpack it, {_DECLARE}")
    if isinstance(loader, SourcelessFileLoader):
        why = f"it was loaded from {loader.path}, which is without its source"
        return Reason(why, f"put the source beside it, {_DECLARE}")
    try:
        source_of(path)
    except LookupError as error:
        return Reason(str(error.args[0]), f"put it into a file of the project, {_DECLARE}")
    if is_cell(path):
        why = "it stands in a notebook's cell, outside of any function that is instrumented"
        return Reason(why, f"put the loop into a function and instrument() that, {_DECLARE}")
    if is_installed(path):
        why = "its file belongs to an installed package"
        return Reason(why, "instrument() the method that trains")
    if loader is None:
        why = f"it was made by exec or eval, though it is called {path}"
        return Reason(why, f"import it, {_DECLARE}")
    if type(loader) is not SourceFileLoader:
        why = f"it was loaded by {type(loader).__name__}, which may have changed it"
        return Reason(why, f"load it as Python does, {_DECLARE}")
    why = "neither hookcore run nor instrument() has given its file sites"
    return Reason(why, f"instrument() the function that trains, {_DECLARE}")


def is_looping(frame: FrameType) -> bool:
    """Whether a frame may come back to its current instruction: it is inside a loop.

    Args:
        frame: The frame; its code need not have a source.
    """
    offsets, _ = _graph(frame.f_code)
    # A call's last instruction may be a cache of it, which is none to Python's own reader.
    place = bisect_right(offsets, frame.f_lasti) - 1
    return place >= 0 and _returns(frame.f_code, place)


@lru_cache(maxsize=64)
def _graph(code: CodeType) -> tuple[list[int], list[list[int]]]:
    """Offsets of the instructions, and of each the places of those that may follow it.

    What handles an exception follows each instruction that may raise it.
    """
    read = dis.Bytecode(code)
    instructions = list(read)
    places = {one.offset: number for number, one in enumerate(instructions)}
    follows: list[list[int]] = []
    for number, one in enumerate(instructions):
        after = [places[one.argval]] if one.opcode in _JUMPS and one.argval in places else []
        if one.opname not in _ENDS and number + 1 < len(instructions):
            after.append(number + 1)
        follows.append(after)
    for entry in getattr(read, "exception_entries", ()):  # before 3.11 an instruction leads there
        for offset, number in places.items():
            if entry.start <= offset < entry.end:
                follows[number].append(places[entry.target])
    return list(places), follows


@lru_cache(maxsize=256)
def _returns(code: CodeType, start: int) -> bool:
    """Whether an instruction can be reached from itself."""
    _, follows = _graph(code)
    seen: set[int] = set()
    stack = list(follows[start])
    while stack:
        place = stack.pop()
        if place == start:
            return True
        if place not in seen:
            seen.add(place)
            stack += follows[place]
    return False
