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

_ALONE = "no loop of a rewritten file is around it; one in C, such as map()'s, is not seen"
_PLAIN = "what it does: hookcore explain     follow it: make it a plain function of one thread"


class Unfollowed:
    """What steps where a run's loops are not seen.

    A count that is half of the truth is worse than none: a loop that only drives a generator or a
    coroutine, or code without sites that loops by itself, gets no role.

    Args:
        host: The run's host.

    Attributes:
        observing: Whether the fit that is open was opened here, and has no loop.
        known: Whether the run is that of a function of which it was said before that it is only
            observed.
        outside: ``id`` of the frame that calls the run's function; those around are not the run's.
        workers: Processes that DataLoaders have made in the run.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._place = ""
        self._reason = Reason("", "")
        self._alone = False
        self._observed = 0
        self._rounds: tuple[str, Reason] | None = None
        self._processes = process_number()
        self.observing = self.known = False
        self.outside = self.workers = 0

    def around(self, until: int, optimizer: Any = None) -> bool:
        """Whether loops that nobody sees run between here and a frame.

        Args:
            until: ``id`` of that frame, or 0.
            optimizer: What is about to step, where something is.
        """
        propagates = False
        for frame in self._callers(until):
            others = is_others(frame)
            propagates = propagates or (others and "backward" in frame.f_code.co_names)
            suspended = _suspended(frame)
            # A package that steps in a loop may have several optimizers; one that propagates there
            # as well trains by itself.
            unseen = suspended is None and (is_unseen(frame) or (propagates and others))
            if suspended is not None or (unseen and is_looping(frame)):
                self._note(frame, suspended or reason_of(frame))
                self._observe(optimizer)
                return True
        return False

    def no_loop(self, optimizer: Any) -> None:
        """A step, and no loop around it; none is missed where a training is recognised beside."""
        if self.around(0, optimizer):
            return
        frame = next(self._callers(0), None)
        reason = Reason(_ALONE, _PLAIN)
        if frame is not None and not table.is_rewritten(frame.f_code.co_filename):
            reason = reason_of(frame)
        self._note(frame, reason, alone=True)
        if self.known:  # else it is one step, and no training
            self._observe(optimizer)

    def again(self) -> None:
        """What has trained before in this run trains again: perhaps it has begun another fit."""
        followed = self._host.life.fit is not None and not self.observing
        if followed and self._rounds is None:
            for frame in self._callers(0):
                suspended = _suspended(frame)
                if (suspended is not None or is_unseen(frame)) and is_looping(frame):
                    self._rounds = _place(frame), suspended or reason_of(frame)
                    return

    def in_thread(self) -> None:
        """A step in another thread than the run's."""
        name = threading.current_thread().name
        why = f"it runs in the thread {name!r}; a run follows the thread that opened it"
        self._note(next(self._callers(0), None), Reason(why, _PLAIN))

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
        if self._rounds is not None:
            place, reason = self._rounds
            what = f"a loop at {place} is not seen: each of its rounds is a training of its own"
            run.warn(three_parts(what, reason.why, reason.way_out))
        nothing = self._host.taps is not None and not run.fits and not self._place
        if nothing and process_number() > self._processes + self.workers:
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

    def _note(self, frame: FrameType | None, reason: Reason, *, alone: bool = False) -> None:
        if not self._place or (self._alone and not alone):
            self._place, self._reason, self._alone = _place(frame), reason, alone

    def _callers(self, until: int) -> Iterator[FrameType]:
        """The frames above, innermost first and without torch's and ours, up to a frame."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and id(frame) not in (until, self.outside):
            if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", "hookcore"):
                yield frame
            frame = frame.f_back


def process_number() -> int:
    """The number of the next process that Python's ``multiprocessing`` makes."""
    process = sys.modules.get("multiprocessing.process")
    # Nothing else tells of those that are over; to take from the counter would rename later ones.
    counter = repr(getattr(process, "_process_counter", None))
    return int(counter[len("count(") : -1]) if counter.startswith("count(") else 1


def _suspended(frame: FrameType) -> Reason | None:
    """Why a frame of a rewritten file has no sites, if its function is one that is suspended."""
    flags = frame.f_code.co_flags
    kind = next((text for flag, text in SUSPENDED.items() if flags & flag), None)
    if kind is None or not table.is_rewritten(frame.f_code.co_filename):
        return None
    return Reason(f"{frame.f_code.co_name}() is {kind}", _PLAIN)


def _place(frame: FrameType | None) -> str:
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
