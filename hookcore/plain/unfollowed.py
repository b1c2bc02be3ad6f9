"""Training whose loops are not seen: it is observed at most, and that is said once, with why."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from hookcore.errors import three_parts
from hookcore.plain import table
from hookcore.plain.loading.reasons import Reason, is_looping, is_others, is_unseen, reason_of
from hookcore.plain.loading.sources import SUSPENDED

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

_PLAIN = "what it does: hookcore explain     follow it: make it a plain function of one thread"


class Unfollowed:
    """What steps where a run's loops are not seen.

    A count that is half of the truth is worse than none: a loop that only drives a generator or a
    coroutine, or code without sites that loops by itself, gets no role.

    Args:
        host: The run's host.

    Attributes:
        observing: Whether the fit that is open was opened here, and has no loop.
        known: Whether the reason has been said before the run.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._place = ""
        self._reason = Reason("", "")
        self._alone = False
        self._observed = 0
        self.observing = self.known = False

    def around(self, until: int, optimizer: Any = None) -> bool:
        """Whether loops that nobody sees run between here and a frame.

        Args:
            until: ``id`` of that frame, or 0.
            optimizer: What is about to step, where something is.
        """
        propagates = False
        for frame in _callers(until):
            others = is_others(frame)
            propagates = propagates or (others and "backward" in frame.f_code.co_names)
            flags = frame.f_code.co_flags
            kind = next((text for flag, text in SUSPENDED.items() if flags & flag), None)
            if kind is not None and table.is_rewritten(frame.f_code.co_filename):
                self._note(Reason(f"{frame.f_code.co_name}() is {kind}", _PLAIN))
                self._observe(optimizer)
                return True
            # A package that steps in a loop may have several optimizers; one that propagates there
            # as well trains by itself.
            unseen = is_unseen(frame) or (propagates and others)
            if unseen and is_looping(frame):
                self._note(reason_of(frame))
                self._observe(optimizer)
                return True
        return False

    def no_loop(self, optimizer: Any) -> None:
        """A step, and no loop around it; none is missed where a training is recognised beside."""
        if self.around(0, optimizer):
            return
        frame = next(_callers(0), None)
        if frame is not None and not table.is_rewritten(frame.f_code.co_filename):
            self._note(reason_of(frame), alone=True)
            self._observe(optimizer)
            return
        why = "no loop of a rewritten file is around it; one in C, such as map()'s, is not seen"
        self._note(Reason(why, _PLAIN), alone=True)

    def in_thread(self) -> None:
        """A step in another thread than the run's."""
        name = threading.current_thread().name
        why = f"it runs in the thread {name!r}; a run follows the thread that opened it"
        self._note(Reason(why, _PLAIN))

    def over(self) -> None:
        """A loop that is followed trains: a fit without loops ends before it."""
        if self.observing:
            self._host.life.end_fit("finished")
            self._host.fit_ended()
            self.observing = False

    def say(self) -> None:
        """The run ends."""
        run = self._host.run
        fit = self._host.life.fit
        if self.observing and fit is not None and fit.stopped is not None:
            what = f"{fit.stopped.by} asked for a stop ({fit.stopped.reason}), and nothing ended"
            run.warn(three_parts(what, "the loops of this training are not seen"))
        nothing = self._host.taps is not None and not run.fits and not self._place
        if nothing and _started_processes():
            what = "what trains in another process is not followed"
            why = "the script started processes; a run follows the one that it was opened in"
            run.warn(three_parts(what, why, "instrument() the function that trains there"))
        if self.known or not self._place or (self._alone and run.fits > self._observed):
            return
        what = f"a training at {self._place} was not followed"
        if self._observed:
            what = f"of a training at {self._place} the steps alone were observed"
        run.warn(three_parts(what, self._reason.why, self._reason.way_out))

    def _observe(self, optimizer: Any) -> None:
        """Open a fit of which only what torch tells is known."""
        host = self._host
        taps, wanted = host.taps, host.observes and optimizer is not None
        if taps is None or not wanted or host.life.fit is not None:
            return
        fit = host.life.new_fit()
        fit.observed = self.observing = True
        self._observed += 1
        taps.survey(fit, optimizer)
        host.life.start_fit(fit)

    def _note(self, reason: Reason, *, alone: bool = False) -> None:
        if not self._place or (self._alone and not alone):
            self._place, self._reason, self._alone = _place() or "an unknown place", reason, alone


def _callers(until: int) -> Iterator[FrameType]:
    """The frames above, innermost first and without torch's and ours, up to a frame."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and id(frame) != until:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "hookcore"):
            yield frame
        frame = frame.f_back


def _started_processes() -> bool:
    # Imported by multiprocessing when the first process of that kind is started.
    return any(name.startswith("multiprocessing.popen_") for name in tuple(sys.modules))


def _place() -> str:
    frame = next(_callers(0), None)
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
