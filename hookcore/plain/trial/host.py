"""The host of a trial: every loop ends after a few iterations, and the script with the epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore.plain.adapter import Plain
from hookcore.plain.sites import Loop, loaders_in, total_of

if TYPE_CHECKING:
    from hookcore.errors import Concern
    from hookcore.hookspecs import How
    from hookcore.life import Life
    from hookcore.plain.trial.strays import Strays
    from hookcore.training import Run

PATIENCE = 5.0
"""Seconds that a loop without epochs may go on, beyond its steps, until it validates."""
MOST_BATCHES = 1000
"""Batches after which it need not, however fast they are."""


@attrs.define(eq=False)
class Met:
    """What is known of a loop that has run.

    Attributes:
        total: Iterations that its last entry would have had, None where that cannot be known.
        over_models: Whether it iterated over models or optimizers.
    """

    total: int | None = None
    over_models: bool = False


@attrs.define(eq=False)
class Drawn:
    """A DataLoader that a loop has drawn from.

    Attributes:
        loader: The DataLoader.
        site: Id of the loop's site.
        total: Batches that it would have given, None where that cannot be known.
        role: What the loop was then.
    """

    loader: Any
    site: int
    total: int | None
    role: str | None = None


class Trial(Plain):
    """A plain host that makes the epoch short, and leaves at the head of the outermost loop.

    Loops that train or validate are ended after a few iterations as if they were exhausted, so
    that the rest of the epoch's body runs and its metrics arrive. It never raises into the
    script: where the outermost loop would go on, or the code after it would run, ``conclude`` is
    called and does not return.

    ``life.attention`` stays set, so that every head asks :meth:`attend`; a run without a trial
    pays nothing for it.

    Args:
        steps: Iterations of a loop, and epochs while no validation has been seen.
        own: Whether a file is the user's.
        look: Reports what is known so far.
        conclude: Reports, and ends the process.

    Attributes:
        met: Loops that have run, by site.
        drawn: DataLoaders that were drawn from, each once.
        left_how: How the outermost loop was left, or None.
        strays: Optimizer steps that no loop was seen around; None until torch is loaded.
        snapshot: What a checkpoint would hold, once the outermost loop was at a head.
        unsaved: Why no checkpoint could be captured, or None.
        inside: Why none could be resumed from in the middle of an epoch, or None; False where no
            batch's end inside one was met.
        names: The outermost loop's variables, as it last showed them.
    """

    observes = False  # what is not seen is what it reports

    def __init__(
        self,
        steps: int,
        own: Callable[[str], bool],
        look: Callable[[], None],
        conclude: Callable[[], None],
    ) -> None:
        super().__init__()
        self.steps = steps
        self.own = own
        self.met: dict[int, Met] = {}
        self.drawn: list[Drawn] = []
        self.left_how: How | None = None
        self.strays: Strays | None = None
        self.snapshot: Any = None
        self.unsaved: str | None = None
        self.inside: Concern | Literal[False] | None = False
        self.names: dict[str, Any] = {}
        self._look = look
        self._conclude = conclude
        self._began: float | None = None

    # -- as any host -----------------------------------------------------------------------

    def attach(self, run: Run, life: Life) -> None:
        """Begin to listen."""
        super().attach(run, life)
        self.heads.noted = life.attention = True

    def watch_torch(self) -> None:
        """Look out for training that the taps pass over; torch has just been imported."""
        from hookcore.plain.trial.strays import Strays

        self.strays = Strays(self, 10 * self.steps, self._conclude)
        self.strays.arm()

    def enter(self, loop: Loop) -> None:
        """A loop is at its first head."""
        super().enter(loop)
        met = self.met.setdefault(loop.site.id, Met())
        met.total = total_of(loop.iterable) if loop.total is None else loop.total
        for loader in self._loaders(loop):
            if not any(loader is known.loader for known in self.drawn):
                self.drawn.append(Drawn(loader, loop.site.id, met.total))

    def iteration_ended(self, loop: Loop, how: How) -> bool:
        """An iteration's body has been left; loops of a validation have their end here."""
        if super().iteration_ended(loop, how):
            return True
        self.met[loop.site.id].over_models |= loop.over_models
        for loader in self._loaders(loop):
            for drawn in self.drawn:
                if drawn.loader is loader and loop.role is not None:
                    drawn.role = loop.role
        evaluates = loop.role == "validation" or (loop.role is None and loop.evaluated)
        if not evaluates or how != "finished" or not self._is_enough(loop):
            return False
        self._cut_short(loop)
        return True

    def attend(self, loop: Loop) -> bool:
        """A head of the fit's loops: end it, or the trial, where enough has been seen."""
        ends = super().attend(loop)
        self.life.attention = True
        roles = self.recognition.roles
        if ends or roles is None:
            return ends
        if loop is roles.outer:
            self.names = self.heads.names or self.names
            if self._has_seen_enough(loop) and self._is_captured(loop):
                self._conclude()
            return False
        if self.inside is False and loop.role == "batch":
            from hookcore.plain.resume.levels import concern_inside  # it imports torch

            self.inside = concern_inside(self, loop)
        if not self._is_enough(loop):
            return False
        self._cut_short(loop)
        return True

    def leave(self, loop: Loop, how: How) -> None:
        """A loop is over; if it is the outermost one, what follows must not run."""
        roles = self.recognition.roles
        if roles is not None and loop is roles.outer and loop in self.stack:
            self.names = self.shown.seen.get(loop.site.id) or self.names
            self.evaluation.over()
            self.left_how = how
            if how not in ("exception", "exit"):
                self._conclude()
            self._look()
        super().leave(loop, how)

    # -- inside ----------------------------------------------------------------------------

    def _cut_short(self, loop: Loop) -> None:
        self.leave(loop, "finished")
        self._look()

    def _loaders(self, loop: Loop) -> list[Any]:
        return [] if self.taps is None else self.taps.loaders(loaders_in(loop.iterable))

    def _is_enough(self, loop: Loop) -> bool:
        return loop.index + 1 - loop.first >= self.steps

    def _has_seen_enough(self, outer: Loop) -> bool:
        """Whether the outermost loop need not go on: it is at a head."""
        fit, roles = self.life.fit, self.recognition.roles
        assert fit is not None and roles is not None
        if self._began is None:
            self._began = time.monotonic()
        if roles.outer is not roles.batch:
            return fit.validations > 0 or self._is_enough(outer)
        if not self._is_enough(outer):
            return False
        patient = fit.batches < MOST_BATCHES and time.monotonic() - self._began < PATIENCE
        return fit.validations > 0 or (fit.batches >= 3 * self.steps and not patient)

    def _is_captured(self, loop: Loop) -> bool:
        """Capture what a checkpoint of this head would hold; False: at the next head."""
        self.heads.at = loop
        try:
            self.snapshot = self.capture("explain")
        except Exception as error:  # noqa: BLE001 - the script's own state_dict may raise anything
            self.unsaved = f"{type(error).__name__}: {error}"
        finally:
            self.heads.at = None
        return self.snapshot is not None or self.unsaved is not None
