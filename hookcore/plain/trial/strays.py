"""Training that hookcore passes over: steps around which no loop is seen."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from hookcore.plain.loading.reasons import is_looping, is_unseen, reason_of

if TYPE_CHECKING:
    from hookcore.plain.trial.host import Trial

_HOOKCORE = str(Path(__file__).parents[2])
_SUSPENDED = {
    inspect.CO_GENERATOR: "generator function",
    inspect.CO_COROUTINE: "async function",
    inspect.CO_ASYNC_GENERATOR: "async generator",
}


@attrs.frozen
class Place:
    """Where the user's code called torch.

    Attributes:
        path: The file.
        line: The line.
        function: Name of the function that the line stands in.
        suspended: What the innermost function around it is that is never rewritten, or empty.
        suspender: That function's name.
        thread: Name of the thread, where it is not the run's.
        caller: File and line of the user's code that called there, where the file is not theirs.
        why: Why the loops around it are not seen, where code without sites loops.
    """

    path: str
    line: int
    function: str
    suspended: str = ""
    suspender: str = ""
    thread: str = ""
    caller: tuple[str, int] | None = None
    why: str = ""


class Strays:
    """Watches torch where no fit is open. Only ever armed in a process that ends with its trial.

    Args:
        host: The trial.
        most: Steps without a loop after which nothing else is to be expected.
        enough: Called then.

    Attributes:
        steps: Where optimizers stepped.
        backward: Where the first backward pass was started, or None.
        evaluation: Where ``module.eval()`` was first called, or None.
    """

    def __init__(self, host: Trial, most: int, enough: Callable[[], None]) -> None:
        self._host = host
        self._most = most
        self._enough = enough
        self._count = 0
        self.steps: dict[Place, None] = {}
        self.backward: Place | None = None
        self.evaluation: Place | None = None

    def arm(self) -> None:
        """Begin to watch, for good."""
        register_optimizer_step_post_hook(self._stepped)
        backward, evaluate = torch.autograd.backward, torch.nn.Module.eval

        def watched_backward(*args: Any, **kwargs: Any) -> Any:
            if self.backward is None and self._host.life.fit is None:
                self.backward = self._place()
            return backward(*args, **kwargs)

        def watched_eval(module: Any) -> Any:
            if self.evaluation is None and self._host.run.fits == 0:
                self.evaluation = self._place()
            return evaluate(module)

        torch.autograd.backward = watched_backward
        torch.nn.Module.eval = watched_eval  # type: ignore[method-assign,assignment]

    def _stepped(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        """After the step: a fit that it begins has been recognised before it."""
        if self._host.life.fit is not None:
            return
        self.steps.setdefault(self._place())
        self._count += 1
        if self._count >= self._most:
            self._enough()

    def _place(self) -> Place:
        """The innermost line outside torch that led here."""
        frames = list(_callers())
        mine = [frame for frame in frames if self._host.own(frame.f_code.co_filename)]
        frame = frames[0]
        foreign = mine[:1] if frame not in mine else []
        code = frame.f_code
        kind, function = _suspension(mine)
        here = threading.get_ident() == self._host.thread
        unseen = next((one for one in frames if is_unseen(one) and is_looping(one)), None)
        return Place(
            path=code.co_filename,
            line=frame.f_lineno,
            function=code.co_name,
            suspended=kind,
            suspender=function,
            thread="" if here else threading.current_thread().name,
            caller=(foreign[0].f_code.co_filename, foreign[0].f_lineno) if foreign else None,
            why="" if unseen is None else reason_of(unseen).why,
        )


def _callers() -> Iterator[FrameType]:
    """The frames above, innermost first, without torch's and ours."""
    frame: FrameType | None = sys._getframe(2)
    outermost = frame
    found = False
    while frame is not None:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name != "torch" and not frame.f_code.co_filename.startswith(_HOOKCORE):
            found = True
            yield frame
        outermost, frame = frame, frame.f_back
    if not found and outermost is not None:
        yield outermost


def _suspension(frames: list[FrameType]) -> tuple[str, str]:
    """The innermost function that is never rewritten, and what it is."""
    for frame in frames:
        for flag, kind in _SUSPENDED.items():
            if frame.f_code.co_flags & flag:
                return kind, frame.f_code.co_name
    return "", ""
