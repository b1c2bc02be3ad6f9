"""The hooks of the learning-rate plugin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs

import hookcore
from hookcore.monitors import Monitor, Watch
from hookcore_lr.courses import Course
from hookcore_lr.hands import Grip, Hands
from hookcore_lr.observer import Observer
from hookcore_lr.options import Options
from hookcore_lr.policies import Clock, Policy, about, clock_of
from hookcore_lr.report import Report, cut

# Hooks that cost something, or make the core listen, and the clocks that need them.
_WANTED_BY: dict[str, tuple[str | None, ...]] = {
    "on_log": (None, "value"),
    "on_validation_start": (None, "value"),
    "on_validation_end": (None, "value"),
    "on_scheduler_step": ("step", "epoch", "value", "loss"),
    "on_backward_start": ("loss",),
    "on_optimizer_step_start": ("step", "epoch"),
    "on_optimizer_step_end": ("step", "loss"),
}


@attrs.define(eq=False, kw_only=True, slots=False)
class LR(Options):
    """Reports the learning rate; controls it where a policy is set."""

    name: ClassVar[str] = "lr"
    role: ClassVar[Literal["control"]] = "control"
    claims: ClassVar[tuple[str, ...]] = ("lr",)

    _clock: Clock | None = attrs.field(init=False)
    _watch: Watch = attrs.field(init=False)
    _policy: Policy = attrs.field(init=False)
    _observer: Observer = attrs.field(init=False)
    _hands: Hands = attrs.field(init=False, factory=Hands)
    _report: Report = attrs.field(init=False)
    _acting: bool = attrs.field(init=False, default=False)
    _mean: Any = attrs.field(init=False, default=None, repr=False)
    _fit: int = attrs.field(init=False, default=-1)
    _loop: str | None = attrs.field(init=False, default=None)  # a name: schedulers come and go
    _loaded: Mapping[str, Any] | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        self._clock = clock_of(self)
        self._watch = Watch(
            Monitor(self.monitor, self.mode), self.name, self.wait_epochs,
            quiet=self.policy != "plateau",
        )  # fmt: skip
        self._policy = Policy(self, self.name)
        self._observer = Observer(self._policy)
        for hook, clocks in _WANTED_BY.items():
            if self._clock not in clocks:
                # An instance's None hides the class's hook: nobody calls it.
                vars(self)[hook] = None

    def about(self, run: hookcore.Run) -> str:  # noqa: ARG002 - the opening lines pass it
        """What it is about to do."""
        return about(self, self.name)

    # -- run and fit -----------------------------------------------------------------------

    @hookcore.hookimpl
    def on_run_start(self, run: hookcore.Run) -> None:
        """Refuse what cannot work, before anything runs."""
        self._policy.prepare()
        self._report = Report(run.say)

    @hookcore.hookimpl
    def on_train_start(self, run: hookcore.Run, fit: hookcore.Fit) -> None:
        """Set what the first step shall use."""
        self._fit = fit.index
        self._watch.start(run)
        self._report.start(fit.optimizers)
        self._hands.release()
        self._observer.start(fit)
        self._mean = None
        self._acting = self._clock is not None and run.holder("lr") == self.name
        if not self._acting:
            return
        if fit.schedulers:
            self._stand_down(run, f"the loop has its own {_names(fit.schedulers)}")
        elif not self._resumes(fit):
            self._begin(fit)

    @hookcore.hookimpl
    def on_resume(self, fit: hookcore.Fit) -> None:
        """Go on where the checkpoint was."""
        if not self._acting or not self._resumes(fit):
            return
        state, self._loaded = self._loaded, None
        assert state is not None
        self._watch.load_state_dict(state["watch"])
        for optimizer, course in zip(fit.optimizers, state["courses"], strict=False):
            self._take(optimizer, fit, course)
        if state["mean"] is not None:
            self._smoothed().load_state_dict(state["mean"], _device(fit))

    @hookcore.hookimpl
    def on_train_end(self) -> None:
        """Let go; the rates stay as they are."""
        self._report.ended()
        self._hands.release()
        self._acting = False
        self._loop = None

    @hookcore.hookimpl
    def on_epoch_end(self, run: hookcore.Run, fit: hookcore.Fit, epoch: int, how: str) -> None:
        """Sum up; go on, where epochs count."""
        self._loop = None
        if self._clock in (None, "value"):
            self._arrived(run, fit, self._watch.epoch_ended(run, fit, how))
        if fit.replaying:
            return
        self._report.epoch_ended()
        if self._acting and self._clock == "epoch" and how == "finished":
            for optimizer, grip in self._hands:
                self._go_on(run, optimizer, grip, math.nan, epoch + 1)

    # -- arrivals --------------------------------------------------------------------------

    @hookcore.hookimpl
    def on_log(self, run: hookcore.Run, fit: hookcore.Fit | None,
               metrics: Mapping[str, float], source: str) -> None:  # fmt: skip
        """A value may have arrived."""
        self._arrived(run, fit, self._watch.log(run, fit, metrics, source))

    @hookcore.hookimpl
    def on_validation_start(self, run: hookcore.Run, fit: hookcore.Fit) -> None:
        """Without epochs, this is where the first validation's names are all known."""
        self._arrived(run, fit, self._watch.validation_started(run, fit))

    @hookcore.hookimpl
    def on_validation_end(
        self, run: hookcore.Run, fit: hookcore.Fit, metrics: Mapping[str, float]
    ) -> None:
        """A validation's values arrive."""
        self._arrived(run, fit, self._watch.validation_ended(run, fit, metrics))

    def _arrived(self, run: hookcore.Run, fit: hookcore.Fit | None, value: float | None) -> None:
        if value is None or fit is None:
            return
        if self._clock is None:
            would = self._observer.arrived(value, self._watch.mode, fit)
            if would:
                run.say(
                    f"policy plateau would set lr {would} here: {self._waited()}  "
                    f"(-o {self.name}.policy=plateau)"
                )
        elif self._acting:
            for optimizer, before, after in self._all_go_on(run, fit, value):
                run.say(f"lr {cut(before, after)}: {self._waited()}")
                self._report.told(optimizer)

    def _waited(self) -> str:
        name, unit = self._watch.name, self._watch.unit
        unit = unit.removesuffix("s") if self.patience == 1 else unit
        return f"{name} has not improved for more than {self.patience} {unit}"

    # -- steps -----------------------------------------------------------------------------

    @hookcore.hookimpl
    def on_optimizer_step_start(self, fit: hookcore.Fit, optimizer: Any) -> None:
        """An optimizer that was made later gets its first rate for its first step."""
        if self._acting and optimizer not in self._hands:
            self._take(optimizer, fit)

    @hookcore.hookimpl
    def on_optimizer_step_end(self, run: hookcore.Run, fit: hookcore.Fit, optimizer: Any) -> None:
        """Where a user's scheduler would step: right after the optimizer."""
        if not self._acting:
            return
        if self._clock == "step":
            grip = self._hands.get(optimizer)
            if grip is not None:
                self._go_on(run, optimizer, grip, math.nan, max(fit.epoch, 0))
        elif fit.step % self.interval == 0 and self._mean is not None:
            value = self._mean.read()
            if value is not None:
                self._all_go_on(run, fit, value)

    @hookcore.hookimpl
    def on_backward_start(self, run: hookcore.Run, fit: hookcore.Fit, loss: Any) -> None:
        """The step's own loss, taken into the mean on its device."""
        if not self._acting or fit.in_validation:
            return
        scalers = [scaler for scaler in fit.scalers if scaler.is_enabled()]
        if len(scalers) > 1:
            self._stand_down(run, "the loop has several GradScalers, a loss does not tell which")
            return
        self._smoothed().add(loss, scalers[0] if scalers else None)

    def _smoothed(self) -> Any:
        if self._mean is None:
            from hookcore_lr.smoothed import Smoothed

            self._mean = Smoothed(self.smoothing)
        return self._mean

    # -- who else sets it ------------------------------------------------------------------

    @hookcore.hookimpl
    def on_lr_change(
        self, run: hookcore.Run, fit: hookcore.Fit, optimizer: Any, group: int, new: float
    ) -> None:
        """Report it; where it was not ours, the loop sets the rate itself."""
        ours = self._acting and self._hands.is_ours(optimizer, group, new)
        self._observer.untouched = False
        if self._loop is None:  # once an epoch, not in each step of a schedule
            self._loop = _names(fit.schedulers) or "the loop"
        by = self.policy if ours else self._loop
        self._report.changed(optimizer, group, new, fit.step, by, has_epochs=fit.has_epochs)
        if self._acting and not ours:
            self._stand_down(run, f"the loop sets lr itself ({new:.4g} at step {fit.step})")

    @hookcore.hookimpl
    def on_scheduler_step(self, run: hookcore.Run, fit: hookcore.Fit, scheduler: Any) -> None:
        """A scheduler that was made later has stepped."""
        if self._acting and getattr(scheduler, "optimizer", None) in fit.optimizers:
            self._stand_down(run, f"the loop steps its own {_names([scheduler])}")

    def _stand_down(self, run: hookcore.Run, reason: str) -> None:
        """Act no more in this fit; what was set stays."""
        self._acting = False
        self._hands.release()
        run.warn(f"{self.name}: policy {self.policy} stands down and only observes: {reason}")

    # -- inside ----------------------------------------------------------------------------

    def _resumes(self, fit: hookcore.Fit) -> bool:
        """Whether ``on_resume`` gives the courses their place: not under another policy."""
        state = self._loaded
        return state is not None and (state["fit"], state["policy"]) == (fit.index, self.policy)

    def _begin(self, fit: hookcore.Fit) -> None:
        """Schedules set their first rates; the others wait for what they decide by."""
        if self._clock in ("step", "epoch"):
            for optimizer in fit.optimizers:
                self._take(optimizer, fit)

    def _take(self, optimizer: Any, fit: hookcore.Fit, state: Any = None) -> None:
        by_value = self._clock == "value"

        def make(groups: list[dict[str, Any]]) -> Course:
            if by_value:
                return self._policy.plateau(groups, self._watch.mode)
            return self._policy.course(groups, fit)

        try:
            self._hands.take(
                optimizer, make, anew=self._clock in ("step", "epoch"), state=state
            )
        except hookcore.UsageError:
            self._acting = False
            raise

    def _all_go_on(
        self, run: hookcore.Run, fit: hookcore.Fit, value: float
    ) -> list[tuple[Any, list[float], list[float]]]:
        """Every optimizer decides by a value; those whose rates changed, before and after."""
        for optimizer in fit.optimizers:
            if optimizer not in self._hands:
                self._take(optimizer, fit)
        changed = []
        for optimizer, grip in self._hands:
            before = grip.written
            self._go_on(run, optimizer, grip, value, fit.epoch)
            if grip.written != before:
                changed.append((optimizer, before, grip.written))
        return changed

    def _go_on(
        self, run: hookcore.Run, optimizer: Any, grip: Grip, value: float, epoch: int
    ) -> None:
        if grip.course.over or not self._acting:
            return
        grip.course.advance(value, epoch)
        if not self._hands.write(optimizer, grip):
            self._stand_down(run, "the loop sets lr itself")

    # -- a checkpoint's part ---------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The place of every course; options are those of the run that goes on."""
        return {
            "fit": self._fit,
            "policy": self.policy,
            "watch": self._watch.state_dict(),
            "mean": None if self._mean is None else self._mean.state_dict(),
            "courses": [
                {"base": grip.course.base, "course": grip.course.state_dict()}
                for _, grip in self._hands
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Kept until the fit that it belongs to is resumed."""
        self._loaded = state


def _names(schedulers: Any) -> str:
    return ", ".join(dict.fromkeys(type(one).__name__ for one in schedulers))


def _device(fit: hookcore.Fit) -> Any:
    """Where the losses will be: where the parameters are."""
    return fit.optimizers[0].param_groups[0]["params"][0].device
