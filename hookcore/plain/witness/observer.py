"""Hears every backward pass and every optimizer step, and writes down what stands there then."""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from hookcore.plain.resume import rng
from hookcore.plain.witness.batches import Batches
from hookcore.plain.witness.digests import Token
from hookcore.plain.witness.kill import MidStep, die
from hookcore.plain.witness.ledger import Ledger
from hookcore.plain.witness.variables import Items, Variables

if TYPE_CHECKING:
    from hookcore.plain.resume.pending import Pending

_REMEMBERED = 8
"""Optimizers that are kept, so that their weights can still be read when the script has ended."""


@attrs.frozen
class Deadly:
    """When to die: in the middle of a step, or right after it.

    Attributes:
        step: The step's number, from 1.
        after: Whether the step is finished first.
    """

    step: int
    after: bool


class Observer:
    """Watches torch in one process. It never takes back what it has armed.

    A *moment* is a backward pass or an optimizer step; they are numbered from 0 as an
    uninterrupted run numbers them. *Steps* are optimizer updates, or, in a script that has no
    optimizer, backward passes.

    Args:
        ledger: Takes what is seen.
        variables: Reads the user's frames.
        by_hand: Whether backward passes count as steps; otherwise they do where no optimizer is
            alive at the first of them.
        last: The step after which the process is left, or None.
        deadly: When to die, or None.
        captured: Position of a checkpoint to the moments and steps before it.

    Attributes:
        pending: The checkpoint that the run is to go on from, or None.
    """

    def __init__(
        self,
        ledger: Ledger,
        variables: Variables,
        *,
        by_hand: bool,
        last: int | None,
        deadly: Deadly | None,
        captured: dict[str, list[int]],
        leave: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.variables = variables
        self.captured = captured
        self.pending: Pending | None = None
        self.moments = 0
        self.steps = 0
        self._by_hand: bool | None = by_hand or None  # None: to be seen
        self._last = last
        self._deadly = deadly
        self._leave = leave
        self._depth = 0
        self._batches = Batches(variables, self._heard)
        self._optimizers: deque[Optimizer] = deque(maxlen=_REMEMBERED)
        self._thread = threading.get_ident()

    def arm(self) -> None:
        """Begin to listen; torch has just been imported."""
        register_optimizer_step_pre_hook(self._step_begins)
        register_optimizer_step_post_hook(self._step_ended)
        backward = torch.autograd.backward

        def watched(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            result = backward(tensors, *args, **kwargs)
            if self._heard():
                self._safely(lambda: self._backward_ended(tensors))
            return result

        torch.autograd.backward = watched
        self._batches.arm()
        self.ledger.write("begin", items={"random stream": streams()})

    def ended(self, how: dict[str, Any]) -> None:
        """The script is over."""
        items: Items = {}
        if self.ledger.mine:
            self._look_for_resume()
            main = sys.modules["__main__"]
            items = self.variables.module(main, list(self._optimizers))
            items["random stream"] = streams()
        self.ledger.write(
            "end", n=self.moments, step=self.steps, items=items, unread=self.variables.unread, **how
        )

    # -- torch -----------------------------------------------------------------------------

    def _heard(self) -> bool:
        """Whether the caller is the training that is watched."""
        return self.ledger.mine and threading.get_ident() == self._thread

    def _step_begins(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._heard():
            return
        self._depth += 1
        if self._depth == 1:
            self._safely(self._look_for_resume)
            if self._is_deadly(after=False):
                self._announce()
                MidStep(die).begin()

    def _step_ended(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self._heard():
            self._depth = max(self._depth - 1, 0)
            if not self._depth:
                self._safely(lambda: self._moment("step", optimizer, {}))

    def _backward_ended(self, tensors: Any) -> None:
        self._look_for_resume()
        if self._by_hand is None:
            self._by_hand = not any(isinstance(thing, Optimizer) for thing in gc.get_objects())
        if self._by_hand and self._is_deadly(after=False):
            self._announce()
            die()
        roots = list(tensors) if isinstance(tensors, (tuple, list)) else [tensors]
        losses = [self.variables.token(root) for root in roots]
        found = {f"loss {i + 1}" if i else "loss": one for i, one in enumerate(losses) if one}
        self._moment("backward", None, {"loss": found})

    # -- a moment --------------------------------------------------------------------------

    def _moment(self, kind: str, optimizer: Optimizer | None, items: Items) -> None:
        counts = self._by_hand if optimizer is None else not self._by_hand
        if optimizer is not None and not any(optimizer is one for one in self._optimizers):
            self._optimizers.append(optimizer)
        frame: FrameType | None = sys._getframe(1)
        frames = self.variables.frames(frame)
        items = {"batch": self._batches.last(), "random stream": streams(), **items}
        if counts:
            items |= self.variables.read(frames, list(self._optimizers))
        self.ledger.write(
            kind,
            n=self.moments,
            step=self.steps + 1,
            where=self.variables.place(frames[0]) if frames else "",
            items=items,
        )
        self.moments += 1
        if counts:
            if self._is_deadly(after=True):
                self._announce()
                die()
            self.steps += 1
            if self._last is not None and self.steps >= self._last:
                self.ledger.write("left", n=self.moments, step=self.steps)
                self._leave()

    def _is_deadly(self, *, after: bool) -> bool:
        deadly = self._deadly
        return deadly is not None and deadly == Deadly(self.steps + 1, after)

    def _announce(self) -> None:
        self.ledger.write("kill", n=self.moments, step=self.steps + 1)

    def _look_for_resume(self) -> None:
        """Go on counting where the uninterrupted run stood, once everything has been put back."""
        pending = self.pending
        if pending is None or not pending.done:
            return
        self.pending = None
        place = self.captured.get(position_key(pending.position))
        if place is not None:
            self.moments, self.steps = place
        self.ledger.write("resume", n=self.moments, step=self.steps, known=place is not None)

    def _safely(self, look: Callable[[], None]) -> None:
        """What goes wrong in here is the witness's fault, and never the script's."""
        try:
            look()
        except Exception:  # noqa: BLE001 - written down, and the comparison ends with it
            self.ledger.write("fault", text=traceback.format_exc())


def position_key(position: Any) -> str:
    """What tells the checkpoints of one run apart."""
    names = ("fit", "epoch", "batches", "step", "samples", "validations")
    return " ".join(str(position.get(name)) for name in names)


def streams() -> dict[str, Token]:
    """The random streams of the process."""
    return {name: [_hash(state), ""] for name, state in rng.take().items()}


def _hash(state: Any) -> str:
    if isinstance(state, list):
        state = [part.numpy().tobytes() if hasattr(part, "numpy") else part for part in state]
    elif isinstance(state, torch.Tensor):
        state = bytes(state.tolist())
    elif isinstance(state, tuple):
        state = tuple(part.tobytes() if hasattr(part, "tobytes") else part for part in state)
    return hashlib.sha256(repr(state).encode()).hexdigest()[:32]
