"""Validations: spans in which a trained model is called and nothing of it is trained."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from hookcore.plain import table
from hookcore.plain.loading.roots import never
from hookcore.plain.scalars import Arrivals
from hookcore.plain.sites import counts, loaders_in

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop


class Evaluation:
    """Tells validations from training, and delivers them.

    A call without gradients is one at once. A call in eval mode with gradients may be training
    with frozen statistics: it is held back, and delivered when the span closes without a step.
    So is any call after an epoch's batches, or in a loop over a loader inside a batch: a loop may
    forget ``eval()`` and ``no_grad``. A single call inside a batch, without gradients and in
    training mode, may belong to the step that follows: a target, an action. It is held back, too,
    and where a step follows once, no call of that place is an evaluation. In eval mode it takes a
    step after it in two batches in a row: an evaluation comes every so many batches. For the same
    reason there is none where batches in a row begin with a call, and do not train: they act.
    Held back is also the first call in a loop that only counts: a model that is given its own
    output, one longer each time, is drawn from and not evaluated.

    A batch is one iteration in which the model is called, of the innermost loop around the call
    that goes over a loader, or of the innermost one; without any loop it is the call itself.

    Attributes:
        calling: Whether a trained model's call is running.
        happened: Whether one began in the current iteration of the fit's outermost loop: what the
            iteration binds from then on is the validation's, though its function has returned.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.calling = False
        self.happened = False
        self._frame = 0
        self._unproven = 0
        self._at: tuple[int, int] | None = None
        self._trains_in_eval = False
        self._drawn: tuple[int, Any] = (0, None)
        self._waiting: set[tuple[Any, int]] = set()
        self._of_steps: set[tuple[Any, int]] = set()
        self._training: set[int] = set()  # sites of loops that train what they also call
        self._called_at: dict[tuple[Any, int], int] = {}  # the batch of a place's last call
        self._first = 0
        self._in_doubt = False

    @property
    def counts(self) -> bool:
        """Whether what is bound now belongs to a validation."""
        return self.happened or self.open

    @property
    def open(self) -> bool:
        """Whether a validation is open, proven or not."""
        return self._unproven > 0 or self._host.life.in_validation

    def reset(self) -> None:
        """A fit has ended; the next one is judged anew."""
        self._frame = self._unproven = 0
        self._at = None
        self._drawn = (0, None)
        self._waiting.clear()
        self._of_steps.clear()
        self._training.clear()
        self._called_at.clear()
        self._in_doubt = self._trains_in_eval = self.happened = False

    def called(self, given: tuple[Any, ...], training: bool) -> None:
        """A trained model is called without gradients.

        Args:
            given: Its positional arguments.
            training: Whether it is in training mode.
        """
        life = self._host.life
        loop = self._inner_loop()
        if not life.in_validation:
            alone = loop is None and life.in_batch
            if self._is_of_training():
                self._wait_for_step(loop)
                return
            if alone and self._may_be_of_step(training=training):
                return
            if loop is not None and counts(loop) and self._draws(loop, given):
                return
            self._open(_reporting_frame(loop))
        if loop is not None and self._at == (id(loop), loop.index):
            return
        self._at = None if loop is None else (id(loop), loop.index)
        if loop is not None and loop.role is None:
            loop.role = "validation"
            loop.evaluated = True
            self._host.evaluated_at.setdefault(loop.site.id)
        life.start_validation_batch()

    def trains(self, loop: Loop) -> None:
        """Something of the fit is trained in a loop that has no role, or looked like a validation.

        What is called in it without gradients, features of a model that stays as it is, may belong
        to its step from now on.
        """
        if loop.role == "validation" and loop.said is None:
            loop.role = None
            self._host.evaluated_at.pop(loop.site.id, None)
            self._training.add(loop.site.id)

    def called_with_gradients(self) -> None:
        """A trained model is called with gradients, in eval mode or where no batch is open."""
        if self._trains_in_eval:
            return
        if self._host.life.in_validation:
            self.called((), training=False)
            return
        self._hold_back(self._inner_loop())

    def may_be_forgetful(self) -> bool:
        """Whether a call with gradients, in training mode, can be an evaluation."""
        host = self._host
        life = host.life
        if life.in_validation or life.fit is None:
            return False
        if not life.in_batch:
            return life.in_epoch and life.fit.batch >= 0
        loop = self._inner_loop()
        return loop is not None and self.may_go_over_data(loop)

    @staticmethod
    def may_go_over_data(loop: Loop) -> bool:
        """Whether a loop goes over a loader, and nothing in its own source trains."""
        return not loop.site.may_step and bool(loaders_in(loop.iterable))

    def declared(self, loop: Loop) -> None:
        """An iteration begins of a loop that the user says is a validation's."""
        life = self._host.life
        if not life.in_validation:
            self._open(_reporting_frame(loop))
        loop.evaluated = True
        self._host.evaluated_at.setdefault(loop.site.id)
        self._at = (id(loop), loop.index)
        life.start_validation_batch()

    def passed(self, loop: Loop) -> None:
        """A loop that may be an evaluation has gone round; no call of a model was heard in it."""
        if not self._trains_in_eval and not self._host.life.in_validation:
            self._hold_back(loop)

    def _hold_back(self, loop: Loop | None) -> None:
        at = None if loop is None else (id(loop), loop.index)
        if self._unproven == 0:
            self._frame = _reporting_frame(loop)
            self._host.unusual = True
            self._host.shown.ask_every_loop()
            self._host.scalars.validation_began()
            if self._host.taps is not None:
                self._host.taps.hear_backward(wanted=True)
        if at is None or at != self._at:
            self._unproven += 1
            self._at = at
        if loop is not None:
            loop.evaluated = True

    def _draws(self, loop: Loop, given: tuple[Any, ...]) -> bool:
        """Whether this call is held back, as the first in its loop, or is no evaluation."""
        shape = getattr(given[0], "shape", ()) if given else ()
        entry, before = self._drawn
        if entry != id(loop) or loop.index == loop.first:
            if self._unproven or len(shape) < 2 or loop.index > loop.first:
                return False
            self._drawn = id(loop), shape
            self._hold_back(loop)
            return True
        if before is None:
            return True
        if tuple(shape) != (before[0], before[1] + 1, *before[2:]):  # by one in each round
            self._drawn = (0, None)
            return False
        self._drawn = id(loop), None
        self._unproven = 0
        return True

    def batches_began(self) -> None:
        """The batch loop is entered: a validation before it is over, a call round it was none."""
        if self.calling and _inside_a_module():  # a call that raised has told no end
            self.trained()
        else:
            self.over()

    def _is_of_training(self) -> bool:
        """Whether the innermost loop has trained what it called."""
        stack = self._host.stack
        return bool(stack) and stack[-1].site.id in self._training

    def began(self) -> None:
        """A fit has begun, in a batch of which not all was heard."""
        fit = self._host.life.fit
        self._first = 0 if fit is None else fit.batches

    def _may_be_of_step(self, *, training: bool) -> bool:
        """Whether a single call in a batch is held back, or belongs to the batch's step."""
        host, fit, place = self._host, self._host.life.fit, _place()
        if place in self._of_steps or fit is None or host.taps is None:
            return place in self._of_steps
        trained = host.taps.trained_at >= host.stack[-1].began  # the batch has, already
        if trained or host.stack[-1].role == "both":  # an epoch may well begin with an evaluation
            if training:
                self._wait_for_step(None)
            return training
        before = self._called_at.get(place, -2)
        self._called_at[place] = fit.batches
        in_a_row = before >= fit.batches - 1
        unheard = fit.batches <= self._first + 1  # whether the batch before had one
        if not (training or in_a_row or unheard):
            return False
        self._wait_for_step(None)
        if not training and not in_a_row:
            self._waiting.discard(place)
        self._in_doubt = in_a_row or unheard
        return True

    def _wait_for_step(self, loop: Loop | None) -> None:
        place = _place()
        if place in self._of_steps:
            return
        self._hold_back(loop)
        self._frame = 0  # a function's return does not tell whether a step follows
        self._waiting.add(place)

    def trained(self) -> None:
        """The model trains again: an open validation is over, an unproven one was none."""
        if self._unproven:
            if self._waiting:
                self._of_steps |= self._waiting
            elif not self._in_doubt:
                self._trains_in_eval = True
            self._unproven = 0
        self.over()

    def returned(self, frame: int, arrivals: Arrivals) -> None:
        """A function returns, with the values it has shown."""
        life = self._host.life
        began_here = frame == self._frame and (life.in_validation or self._unproven > 0)
        if arrivals.before:
            life.arrived(arrivals.before, "epoch")
        if began_here:
            self.over(arrivals)
        elif arrivals.since:
            life.arrived(arrivals.since, "validation")

    def over(self, arrivals: Arrivals | None = None) -> None:
        """The span is over."""
        host, life = self._host, self._host.life
        since = {} if arrivals is None else arrivals.since
        since.update(host.loggers.drawn_in_validation())
        dropped = self._unproven > 0 and self._in_doubt
        if dropped:
            self._unproven = 0
        if self._unproven and life.fit is not None:
            batches, self._unproven = self._unproven, 0
            self.happened = True
            life.start_validation()
            for _ in range(batches):
                life.start_validation_batch()
        if life.in_validation:
            life.end_validation(since)
        elif since:
            life.arrived(since, "batch" if dropped else "validation")
        self._frame = 0
        self._at = None
        self._drawn = (0, None)
        if host.taps is not None and life.fit is not None:
            host.taps.hear_backward(wanted=False)
        self._waiting.clear()
        self._in_doubt = False
        # A step ends no wish: what was asked for in mid-batch is seen at the batch's end.
        host.unusual = host.shown.awaited()
        if life.in_batch and host.taps is not None:
            host.taps.batches_begin()

    def _open(self, frame: int) -> None:
        host = self._host
        self._frame = frame
        host.unusual = True
        host.shown.ask_every_loop()
        self.happened = True
        host.scalars.validation_began()
        host.life.start_validation()
        for _ in range(0 if self._waiting else self._unproven):
            host.life.start_validation_batch()
        self._unproven = 0

    def _inner_loop(self) -> Loop | None:
        """The loop whose iterations are the validation's batches, or None."""
        innermost = None
        for loop in reversed(self._host.stack):
            if loop.role not in (None, "validation"):
                break
            if loaders_in(loop.iterable):
                return loop
            innermost = innermost or loop
        return innermost


def _reporting_frame(loop: Loop | None) -> int:
    """``id`` of the innermost frame, the loop's or one around it, that reports its return; or 0."""
    frame: FrameType | None = sys._getframe(1)
    inside = loop is not None
    while frame is not None:
        code = frame.f_code
        inside = inside and id(frame) != (0 if loop is None else loop.frame)
        if not inside and (code.co_filename, code.co_name) in _reporting():
            return id(frame)
        frame = frame.f_back
    return 0


def _inside_a_module() -> bool:
    """Whether a module's call is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "torch.nn.modules.module":
        frame = frame.f_back
    return frame is not None


def _place() -> tuple[Any, int]:
    """Code and line that called a model: neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and never(frame.f_globals.get("__name__") or ""):
        frame = frame.f_back
    return (None, 0) if frame is None else (frame.f_code, frame.f_lineno)


def _reporting() -> set[tuple[str, str]]:
    if len(_places) != len(table.FUNCTIONS):
        for number, function in table.FUNCTIONS.items():
            _places[number] = (function.path, function.qualname.rpartition(".")[2])
        _named.update(_places.values())
    return _named


_places: dict[int, tuple[str, str]] = {}
_named: set[tuple[str, str]] = set()
