"""From options to a course: what each policy needs, and when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

import hookcore
from hookcore.monitors import Direction
from hookcore_lr.courses import Course, FunctionCourse, LossCourse, load_function
from hookcore_lr.forecast import PlateauForecast
from hookcore_lr.options import Options

if TYPE_CHECKING:
    from torch.optim import lr_scheduler

Groups = Sequence[Mapping[str, Any]]
Clock = Literal["step", "epoch", "value", "loss"]

# Bounds of policy "loss" where none are set, as factors of the rate that the loop set.
_LOWEST, _HIGHEST = 0.01, 10.0


def clock_of(options: Options) -> Clock | None:
    """What makes the policy go on; None for one that only observes."""
    clocks: dict[str, Clock] = {
        "plateau": "value",
        "loss": "loss",
        "warmup": "step",
        "one_cycle": "step",
        "cosine": options.per,
        "function": options.per,
    }
    return clocks.get(options.policy)


def about(options: Options, plugin: str) -> str:
    """What the policy will do, in a clause."""
    o = options
    what = "a validation's loss or score" if o.monitor == "auto" else o.monitor
    return {
        "observe": f"reports changes of the learning rate (control it: -o {plugin}.policy=plateau)",
        "plateau": f"multiplies the learning rate by {o.factor:g} when {what} has not improved for "
        f"more than {o.patience} arrival{'' if o.patience == 1 else 's'}",
        "loss": f"multiplies the learning rate by {o.grow:g} while the steps' own loss falls, "
        f"by {o.shrink:g} where it rises",
        "warmup": f"starts with {100 * o.start_factor:.3g}% of the learning rate and reaches it in "
        f"{o.steps} steps",
        "one_cycle": f"drives the learning rate up to {o.max_lr} and down again, in one cycle",
        "cosine": f"lowers the learning rate along a cosine to {o.eta_min:g}, {o.per} by {o.per}",
        "function": f"asks {o.function} for the learning rate, {o.per} by {o.per}",
    }[o.policy]


@attrs.define
class Policy:
    """Makes the courses of one run.

    Attributes:
        options: The options.
        plugin: The plugin's name, for messages.
        function: The user's, for policy "function".
    """

    options: Options
    plugin: str
    function: Callable[..., Any] | None = None

    def prepare(self) -> None:
        """Check the options; for ``on_run_start``.

        Raises:
            UsageError: They cannot work.
        """
        self.options.refuse_unused(self.plugin)
        if self.options.function is not None:
            self.function = load_function(self.options.function, self.plugin)

    def course(self, groups: Groups, fit: hookcore.Fit) -> Course:
        """The course of one optimizer.

        Args:
            groups: ``lr`` and, where there is one, ``momentum`` or ``betas`` of each group.
            fit: The fit.

        Raises:
            UsageError: An option does not fit the optimizer, or a length is not known.
        """
        make: Callable[[Groups, hookcore.Fit], Course] = getattr(self, f"_{self.options.policy}")
        return make(groups, fit)

    def plateau(self, groups: Groups, mode: Direction) -> Course:
        """The course of policy "plateau"."""
        from hookcore_lr.shadow import PlateauCourse

        return PlateauCourse(groups, mode=mode, **self._plateau_options(groups))

    def forecast(self, groups: Groups, mode: Direction) -> PlateauForecast:
        """What policy "plateau" would do, for who only observes."""
        lrs = [float(group["lr"]) for group in groups]
        return PlateauForecast(lrs=lrs, mode=mode, **self._plateau_options(groups))

    def _plateau_options(self, groups: Groups) -> dict[str, Any]:
        names = ("factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
        bounds = self._each("min_lr", groups, [0.0] * len(groups))
        return {"min_lr": bounds, **{name: getattr(self.options, name) for name in names}}

    def _loss(self, groups: Groups, fit: hookcore.Fit) -> Course:  # noqa: ARG002 - as its sisters
        base, o = [group["lr"] for group in groups], self.options
        return LossCourse(
            base, grow=o.grow, shrink=o.shrink, target=o.target,
            lower=self._each("min_lr", groups, [lr * _LOWEST for lr in base]),
            upper=self._each("max_lr", groups, [lr * _HIGHEST for lr in base]),
        )  # fmt: skip

    def _warmup(self, groups: Groups, fit: hookcore.Fit) -> Course:  # noqa: ARG002 - as its sisters
        steps, start = self.options.steps, self.options.start_factor
        assert steps is not None

        def make(shadow: Any) -> lr_scheduler.LRScheduler:
            from torch.optim import lr_scheduler

            return lr_scheduler.LinearLR(shadow, start_factor=start, total_iters=steps)

        return self._schedule(groups, make, steps)

    def _one_cycle(self, groups: Groups, fit: hookcore.Fit) -> Course:
        o = self.options
        total = o.total_steps or _steps(fit)
        if total is None:
            raise self._unknown("total_steps", "how many steps the training will take")
        if o.cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise hookcore.UsageError(
                f"{self.plugin}.cycle_momentum: the optimizer has neither momentum nor betas",
                "there is nothing to cycle",
                f"leave it out:  -o {self.plugin}.cycle_momentum=false",
            )

        def make(shadow: Any) -> lr_scheduler.LRScheduler:
            from torch.optim import lr_scheduler

            return lr_scheduler.OneCycleLR(
                shadow, max_lr=self._each("max_lr", groups, []), total_steps=total,
                pct_start=o.pct_start, anneal_strategy=o.anneal, cycle_momentum=o.cycle_momentum,
                base_momentum=o.base_momentum, max_momentum=o.max_momentum,
                div_factor=o.div_factor, final_div_factor=o.final_div_factor,
                three_phase=o.three_phase,
            )  # fmt: skip

        return self._schedule(groups, make, total - 1, cycles_momentum=o.cycle_momentum)

    def _cosine(self, groups: Groups, fit: hookcore.Fit) -> Course:
        o = self.options
        t_max = o.t_max or (fit.total_epochs if o.per == "epoch" else _steps(fit))
        if t_max is None:
            raise self._unknown("t_max", f"how many {o.per}s the training will take")

        def make(shadow: Any) -> lr_scheduler.LRScheduler:
            from torch.optim import lr_scheduler

            return lr_scheduler.CosineAnnealingLR(shadow, T_max=t_max, eta_min=o.eta_min)

        return self._schedule(groups, make, t_max)

    def _function(self, groups: Groups, fit: hookcore.Fit) -> Course:
        assert self.function is not None
        base = [group["lr"] for group in groups]
        return FunctionCourse(base, self.function, self.options.returns, max(fit.epoch, 0))

    def _schedule(
        self, groups: Groups, make: Callable[[Any], Any], length: int, **more: bool
    ) -> Course:
        from hookcore_lr.shadow import ScheduleCourse

        return ScheduleCourse(groups, make, length, **more)

    def _each(self, option: str, groups: Groups, default: list[float]) -> list[float]:
        """One value a group."""
        value = getattr(self.options, option)
        if value is None:
            return default
        if isinstance(value, (int, float)):
            return [float(value)] * len(groups)
        if len(value) != len(groups):
            raise hookcore.UsageError(
                f"{self.plugin}.{option} has {len(value)} values",
                f"the optimizer has {len(groups)} parameter groups",
                "give one value, or one a group",
            )
        return [float(part) for part in value]

    def _unknown(self, option: str, what: str) -> hookcore.UsageError:
        return hookcore.UsageError(
            f"policy {self.options.policy!r} needs {self.plugin}.{option}",
            f"the loop does not tell {what}",
            f"give it:  -o {self.plugin}.{option}=...",
        )


def _steps(fit: hookcore.Fit) -> int | None:
    """Optimizer steps of the whole fit, taking one for each batch; None where nobody knows."""
    epochs = fit.total_epochs if fit.has_epochs else 1
    if epochs is None or fit.total_batches is None:
        return None
    return epochs * fit.total_batches
