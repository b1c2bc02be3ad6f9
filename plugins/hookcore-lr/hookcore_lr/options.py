"""The options of the learning-rate plugin, and which policy uses which."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from attrs import validators as v

import hookcore

_PLATEAU = ("plateau", "observe")
_AUTO_MIN_MAX = ("auto", "min", "max")


def _option(default: Any, text: str, used_by: tuple[str, ...], *checks: Any) -> Any:
    checked = v.optional(list(checks)) if default is None and checks else list(checks)
    metadata = {"help": f"{text} ({', '.join(used_by)})", "used_by": used_by}
    return attrs.field(default=default, validator=checked, metadata=metadata)


def _each(check: Any) -> Any:
    """The check for one number, or for each of several."""

    def checked(instance: Any, attribute: Any, value: Any) -> None:
        for part in value if isinstance(value, (tuple, list)) else (value,):
            check(instance, attribute, part)

    return checked


@attrs.define(eq=False, kw_only=True, slots=False)
class Options:
    """Options; each names the policies that use it, and is refused with any other."""

    policy: Literal[
        "observe", "plateau", "loss", "warmup", "one_cycle", "cosine", "function"
    ] = attrs.field(
        default="observe",
        validator=v.in_(
            ("observe", "plateau", "loss", "warmup", "one_cycle", "cosine", "function")
        ),
        metadata={"help": "what sets the learning rate"},
    )

    monitor: str = _option("auto", "metric; auto: a validation's loss", _PLATEAU, v.min_len(1))
    mode: Literal["auto", "min", "max"] = _option(
        "auto", "which way is better; auto: by the name", _PLATEAU, v.in_(_AUTO_MIN_MAX)
    )
    wait_epochs: int = _option(
        1, "epochs by which a set monitor must arrive", _PLATEAU, v.ge(1)
    )  # fmt: skip
    factor: float = _option(0.1, "the rate is multiplied by this", _PLATEAU, v.gt(0), v.lt(1))
    patience: int = _option(10, "arrivals to wait before a cut", _PLATEAU, v.ge(0))
    threshold: float = _option(1e-4, "an improvement is larger than this", _PLATEAU, v.ge(0))
    threshold_mode: Literal["rel", "abs"] = _option(
        "rel", "threshold as a share, or in the value's unit", _PLATEAU, v.in_(("rel", "abs"))
    )
    cooldown: int = _option(0, "arrivals after a cut that do not count", _PLATEAU, v.ge(0))
    eps: float = _option(1e-8, "smaller cuts are left out", _PLATEAU, v.ge(0))
    min_lr: float | tuple[float, ...] | None = _option(
        None, "lower bound, one or one a group", (*_PLATEAU, "loss"), _each(v.ge(0))
    )

    max_lr: float | tuple[float, ...] | None = _option(
        None, "upper bound or peak, one or one a group", ("one_cycle", "loss"), _each(v.gt(0))
    )
    grow: float = _option(1.05, "factor where the loss falls", ("loss",), v.ge(1))
    shrink: float = _option(0.9, "factor where it rises", ("loss",), v.gt(0), v.le(1))
    target: float | None = _option(None, "at or below it the rate only shrinks", ("loss",))
    smoothing: float = _option(0.95, "weight of the past in the mean", ("loss",), v.ge(0), v.lt(1))
    interval: int = _option(10, "optimizer steps from decision to decision", ("loss",), v.ge(1))

    steps: int | None = _option(None, "steps until the full rate", ("warmup",), v.ge(1))
    start_factor: float = _option(
        1 / 3, "share of the rate at the first step", ("warmup",), v.gt(0), v.le(1)
    )

    total_steps: int | None = _option(
        None, "steps of the cycle; by default the training's, where known", ("one_cycle",), v.ge(2)
    )
    pct_start: float = _option(0.3, "share of the rise", ("one_cycle",), v.ge(0), v.le(1))
    anneal: Literal["cos", "linear"] = _option(
        "cos", "shape", ("one_cycle",), v.in_(("cos", "linear"))
    )
    div_factor: float = _option(25.0, "first rate: max_lr / this", ("one_cycle",), v.gt(0))
    final_div_factor: float = _option(1e4, "last rate: first / this", ("one_cycle",), v.gt(0))
    three_phase: bool = _option(False, "back to the first rate, then down", ("one_cycle",))
    cycle_momentum: bool = _option(False, "move momentum or beta1 against it", ("one_cycle",))
    base_momentum: float = _option(0.85, "momentum at the peak", ("one_cycle",), v.ge(0), v.lt(1))
    max_momentum: float = _option(0.95, "momentum at the ends", ("one_cycle",), v.ge(0), v.lt(1))

    t_max: int | None = _option(
        None, "epochs or steps down to eta_min; by default the training's", ("cosine",), v.ge(1)
    )
    eta_min: float = _option(0.0, "last rate", ("cosine",), v.ge(0))
    per: Literal["epoch", "step"] = _option(
        "epoch", "what it counts", ("cosine", "function"), v.in_(("epoch", "step"))
    )

    function: str | None = _option(None, "module:name of a function", ("function",))
    returns: Literal["factor", "lr"] = _option(
        "factor", "what it returns", ("function",), v.in_(("factor", "lr"))
    )

    def refuse_unused(self, plugin: str) -> None:
        """Refuse what was set for another policy, and what the policy lacks.

        Raises:
            UsageError: An option has no effect with this policy, or one is missing.
        """
        for field in attrs.fields(type(self)):
            used_by = field.metadata.get("used_by")
            if not used_by or self.policy in used_by:
                continue
            if getattr(self, field.name) != field.default:
                raise hookcore.UsageError(
                    f"{plugin}.{field.name} has no effect with policy {self.policy!r}",
                    f"it is an option of {' and '.join(used_by)}",
                    f"leave it out, or choose the policy:  -o {plugin}.policy={used_by[0]}",
                )
        needed = {"warmup": "steps", "one_cycle": "max_lr", "function": "function"}
        option = needed.get(self.policy)
        if option is not None and getattr(self, option) is None:
            raise hookcore.UsageError(
                f"policy {self.policy!r} needs {plugin}.{option}",
                "it has no default",
                f"give it:  -o {plugin}.{option}=...",
            )
