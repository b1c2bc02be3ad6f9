"""The thread that looks at the counters a few times a second and shows them."""

from __future__ import annotations

import atexit
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from hookcore_progress import forks
from hookcore_progress.meter import Meter
from hookcore_progress.moments import Moment
from hookcore_progress.surfaces import Surface
from hookcore_progress.suspension import Suspension

_PATIENCE = 2.0
"""Seconds that the end of a fit waits for the last drawing: a terminal may be stopped."""
_HELD_LOOK = 0.3
_ASK_EVERY = 0.25


class Display:
    """Shows one fit until it is closed.

    The training's thread only posts moments; reading values and drawing happen in a thread of our
    own, which holds no lock while the process forks.

    Args:
        surface: Where to show.
        meter: Follows the fit.
        look: Takes the present moment; None where there is nothing to show now.
        ask: Asks that the loop's own variables be read.
        allowed: Whether we may still draw.

    Attributes:
        failure: The traceback of an error in the thread, else empty.
    """

    def __init__(
        self,
        surface: Surface,
        meter: Meter,
        *,
        look: Callable[[], Moment | None],
        ask: Callable[[], None],
        allowed: Callable[[], bool],
    ) -> None:
        self.failure = ""
        self._surface, self._meter = surface, meter
        self._look, self._ask, self._allowed = look, ask, allowed
        self._posted: deque[Moment] = deque()
        self._held: Moment | None = None
        self._wake = threading.Event()
        self._closing = self._paused = self._ended = False
        self._next_ask = time.monotonic()
        self._next = self._next_ask + surface.interval
        self._generation = forks.generation()
        self._suspension = Suspension(self._pause, self._go_on)
        self._thread = threading.Thread(target=self._work, name="hookcore-progress", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        atexit.register(self.close)
        self._suspension.install()
        self._thread.start()

    def post(self, moment: Moment) -> None:
        """Something has happened. Returns at once."""
        self._posted.append(moment)
        self._wake.set()

    def close(self) -> None:
        """Show what was posted, leave the place clean, end the thread."""
        atexit.unregister(self.close)
        self._suspension.remove()
        if self._generation != forks.generation():
            return  # a forked child: the parent draws, and the thread does not exist here
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        with forks.drawing(_PATIENCE):
            self._surface.close()

    # -- in the thread ---------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(self._time_to_wait())
                self._wake.clear()
                self._show_posted()
                self._keep_time()
            self._show_posted()
            self._show_held()
        except Exception:  # noqa: BLE001 - told to the core by the next hook, see `failure`
            self.failure = traceback.format_exc()
            with forks.drawing():
                self._surface.close()

    def _time_to_wait(self) -> float | None:
        if self._ended:
            return None  # its last line stands; only the closing is to come
        wait = max(min(self._next, self._next_ask) - time.monotonic(), 0.0)
        return wait if self._held is None else min(wait, _HELD_LOOK)

    def _keep_time(self) -> None:
        if self._ended:
            return  # the counters may still be there for a moment
        now = time.monotonic()
        moment = None
        if now >= self._next or self._held is not None:
            moment = self._look()
        if self._held is not None and moment is not None and moment.batches > self._held.batches:
            self._show_held()
        if now >= self._next:
            self._next = now + self._surface.interval
            if moment is not None:
                self._show(moment)
        if now >= self._next_ask:
            # For the next look, or the epoch's line before it: a batch must end in between.
            self._next_ask = now + min(_ASK_EVERY, self._surface.interval)
            self._ask()

    def _show_posted(self) -> None:
        while self._posted:
            moment = self._posted.popleft()
            if self._held is not None:
                if self._says_it_all(moment):
                    self._held = None
                else:
                    self._show_held()
            if moment.kind == "validation":
                # Not yet: the loop may bind more of its values until the iteration ends.
                self._meter.follow(moment)
                self._held = moment
            else:
                self._show(moment)

    def _says_it_all(self, moment: Moment) -> bool:
        """Whether this is the end of the epoch that ended with the validation that is held."""
        held, surface = self._held, self._surface
        same = moment.kind == "epoch" and held is not None and moment.batches == held.batches
        return same and surface.merges and "epoch" in surface.tells

    def _show_held(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            if held.raw or not self._surface.merges:
                self._show(held)

    def _show(self, moment: Moment) -> None:
        tick = moment.kind == "tick"
        if not tick and moment.kind not in self._surface.tells:
            self._meter.follow(moment)
            return
        self._ended = self._ended or moment.kind == "end"
        view = self._meter.view(moment)  # waits for the device, where values lie on one
        with forks.drawing():
            if not self._allowed():
                self._surface.hide()
            elif tick and not self._paused:
                self._surface.tick(view)
            elif not tick:
                self._surface.line(view)

    # -- around Ctrl-Z, in the main thread -------------------------------------------------

    def _pause(self) -> None:
        if self._generation != forks.generation():
            return
        self._paused = True
        # The thread may wait for a stopped terminal with the pen in its hand.
        with forks.drawing(0.2):
            self._surface.hide()

    def _go_on(self) -> None:
        self._paused = False
