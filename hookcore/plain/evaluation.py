"""Validations: spans in which a trained model is called and nothing of it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore.plain.scalars import Arrivals

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop


class Evaluation:
    """Tells validations from training, and delivers them.

    A call without gradients is one at once. A call in eval mode with gradients may be training
    with frozen statistics: it is held back, and delivered when the span closes without a step.
    A batch is one iteration of the innermost loop around the call, or the call itself.

    Attributes:
        happened: Whether one began in the current iteration of the fit's outermost loop: what the
            iteration binds from then on is the validation's, though its function has returned.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.happened = False
        self._frame = 0
        self._unproven = 0
        self._unproven_at: tuple[int, int] | None = None
        self._trains_in_eval = False

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
        self._unproven_at = None
        self._trains_in_eval = self.happened = False

    def called(self, frame: int) -> None:
        """A trained model is called without gradients.

        Args:
            frame: ``id`` of the frame that called it and will report its return, or 0.
        """
        life = self._host.life
        if not life.in_validation:
            self._open(frame)
        loop = self._inner_loop()
        if loop is None:
            life.start_validation_batch()
        elif loop.role is None:
            loop.role = "validation"
            loop.evaluated = True
            self._host.evaluated_at.setdefault(loop.site.id)
            life.start_validation_batch()

    def called_with_gradients(self, frame: int) -> None:
        """A trained model is called in eval mode, gradients on: a validation, or training."""
        if self._trains_in_eval:
            return
        if self._host.life.in_validation:
            self.called(frame)
            return
        loop = self._inner_loop()
        at = None if loop is None else (id(loop), loop.index)
        if self._unproven == 0:
            self._frame = frame
            self._host.unusual = True
            self._host.show_frames()
            self._host.scalars.validation_began()
        if at is None or at != self._unproven_at:
            self._unproven += 1
            self._unproven_at = at
        if loop is not None:
            loop.evaluated = True

    def trained(self) -> None:
        """The model trains again: an open validation is over, an unproven one was none."""
        if self._unproven:
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
        if self._unproven and life.fit is not None:
            batches, self._unproven = self._unproven, 0
            self.happened = True
            life.start_validation()
            for _ in range(batches):
                life.start_validation_batch()
        if life.in_validation:
            life.end_validation(since)
        elif since:
            life.arrived(since, "validation")
        self._frame = 0
        self._unproven_at = None
        # A step ends no wish: what was asked for in mid-batch is seen at the batch's end.
        host.unusual = host.awaits_names()
        if life.in_batch and host.taps is not None:
            host.taps.batches_begin()

    def _open(self, frame: int) -> None:
        host = self._host
        self._frame = frame
        host.unusual = True
        host.show_frames()
        self.happened = True
        host.scalars.validation_began()
        host.life.start_validation()
        for _ in range(self._unproven):
            host.life.start_validation_batch()
        self._unproven = 0

    def _inner_loop(self) -> Loop | None:
        """The loop whose iterations are the validation's batches, or None."""
        stack = self._host.stack
        loop = stack[-1] if stack else None
        return loop if loop is not None and loop.role in (None, "validation") else None


