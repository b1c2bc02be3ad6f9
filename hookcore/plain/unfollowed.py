"""Training that is not followed: no event fires for it, and that is said once, with its reason."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from hookcore.errors import three_parts
from hookcore.plain import table
from hookcore.plain.loading.roots import is_installed
from hookcore.plain.loading.sources import SUSPENDED, source_of

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

_WAY_OUT = "what it does: hookcore explain     follow it: make it a plain function of one thread"


class Unfollowed:
    """What steps where a run's loops are not seen.

    A count that is half of the truth is worse than none: a loop that only drives a generator or a
    coroutine, whose own loops nobody sees, gets no role.

    Args:
        host: The run's host.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._place = ""
        self._why = ""
        self._alone = False

    def suspended(self, until: int) -> bool:
        """Whether a generator or coroutine of the user's runs between here and a frame.

        Args:
            until: ``id`` of that frame, or 0.
        """
        frame = _suspended(until)
        if frame is not None:
            flags = frame.f_code.co_flags
            kind = next(text for flag, text in SUSPENDED.items() if flags & flag)
            self._note(f"{frame.f_code.co_name}() is {kind}")
        return frame is not None

    def no_loop(self) -> None:
        """A step, and no loop around it; none is missed where a training is recognised beside."""
        if not self.suspended(0) and not self._place:
            self._note(_why_not(_caller()), alone=True)

    def in_thread(self) -> None:
        """A step in another thread than the run's."""
        name = threading.current_thread().name
        self._note(f"it runs in the thread {name!r}; a run follows the thread that opened it")

    def say(self) -> None:
        """The run ends."""
        run = self._host.run
        if self._place and not (self._alone and run.fits):
            what = f"a training at {self._place} was not followed"
            run.warn(three_parts(what, self._why, _WAY_OUT))

    def _note(self, why: str, *, alone: bool = False) -> None:
        if not self._place or (self._alone and not alone):
            self._place, self._why, self._alone = _place() or "an unknown place", why, alone


def _suspended(until: int) -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and id(frame) != until:
        code = frame.f_code
        if any(code.co_flags & flag for flag in SUSPENDED) and _is_user_s(code.co_filename):
            return frame
        frame = frame.f_back
    return None


def _caller() -> FrameType | None:
    """The innermost frame that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "hookcore"):
            return frame
        frame = frame.f_back
    return None


def _place() -> str:
    frame = _caller()
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _why_not(frame: FrameType | None) -> str:
    """Why no loop is seen around a frame."""
    path = "" if frame is None else frame.f_code.co_filename
    try:
        source_of(path)
    except LookupError as error:
        return str(error.args[0])
    reason = next((file.reason for file in table.FILES.values() if file.path == path), None)
    if reason is not None:
        return f"its file is left as it is: {reason}"
    if is_installed(path):
        return "its file belongs to an installed package: instrument() the method that trains"
    if frame is not None and not _is_user_s(path):
        loader = frame.f_globals.get("__loader__")
        by = "was not loaded by Python's import" if loader is None else "was loaded by "
        return f"its code {by}{'' if loader is None else type(loader).__name__}"
    return "no loop of a rewritten file is around it"


def _is_user_s(path: str) -> bool:
    return any(known == path for known, _ in table.FILES)
