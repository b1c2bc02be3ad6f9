"""Gradients that the user's code switches off: an evaluation may follow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hookcore.plain.taps.patches import Patches


class Modes:
    """What stands for a while in the place of the gradient modes' methods.

    Torch enters modes itself, several times to clip a norm, so each batch may come here: what its
    own code enters costs three calls.
    """

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._torch_s: dict[CodeType, bool] = {}
        self._decorators: set[CodeType] = set()

    def hear(self, names: Collection[str]) -> None:
        """Hear these modes being entered, and no others.

        Args:
            names: Of torch's attributes.
        """
        if not names:
            self._torch_s.clear()
        for kind, begins, wrap in (
            (torch.no_grad, "__enter__", self._entered),
            (torch.inference_mode, "__enter__", self._entered),
            (torch.set_grad_enabled, "__init__", self._set),
        ):
            wanted = kind.__name__ in names
            self._patches.patch_while(wanted, kind, begins, wrap)
            self._patches.patch_while(wanted, kind, "__exit__", self._left)

    def _entered(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def enter(mode: Any) -> Any:
            frame = sys._getframe(1)
            code = frame.f_code
            if code in self._decorators and frame.f_back is not None:
                code = frame.f_back.f_code
            if not (self._torch_s[code] if code in self._torch_s else self._learn(frame)):
                self._off(mode)
            return original(mode)

        return enter

    def _set(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``set_grad_enabled``, which is a function and a mode in one."""

        def init(mode: Any, *args: Any, **kwargs: Any) -> None:
            original(mode, *args, **kwargs)
            if mode.mode:
                return
            frame = sys._getframe(1)
            code = frame.f_code
            if not (self._torch_s[code] if code in self._torch_s else self._learn(frame)):
                self._off(mode)

        return init

    def _left(self, original: Callable[..., Any]) -> Callable[..., Any]:
        forwards = self._patches.taps.forwards

        def leave(mode: Any, *args: Any) -> Any:
            if mode is forwards.mode:
                forwards.rest()
            return original(mode, *args)

        return leave

    def _off(self, mode: Any) -> None:
        if not self._patches.elsewhere():
            self._patches.taps.evaluation_may_follow(mode)

    def _learn(self, frame: FrameType) -> bool:
        """Whether a frame is torch's own code, or what its decorators put round such a function."""
        if _module_of(frame) == "torch.utils._contextlib" and frame.f_back is not None:
            self._decorators.add(frame.f_code)
            frame = frame.f_back
        found = self._torch_s[frame.f_code] = _module_of(frame).partition(".")[0] == "torch"
        return found


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
