"""What torch has no hook for: patched for one run, and only where a listener needs it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import Optimizer

from hookcore.plain import gate
from hookcore.plain.resume.loaders import stateful_class
from hookcore.plain.taps.modes import Modes
from hookcore.plain.taps.replaced import Replaced
from hookcore.plain.unfollowed import process_number

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.taps.taps import Taps

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class Patches:
    """Attributes of torch's classes and modules, replaced for a run and put back after it.

    Each replacement calls the original with the same arguments, returns what it returns and lets
    its exceptions through. In another thread, or without a fit, it does nothing else.

    Attributes:
        taps: What hears of it.
        modes: The gradient modes among them.
    """

    def __init__(self, taps: Taps, host: Plain) -> None:
        self.taps, self.host = taps, host
        self._scheduler_depth = 0
        self._listened = False
        self.modes = Modes(self)
        self._replaced: list[Replaced] = []

    def apply(self) -> None:
        """Patch what this run's listeners, and the learning of roles, need."""
        events = self.host.life.events
        self._patch(Optimizer, "__init__", self._optimizer_made)
        self._patch(torch.nn.Module, "eval", self._eval_called)
        self._patch(torch.utils.data.DataLoader, "__iter__", self._loader_iterated)
        self._patch(torch.jit, "script", self._scripted)
        self._listened = events.on_backward_start is not None or events.on_backward_end is not None
        self.learn_from_backward(wanted=True)
        if events.on_zero_grad is not None:
            self._patch(Optimizer, "zero_grad", self._zero_grad)
        if events.on_optimizer_step_skipped is not None:
            self._patch(torch.amp.GradScaler, "step", self._scaler_step)
        if events.on_scheduler_step is not None:
            for kind in _scheduler_classes():
                self._patch(kind, "step", self._scheduler_step)
        if events.on_gradient_clip is not None:
            self._patch_everywhere(torch.nn.utils.clip_grad_norm_, self._clip)

    def learn_from_backward(self, *, wanted: bool) -> None:
        """Hear backward passes while a fit is not known: without an optimizer they alone teach."""
        for name, wrap in (("backward", self._backward), ("grad", self._grad)):
            needed = wanted or (self._listened and name == "backward")
            if self.patch_while(needed, torch.autograd, name, wrap):
                self.dynamo_came()

    def dynamo_came(self) -> None:
        """Keep Dynamo from compiling what a compiled loop's backward passes go through.

        It is imported with the first optimizer, which is after most patches.
        """
        if "torch._dynamo" not in sys.modules:
            return
        for one in self._replaced:
            if one.owner is torch.autograd:
                one.exchange(_hidden(one.ours))

    def torchdata_came(self) -> None:
        """Hear the passes of torchdata's loader, which has an ``__iter__`` of its own."""
        kind = stateful_class()
        if kind is not None and all(one.owner is not kind for one in self._replaced):
            self._patch(kind, "__iter__", self._loader_iterated)

    def undo(self) -> None:
        """Put everything back, the last first."""
        for one in reversed(self._replaced):
            one.put_back()
        self._replaced.clear()

    def patch_while(self, wanted: bool, owner: Any, name: str, wrap: Wrap) -> bool:
        """Patch or put back; whether it was patched just now."""
        for one in self._replaced:
            if one.owner is owner and one.name == name:
                if wanted:
                    return one.put_again()
                if one.put_back():
                    self._replaced.remove(one)
                return False  # else what the user has put over ours still calls it
        if wanted:
            self._patch(owner, name, wrap)
        return wanted

    def elsewhere(self) -> bool:
        """Whether the caller is no part of the run; or Dynamo traces: we are not in its graph."""
        if gate.compiling() or gate.host is not self.host:
            return True
        return self.host.thread != get_ident()

    def _patch(self, owner: Any, name: str, wrap: Wrap) -> None:
        original = vars(owner)[name]
        self._replaced.append(Replaced(owner, name, functools.wraps(original)(wrap(original))))

    def _patch_everywhere(self, function: Callable[..., Any], wrap: Wrap) -> None:
        """A function that modules may have imported by name: patched in each of them."""
        replacement = functools.wraps(function)(wrap(function))
        for module in tuple(sys.modules.values()):
            for name, value in tuple(getattr(module, "__dict__", {}).items()):
                if value is function:
                    self._replaced.append(Replaced(module, name, replacement))

    def _fit(self) -> Any:
        return None if self.elsewhere() else self.host.life.fit

    # -- replacements ----------------------------------------------------------------------

    def _optimizer_made(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            self.taps.optimizer_born(optimizer)

        return init

    def _eval_called(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def evaluate(module: Any) -> Any:
            if self._fit() is not None:
                self.taps.evaluation_may_follow()
            return original(module)

        return evaluate

    def _scripted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def script(*args: Any, **kwargs: Any) -> Any:
            # It would compile our forward hooks along with the model; and it looks for names in
            # its caller's frame, which is one further up.
            kwargs["_frames_up"] = kwargs.get("_frames_up", 0) + 1
            with self.taps.forwards.unheard():
                return original(*args, **kwargs)

        return script

    def _loader_iterated(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(loader: Any) -> Any:
            before = process_number()
            try:
                return self.taps.feeds.iterate(loader, original)
            finally:
                self.host.unfollowed.workers += process_number() - before

        return iterate

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            fit, events, run = self._fit(), self.host.life.events, self.host.run
            loss = _first(tensors)
            if fit is None or not fit.optimizers or self.host.evaluation.open:
                self.taps.backward_begins(loss)
            if fit is not None and events.on_backward_start is not None:
                events.on_backward_start(run, fit, loss)
            result = original(tensors, *args, **kwargs)
            if fit is not None and events.on_backward_end is not None:
                events.on_backward_end(run, fit, loss)
            return result

        return backward

    def _grad(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            fit = self._fit()
            if fit is None or not fit.optimizers or self.taps.trains_by(inputs):
                self.taps.backward_begins(_first(outputs))
            return original(outputs, inputs, *args, **kwargs)

        return grad

    def _zero_grad(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def zero_grad(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(optimizer, *args, **kwargs)
            fit, events = self._fit(), self.host.life.events
            if fit is not None and events.on_zero_grad is not None:
                events.on_zero_grad(self.host.run, fit, optimizer)
            return result

        return zero_grad

    def _scaler_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            fit = self._fit()
            before = None if fit is None else fit.step
            result = original(scaler, optimizer, *args, **kwargs)
            events = self.host.life.events
            fused = getattr(optimizer, "_step_supports_amp_scaling", False)
            skipped = fit is not None and fit.step == before and not fused and scaler.is_enabled()
            if skipped and events.on_optimizer_step_skipped is not None:
                events.on_optimizer_step_skipped(self.host.run, fit, optimizer)
            return result

        return step

    def _scheduler_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            self._scheduler_depth += 1
            try:
                result = original(scheduler, *args, **kwargs)
            finally:
                self._scheduler_depth -= 1
            fit, events = self._fit(), self.host.life.events
            if fit is None or events.on_scheduler_step is None or self._scheduler_depth:
                return result
            # A constructor makes a first step of its own; a plugin's scheduler drives no optimizer
            # of the fit.
            drives = getattr(scheduler, "optimizer", None) in fit.optimizers
            if drives and not getattr(scheduler, "_is_initial", False):
                events.on_scheduler_step(self.host.run, fit, scheduler)
            return result

        return step

    def _clip(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip_grad_norm_(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:
            norm = original(parameters, max_norm, *args, **kwargs)
            fit, events = self._fit(), self.host.life.events
            if fit is not None and events.on_gradient_clip is not None:
                events.on_gradient_clip(self.host.run, fit, norm, float(max_norm))
            return norm

        return clip_grad_norm_


def _hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that Dynamo neither compiles nor looks into."""
    if getattr(function, "_torchdynamo_disable", False):
        return function
    hide: Callable[..., Callable[..., Any]] = torch.compiler.disable
    return hide(function)


def _first(tensors: Any) -> Any:
    return tensors[0] if isinstance(tensors, (tuple, list)) and tensors else tensors


def _scheduler_classes() -> Iterator[type]:
    """Every scheduler class that defines a ``step`` of its own, the user's included."""
    waiting: list[type] = [lr_scheduler.LRScheduler]
    seen: set[type] = set()
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += kind.__subclasses__()
            if "step" in vars(kind):
                yield kind
