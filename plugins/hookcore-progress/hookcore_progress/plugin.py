"""The plugin: hooks only. What it shows is made in the modules beside it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from hookcore import UsageError, hookimpl
from hookcore_progress import modes
from hookcore_progress.moments import Kind, Moment, latest, take

if TYPE_CHECKING:
    from hookcore import Fit, Run
    from hookcore_progress.display import Display
    from hookcore_progress.surfaces import Surface

_LEFT = {
    "broke": "left by break",
    "returned": "left by return",
    "stopped": "stopped",
    "exception": "left by an exception",
    "exit": "left by an exit",
}


@attrs.define(eq=False, kw_only=True)
class Progress:
    """Shows epochs, batches, speed, time left and metrics.

    It has no hook that runs in a batch: a thread of its own reads the fit's counters.
    """

    role: ClassVar[str] = "observe"
    claims: ClassVar[tuple[str, ...]] = ("terminal",)

    mode: modes.Mode = attrs.field(
        default="auto",
        validator=attrs.validators.in_(("auto", "live", "notebook", "lines", "json")),
        metadata={"help": "how to show it; auto: live on a terminal, a bar in a notebook, lines"},
    )
    every_seconds: float = attrs.field(
        default=10.0,
        validator=attrs.validators.gt(0),
        metadata={"help": "between two lines, in the modes lines and json"},
    )
    metrics: tuple[str, ...] = attrs.field(
        default=(), metadata={"help": "names to show; empty: losses and validations' values"}
    )
    file: Path | None = attrs.field(
        default=None, metadata={"help": "where lines or json are appended, instead of stderr"}
    )
    epoch_lines: bool = attrs.field(
        default=True, metadata={"help": "a line that stays for each epoch and validation"}
    )

    _display: Display | None = attrs.field(default=None, init=False)
    _validated: frozenset[str] = attrs.field(default=frozenset(), init=False)
    _found: dict[str, Any] = attrs.field(factory=dict, init=False)
    _arrived: dict[str, int] = attrs.field(factory=dict, init=False)
    _began: float | None = attrs.field(default=None, init=False)
    _elapsed: float = attrs.field(default=0.0, init=False)
    _carried: float = attrs.field(default=0.0, init=False)
    _stood_down: bool = attrs.field(default=False, init=False)

    def about(self, run: Run) -> str:
        """For the opening lines."""
        place = "stderr" if self.file is None else str(self.file)
        return {
            "live": "draws a live line at the bottom of this terminal",
            "notebook": "draws a bar in the cell's output",
            "lines": f"writes a line to {place} every {self.every_seconds:g} s",
            "json": f"writes JSON lines to {place} every {self.every_seconds:g} s",
            "nothing": "shows nothing here",
        }[self._shown(run)]

    # -- run -------------------------------------------------------------------------------

    @hookimpl
    def on_run_start(self, run: Run) -> None:
        """Find out what cannot work before anything runs."""
        self._arrived = {}
        if self.mode in ("live", "notebook") and self.file is not None:
            raise UsageError(
                f"progress: mode {self.mode} does not draw into a file",
                f"file = {str(self.file)!r}",
                "use mode lines or json:  -o progress.mode=lines",
            )
        shown = self._shown(run)
        if shown == "notebook":
            try:
                import IPython  # noqa: F401 - only whether it can be
            except ImportError as error:
                raise UsageError(
                    "progress: mode notebook needs IPython", str(error), "use another mode"
                ) from error
        elif shown in ("lines", "json") and self.file is not None:
            try:
                self._path(run).open("a").close()
            except OSError as error:
                raise UsageError(
                    f"progress: cannot write to {str(self.file)!r}",
                    f"{type(error).__name__}: {error}",
                    "name another file:  -o progress.file=...",
                ) from error

    @hookimpl
    def on_stop(self, run: Run, fit: Fit, reason: str, by: str) -> None:
        """Say why it ends."""
        self._post("stop", run, fit, text=f"stopping: {reason} ({by})")

    # -- fit -------------------------------------------------------------------------------

    @hookimpl
    def on_train_start(self, run: Run, fit: Fit) -> None:
        """Begin to show."""
        self._close()
        self._began, self._elapsed = time.monotonic(), 0.0
        self._validated = frozenset()
        shown = self._shown(run)
        if shown == "nothing" or not self._may_draw(run, shown):
            return
        with self._cleanly():
            self._open(run, fit, shown)

    @hookimpl
    def on_resume(self, run: Run, fit: Fit) -> None:
        """Count on from where the checkpoint stood."""
        self._elapsed, self._carried = self._carried, 0.0
        self._post("resume", run, fit, carried=self._elapsed)

    @hookimpl
    def on_epoch_end(self, run: Run, fit: Fit, how: str) -> None:
        """A line for the epoch."""
        arrived = {name: run.metrics.arrivals(name) for name in run.metrics.names}
        old = self._arrived
        fresh = {n: v for n, v in latest(run).items() if arrived[n] > old.get(n, 0)}
        self._arrived = arrived
        self._post("epoch", run, fit, text=_LEFT.get(how, ""), raw=fresh)

    @hookimpl
    def on_validation_start(self, run: Run, fit: Fit) -> None:
        """Its time is none of the training's pace."""
        self._found = {}
        self._post("pause", run, fit)

    @hookimpl
    def on_log(self, run: Run, metrics: Mapping[str, float], source: str) -> None:
        """Learn which values are a validation's. Some arrive when it is over."""
        if source == "validation":
            self._validated |= frozenset(metrics)
            self._found.update((name, run.metrics.latest(name)) for name in metrics)

    @hookimpl
    def on_validation_end(self, run: Run, fit: Fit, metrics: Mapping[str, float]) -> None:
        """A line for the validation."""
        self._validated |= frozenset(metrics)
        self._found.update((name, run.metrics.latest(name)) for name in metrics)
        self._post("validation", run, fit, raw=self._found)

    @hookimpl
    def on_train_end(self, run: Run, fit: Fit, how: str) -> None:
        """The last line; the place is left clean before the code after the loop runs."""
        if self._began is not None:
            self._elapsed += time.monotonic() - self._began
            self._began = None
        self._post("end", run, fit, text=_LEFT.get(how, ""), raw=latest(run))
        self._close()

    # -- state -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Seconds that the fit has run: a resumed training goes on counting."""
        since = 0.0 if self._began is None else time.monotonic() - self._began
        return {"elapsed": self._elapsed + since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them from a checkpoint; they count once the fit goes on."""
        self._carried = float(state.get("elapsed", 0.0))

    # -- inside ----------------------------------------------------------------------------

    def _shown(self, run: Run) -> modes.Shown:
        return modes.resolve(
            self.mode,
            file=self.file,
            quiet=run.settings.quiet,
            rank=run.rank,
            stderr=sys.stderr,
            environ=os.environ,
        )

    def _path(self, run: Run) -> Path:
        return run.folder / self.file if self.file is not None else run.folder

    def _may_draw(self, run: Run, shown: modes.Shown) -> bool:
        if shown == "json" or self.file is not None:
            return True
        holder = run.holder("terminal")
        mine = self._name(run)
        if holder in (None, mine):
            return True
        # Another plugin's claim has been said in the opening lines.
        if not self._stood_down and holder not in {record.name for record in run.plugins}:
            self._stood_down = True
            run.say(f"{mine} draws nothing: {holder} is on the terminal")
        return False

    def _name(self, run: Run) -> str:
        return next((record.name for record in run.plugins if record.plugin is self), "progress")

    def _open(self, run: Run, fit: Fit, shown: modes.Shown) -> None:
        # Imported by the training's thread, all of it: a thread of ours that imports could be
        # waiting for a lock that a forking thread holds.
        from hookcore_progress.display import Display
        from hookcore_progress.meter import Meter

        surface = self._surface(run, fit, shown)
        start = take("start", run, fit, time.monotonic())
        meter = Meter(start, self.metrics, every=shown == "json")

        def look() -> Moment | None:
            return None if fit.replaying else self._take("tick", run, fit, raw=latest(run))

        self._display = Display(
            surface,
            meter,
            look=look,
            ask=run.metrics.refresh,
            allowed=lambda: self._may_draw(run, shown),
        )
        self._display.post(start)
        self._display.start()

    def _surface(self, run: Run, fit: Fit, shown: modes.Shown) -> Surface:
        from hookcore_progress import surfaces
        from hookcore_progress.streams import Stream

        surface: surfaces.Surface
        if shown == "notebook":
            surface = surfaces.Notebook(f"hookcore-{run.id}-{fit.index}")
        else:
            stream = Stream(sys.stderr if self.file is None else self._path(run))
            if shown == "live":
                surface = surfaces.Live(stream)
            elif shown == "json":
                return surfaces.Json(stream, self.every_seconds)
            else:
                surface = surfaces.Lines(stream, self.every_seconds)
        if not self.epoch_lines:
            surface.tells -= {"epoch", "validation"}
        return surface

    def _take(
        self,
        kind: Kind,
        run: Run,
        fit: Fit,
        *,
        text: str = "",
        raw: Mapping[str, Any] | None = None,
        carried: float = 0.0,
    ) -> Moment:
        now, validated = time.monotonic(), self._validated
        return take(kind, run, fit, now, text=text, raw=raw, validated=validated, carried=carried)

    def _post(self, kind: Kind, run: Run, fit: Fit, **what: Any) -> None:
        if self._display is None or fit.replaying:
            return
        with self._cleanly():
            if self._display.failure:
                raise RuntimeError(f"the display failed:\n{self._display.failure}")
            self._display.post(self._take(kind, run, fit, **what))

    @contextmanager
    def _cleanly(self) -> Iterator[None]:
        # A hook that raises is the last one that is called: the core switches the plugin off.
        try:
            yield
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            display.close()
