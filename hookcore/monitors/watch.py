"""Arrivals of the monitored metric: each value once, at the moment that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hookcore.monitors.monitor import Monitor
from hookcore.monitors.names import Direction, is_held_out, tier_of

if TYPE_CHECKING:
    from hookcore.training import Fit, Run


class Watch:
    """Follows a fit's arrivals for one plugin, and hands out those of the monitored metric.

    The plugin passes its events on; each method returns the new value, or None where there is
    none. What arrives inside a validation counts once, at its end, with its last value. A name
    that the loop logs counts by its logs alone: the variable of the same name brings nothing new.
    The batch loop's variables count where a validation has just been; else they are read at a
    display's rate, and no decision may depend on that.

    Args:
        monitor: What to watch.
        plugin: The plugin's name, for messages.
        wait_epochs: Finished epochs by which a set name must have arrived. One that speaks of a
            validation is waited for until the first one is over.
        quiet: Say nothing of what is monitored, and of waiting for it.

    Attributes:
        name: The monitored metric; None until one is found.
        unit: What brings its values: ``"validations"``, ``"epochs"`` or ``"values"``.
        source: How its last value came: as in ``on_log``.
    """

    def __init__(
        self, monitor: Monitor, plugin: str, wait_epochs: int = 1, *, quiet: bool = False
    ) -> None:
        self.monitor = monitor
        self.plugin = plugin
        self.wait_epochs = wait_epochs
        self.quiet = quiet
        self.name: str | None = None
        self.unit = "values"
        self.source = ""
        self._said: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self.name = None
        self.unit = "values"
        self._logged: bool | None = None
        self._inside: set[str] = set()
        self._offered: dict[str, tuple[Mapping[str, float], bool, str]] = {}
        self._validations = 0
        self._epochs = 0
        self._fresh = False

    @property
    def mode(self) -> Direction:
        """Which way the monitored metric improves."""
        return self.monitor.direction(self.name or self.monitor.name)

    # -- events ----------------------------------------------------------------------------

    def start(self, run: Run) -> None:
        """``on_train_start``: every fit chooses anew."""
        self._forget()
        if not self.monitor.is_auto:
            run.metrics.refresh()  # an error can then name the batch's own variables too

    def log(
        self, run: Run, fit: Fit | None, metrics: Mapping[str, float], source: str
    ) -> float | None:
        """``on_log``."""
        if fit is None or fit.replaying:
            return None
        if fit.in_validation:
            if source == "log":
                self._inside.update(metrics)
            return None
        if source == "batch":
            if not self._fresh:
                return None
            self._fresh = False
        held_out = [name for name in metrics if source == "validation" or is_held_out(name)]
        by_log = set(metrics) if source == "log" else set()
        return self._arrived(run, fit, metrics, held_out, by_log, source)

    def validation_started(self, run: Run, fit: Fit) -> float | None:
        """``on_validation_start``: in a loop without epochs, what the first one gave is known."""
        if not self._validations:
            return None
        if not fit.has_epochs and self.name is None and not self.monitor.is_auto:
            raise self.monitor.missing(self.plugin, run.metrics.names, "the first validation")
        return self._chosen(run)

    def validation_ended(self, run: Run, fit: Fit, metrics: Mapping[str, float]) -> float | None:
        """``on_validation_end``."""
        self._validations += 1
        self._fresh = True
        logged, self._inside = self._inside, set()
        return self._arrived(run, fit, metrics, list(metrics), logged, "validation")

    def epoch_ended(self, run: Run, fit: Fit, how: str) -> float | None:
        """``on_epoch_end``.

        Raises:
            UsageError: A name that was set has not arrived in time.
        """
        if fit.replaying:
            return None
        value = self._chosen(run)
        if how != "finished" or self.name is not None:
            return value
        self._epochs += 1
        if not self.monitor.is_auto:
            self._check_deadline(run)
        elif self._validations:
            self._say(
                run,
                f"{self.plugin}: no name of a validation tells a loss or a score "
                f"(there are: {', '.join(run.metrics.names) or 'none'}); "
                f"name one:  -o {self.plugin}.monitor=... -o {self.plugin}.mode=min",
            )
        else:
            self._say(run, f"{self.plugin} has seen no validation so far, and waits for one")
        return value

    def ended(self, run: Run) -> float | None:
        """``on_train_end``: the last moment to choose."""
        return self._chosen(run)

    # -- a resume --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"name": self.name, "unit": self.unit, "logged": self._logged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the metric that was watched, unless another one is set now."""
        if state["name"] is not None and self.monitor.name in ("auto", state["name"]):
            self.name, self.unit, self._logged = state["name"], state["unit"], state["logged"]

    # -- inside ----------------------------------------------------------------------------

    def _arrived(self, run: Run, fit: Fit, metrics: Mapping[str, float], held_out: list[str],
                 logged: set[str], source: str) -> float | None:  # fmt: skip
        if self.name is None and not self.monitor.is_auto:
            self.name = self.monitor.resolve(metrics)
            if self.name is not None:
                self.monitor.check(self.plugin)
        elif self.name is None:
            for name in held_out:
                self._offered[name] = (metrics, name in logged, source)
            # Without epochs nothing tells when all names are there; a loss is the best there is.
            chosen = self.monitor.resolve((), self._offered)
            if not fit.has_epochs and chosen is not None and tier_of(chosen) == "loss":
                return self._chosen(run)
            return None
        if self.name is None or self.name not in metrics:
            return None
        return self._accept(metrics, self.name in logged, source)

    def _chosen(self, run: Run) -> float | None:
        """Choose from what the validation has given, all of whose names are known by now."""
        if self.name is not None or not self.monitor.is_auto:
            return None
        self.name = self.monitor.resolve((), self._offered)
        if self.name is None:
            return None
        way = "lower" if self.mode == "min" else "higher"
        self._say(run, f"{self.plugin} monitors {self.name} ({way} is better)")
        metrics, logged, source = self._offered[self.name]
        self._offered.clear()
        return self._accept(metrics, logged, source)

    def _accept(self, metrics: Mapping[str, float], logged: bool, source: str) -> float | None:
        if self._logged and not logged:
            return None
        assert self.name is not None
        self._logged, self.source = logged, source
        if source in ("validation", "batch") or is_held_out(self.name):
            self.unit = "validations"
        else:
            self.unit = "epochs" if source == "epoch" else "values"
        return metrics[self.name]

    def _check_deadline(self, run: Run) -> None:
        if self._epochs < self.wait_epochs:
            return
        if self._validations:
            over = "the first validation" if self._validations == 1 else "a validation"
        elif is_held_out(self.monitor.name):
            self._say(run, f"{self.plugin} waits for {self.monitor.name}: no validation so far")
            return
        else:
            over = "the first epoch" if self._epochs == 1 else f"epoch {self._epochs}"
        raise self.monitor.missing(self.plugin, run.metrics.names, over)

    def _say(self, run: Run, text: str) -> None:
        """Once a run, whatever the number of fits."""
        if text not in self._said and not self.quiet:
            self._said.add(text)
            run.say(text)
