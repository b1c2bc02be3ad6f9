"""Torch's own hooks, armed for one run and taken back after it."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules import module as nn_module
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from hookcore.plain import gate
from hookcore.plain.resume.passes import Feeds
from hookcore.plain.taps.forwards import Forwards
from hookcore.plain.taps.found import Found, called_in_place_of, in_turn, leaves_of, live_objects
from hookcore.plain.taps.patches import Patches

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.training import Fit


class Taps:
    """Everything hookcore hears from torch during one run.

    Optimizer steps come from torch's global step hooks and births of parameters from its
    registration hook. Forward calls come from hooks on the trained root modules alone, which are
    off inside known training batches unless somebody listens. What has no hook is patched for the
    run, and only for listeners (:mod:`hookcore.plain.taps.patches`).

    Attributes:
        depth: Steps that are running inside one another, and any that have raised since the last
            one that did not; a subclass that calls ``super().step()`` fires the global hooks
            twice, and an optimizer may wrap another.
        trained_at: The host's clock at the fit's last step, or backward pass without an optimizer.
        feeds: The passes over DataLoaders.
    """

    def __init__(self, host: Plain) -> None:
        self.host = host
        self.depth = 0
        self.trained_at = -1
        self._births: dict[int, int] = {}
        self._optimizers: set[Any] = set()
        self._ever: weakref.WeakSet[Any] = weakref.WeakSet()  # all that have stepped in the run
        self._trained: set[int] = set()
        self._models: list[Any] = []
        self._compiled: dict[Any, Any] = {}
        self._rates: dict[Any, list[Any]] = {}
        self._handles: list[Any] = []
        self.forwards = Forwards(host)
        self.feeds = Feeds(host)
        self._found: Found | None = None
        self._found_at = -1
        self._leaves: set[int] = set()
        self._without: bool | None = None
        self._patches = Patches(self, host)

    # -- arming ----------------------------------------------------------------------------

    def arm(self) -> None:
        """Listen, from the first moment torch is there."""
        self._handles = [
            register_optimizer_step_pre_hook(self._step_began),
            register_optimizer_step_post_hook(self._step_ended),
            nn_module.register_module_parameter_registration_hook(self._parameter_born),
        ]
        self._patches.apply()
        self._patches.torchdata_came()

    def torchdata_came(self) -> None:
        """Torchdata's loader is imported, or is about to be."""
        self._patches.torchdata_came()

    def disarm(self) -> None:
        """Take everything back."""
        self.forwards.unwatch()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._births.clear()
        self.fit_ended()
        self._patches.undo()

    def fit_ended(self) -> None:
        """Forget the fit's objects: nothing of it is kept alive."""
        self.forwards.unwatch()
        self._optimizers.clear()
        self._trained.clear()
        self._models.clear()
        self._compiled.clear()
        self._rates.clear()
        self._found = None
        self._without = None
        self._leaves.clear()
        self.depth = 0
        self._patches.learn_from_backward(wanted=True)
        self._patches.modes.hear(())

    # -- births ----------------------------------------------------------------------------

    def _parameter_born(self, _module: Any, _name: str, parameter: Any) -> None:
        if parameter is not None:
            self._births.setdefault(id(parameter), self.host.clock)

    def optimizer_born(self, optimizer: Any) -> None:
        """An optimizer has been made."""
        self._patches.dynamo_came()
        self._births[id(optimizer)] = self.host.clock

    def born(self, optimizer: Any) -> int:
        """Clock at which the youngest of what is trained was made; -1 where it was before the run.

        Args:
            optimizer: What steps; None where a backward without any optimizer teaches.
        """
        births = self._births
        parameters = self._parameters_of(optimizer)
        youngest = max((births.get(number, -1) for number in parameters), default=-1)
        own = max(births.get(id(optimizer), -1), youngest)
        if optimizer is None or own <= self.host.stack[0].since:
            return own
        original = self._original_of(optimizer)
        return own if original is None else births[original]

    def _original_of(self, clone: Any) -> int | None:
        """``id`` of the optimizer for whose sake a clone steps, as in meta-learning, or None.

        It was made before the loops, in this run, has not stepped, and what it trains has the same
        shapes.
        """
        entered = self.host.stack[0].since
        found = [
            weakref.ref(other)
            for other in self._look().optimizers
            if other not in self._ever
            and self._births.get(id(other), entered + 1) <= entered
            and not _holds(other, self._parameters_of(clone))
            and _shapes(other) == _shapes(clone)
        ]
        if found:  # one that was only replaced may wait for the collector
            self._found = None
            gc.collect()
        return next((id(other) for ref in found if (other := ref()) is not None), None)

    # -- what a fit is made of -------------------------------------------------------------

    def survey(self, fit: Fit, optimizer: Any) -> None:
        """Find the models, optimizers, schedulers and scalers of a fit; once a fit."""
        self._take_in(fit, optimizer, self._look())
        self._patches.learn_from_backward(wanted=optimizer is None)
        self._leaves.clear()

    def _look(self) -> Found:
        """The living objects; one look serves a whole recognition."""
        if self._found is None or self._found_at != self.host.clock:
            self._found, self._found_at = live_objects(), self.host.clock
        return self._found

    def backward_begins(self, loss: Any) -> None:
        """A backward pass is about to run, heard while no fit is known or no optimizer steps."""
        host = self.host
        loops = [loop for loop in host.stack if not loop.over_models]
        if not host.mine() or (host.life.fit is None and host.idle.around()) or not loops:
            return
        if host.life.fit is None and host.unfollowed.around(loops[-1].frame):
            return
        for loop in loops:
            loop.backward_in = loop.index
        if host.life.fit is None:
            self._leaves |= leaves_of(loss)
        else:
            self._trains(host.stack)
            if not host.life.fit.optimizers:
                self.trained_at = host.clock

    def hear_backward(self, *, wanted: bool) -> None:
        """Hear backward passes of a known fit: something waits to be told from training."""
        fit = self.host.life.fit
        self._patches.learn_from_backward(wanted=wanted or fit is None or not fit.optimizers)

    def trains_by(self, inputs: Any) -> bool:
        """Whether gradients of these are gradients of what is trained."""
        parts = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        return any(id(part) in self._trained for part in parts)

    def without_optimizer(self) -> bool:
        """Whether no living optimizer holds what the backward passes reached: none will step."""
        if self._without is None:
            self._without = not any(_holds(o, self._leaves) for o in self._look().optimizers)
        return self._without

    def doubt(self) -> None:
        """A loop begins while a fit is only observed: who steps next may be trained by it."""
        self._optimizers.clear()

    def take_turns(self, stack: list[Any], optimizer: Any) -> None:
        """See whether the innermost loop goes over the places of several optimizers."""
        inner = stack[-1]
        if len(stack) > 1 and inner.key is not None and inner.total is not None:
            self._found = None  # it would be one more holder of optimizers
            inner.over_models |= in_turn(optimizer, inner.key, inner.total)

    def _trains(self, stack: list[Any]) -> None:
        """Something of the fit is trained, whatever it looked like."""
        if self.host.unusual:
            self.host.trained()
        if stack and stack[-1].role in (None, "validation"):
            self.host.recognition.joined(stack)

    def _parameters_of(self, optimizer: Any) -> set[int]:
        """``id`` of what an optimizer trains; without one, of what the backward passes reached."""
        if optimizer is None:
            return set(self._leaves)
        return {id(p) for group in optimizer.param_groups for p in group["params"]}

    def _take_in(self, fit: Fit, optimizer: Any, found: Found) -> None:
        self._found = None
        parameters = self._parameters_of(optimizer)
        roots = found.roots_of(parameters)
        self._models += [m for m in roots if not any(m is known for known in self._models)]
        self._compiled.update(found.compiled(self._models))
        for model in roots:
            parameters.update(id(p) for p in model.parameters())
        self._trained |= parameters
        mine = [o for o in found.optimizers if o is optimizer or _holds(o, self._trained)]
        mine.sort(key=lambda o: o is not optimizer)
        self._optimizers.update(mine)
        fit.models = tuple(self._models)
        fit.optimizers = tuple(dict.fromkeys((*fit.optimizers, *mine)))
        fit.schedulers = found.schedulers_of(fit.optimizers)
        fit.scalers = found.scalers
        for known in fit.optimizers:
            self._rates.setdefault(known, [group["lr"] for group in known.param_groups])
        self.watch()

    def loaders(self, sources: Iterable[Any]) -> list[Any]:
        """DataLoaders, given DataLoaders or their running iterators."""
        found = []
        for source in sources:
            if isinstance(source, torch.utils.data.DataLoader):
                found.append(source)
            elif (loader := self.feeds.loader_of(source)) is not None:
                found.append(loader)
        return found

    @staticmethod
    def trains_itself(item: Any) -> bool:
        """Whether a loop's item is a model or an optimizer, or a few of them."""
        parts = item if type(item) in (tuple, list) else (item,)
        return len(parts) < 8 and any(
            isinstance(part, (torch.nn.Module, Optimizer)) for part in parts
        )

    def evaluating(self) -> bool:
        """Whether a call of a trained model, made now, would be an evaluation."""
        if not torch.is_grad_enabled():
            return True
        return any(not model.training for model in self._models)

    # -- steps -----------------------------------------------------------------------------

    def _step_began(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if gate.compiling():
            return  # traced: what we would do is no part of the user's graph
        host = self.host
        inside = self.depth > 0 and _is_inside_another(sys._getframe(1))
        if optimizer not in self._optimizers and not self._first_step(optimizer, inside=inside):
            return
        if inside:
            self.depth += 1
            return
        self.depth = 1
        stack = host.stack
        fit = host.life.fit
        if fit is None:
            return
        if host.unusual or not stack or stack[-1].role not in ("batch", "both"):
            self._trains(stack)
        if not host.life.in_batch:  # a loop that trains may be among those that are let be
            host.idle.look_again()
        events = host.life.events
        if events.on_lr_change is not None:
            self._compare_rates(fit, optimizer)
        if events.on_optimizer_step_start is not None:
            events.on_optimizer_step_start(host.run, fit, optimizer)

    def _step_ended(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not self.depth or optimizer not in self._optimizers:  # Dynamo guards the first
            return
        self.depth -= 1
        if self.depth and _is_inside_another(sys._getframe(1)):
            return
        self.depth = 0
        host = self.host
        fit = host.life.fit
        if fit is None:
            return
        fit.step += 1
        self.trained_at = host.clock
        fire = host.life.events.on_optimizer_step_end
        if fire is not None:
            fire(host.run, fit, optimizer)

    def _first_step(self, optimizer: Any, *, inside: bool) -> bool:
        """An optimizer that is not known steps; whether it belongs to this run's training.

        Args:
            optimizer: The optimizer.
            inside: Whether it steps inside another one's step.
        """
        host = self.host
        if not host.mine():
            host.unfollowed.in_thread()
            return False
        for loop in host.stack:
            loop.stepped = True
        if host.recognition.roles is None and host.idle.around():
            return False
        trained = optimizer in self._ever
        self._ever.add(optimizer)
        if inside:
            self._optimizers.add(optimizer)
            return True
        if not host.stack:
            host.unfollowed.no_loop(optimizer)
        elif host.recognition.roles is None:
            host.recognition.learn(optimizer)
            if trained:
                host.unfollowed.again()
        if host.life.fit is None:
            return False
        if optimizer not in self._optimizers:
            self._let_go(host.life.fit)
            self._take_in(host.life.fit, optimizer, live_objects())
        return True

    def let_go_of_schedulers(self, fit: Fit) -> None:
        """Drop those that only we still hold: the loop has made others."""
        schedulers = [weakref.ref(one) for one in fit.schedulers]
        fit.schedulers = ()
        fit.schedulers = _alive(schedulers)

    def _let_go(self, fit: Fit) -> None:
        """Drop optimizers and models that only we still hold: the loop has others by now."""
        optimizers = [weakref.ref(one) for one in fit.optimizers]
        models = [weakref.ref(one) for one in self._models]
        rates = [(weakref.ref(one), rate) for one, rate in self._rates.items()]
        self.forwards.unwatch()
        fit.models = fit.optimizers = fit.schedulers = ()
        self._models.clear()
        self._compiled.clear()
        self._optimizers.clear()
        self._rates.clear()
        self._trained.clear()
        fit.optimizers = _alive(optimizers)
        self._models += _alive(models)
        self._optimizers.update(fit.optimizers)
        self._rates.update((one, rate) for r, rate in rates if (one := r()) is not None)
        for holder in fit.optimizers:
            self._trained |= self._parameters_of(holder)
        for model in self._models:
            self._trained.update(id(p) for p in model.parameters())

    def _compare_rates(self, fit: Fit, optimizer: Any) -> None:
        if optimizer not in self._rates:
            return
        rates = self._rates[optimizer]
        fire = self.host.life.events.on_lr_change
        index = -1
        for group in optimizer.param_groups:  # no get, len or enumerate: each is a call a step
            index += 1
            new = group["lr"]
            try:
                old = rates[index]
            except IndexError:  # a group that was added since
                old = new
                rates.append(new)
            if new is not old and new != old:
                rates[index] = new
                if fire is not None:
                    fire(self.host.run, fit, optimizer, index, float(old), float(new))

    # -- forward ---------------------------------------------------------------------------

    def watch(self) -> None:
        """Judge the trained models' forward calls; without loops they tell no validation."""
        if self.host.unfollowed.observing:
            return
        roots = (part for model in self._models for part in called_in_place_of(model))
        self.forwards.watch((*roots, *self._compiled), self._compiled)

    def batches_begin(self) -> None:
        """The batch loop runs: its forwards are training, no need to look at each."""
        self.forwards.rest()
        self.hear_modes()

    def hear_modes(self) -> None:
        """Hear those gradient modes being entered that may tell of an evaluation."""
        self._patches.modes.hear(self.host.recognition.modes)

    def batches_end(self) -> None:
        """The batch loop is over: what is called now may be a validation."""
        self.watch()

    def evaluation_may_follow(self, mode: Any = None) -> None:
        """``eval()`` was called, or gradients were switched off, inside a batch perhaps.

        Args:
            mode: What has switched them off, and tells when it is left.
        """
        fit, forwards = self.host.life.fit, self.forwards
        if fit is None or not self._models:
            return
        if not forwards.judging:
            if not forwards.judge_again():
                self.watch()
            forwards.sign, forwards.mode = fit.batches, mode
            return
        if forwards.sign is not None:
            forwards.sign = fit.batches
        if mode is None:  # it outlasts what it stands in
            forwards.mode = None


def _is_inside_another(step: FrameType) -> bool:
    """Whether the frame of a step, torch's own round each optimizer's, stands inside another."""
    frame = step.f_back
    while frame is not None and frame.f_code is not step.f_code:
        frame = frame.f_back
    return frame is not None


def _alive(references: Iterable[weakref.ref[Any]]) -> tuple[Any, ...]:
    return tuple(one for reference in references if (one := reference()) is not None)


def _shapes(optimizer: Any) -> list[Any]:
    return [p.shape for group in optimizer.param_groups for p in group["params"]]


def _holds(optimizer: Any, parameters: set[int]) -> bool:
    return any(id(p) in parameters for g in optimizer.param_groups for p in g["params"])
