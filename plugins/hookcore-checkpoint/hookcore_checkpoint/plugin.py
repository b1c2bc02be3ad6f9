"""The hooks: when to ask for a checkpoint, and what to do with it."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
from attrs import validators

from hookcore import Fit, HookcoreError, Run, UsageError, hookimpl
from hookcore.monitors import Monitor, Watch, better
from hookcore_checkpoint import places, resume
from hookcore_checkpoint.cadence import Cadence, Schedule, each, plan
from hookcore_checkpoint.clock import Clock
from hookcore_checkpoint.mirror import Mirror, is_url
from hookcore_checkpoint.requests import Requests
from hookcore_checkpoint.values import Values
from hookcore_checkpoint.writer import LABEL, Writer

if TYPE_CHECKING:
    from hookcore.snapshot import Snapshot


def _option(default: Any, text: str, *checks: Any) -> Any:
    return attrs.field(default=default, validator=list(checks), metadata={"help": text})


_positive = validators.optional(validators.gt(0))
_counted = validators.optional(validators.ge(0))


@attrs.define(eq=False, kw_only=True, slots=False)
class Checkpoint:
    """Saves the training as it goes, and continues it where it stopped."""

    name: ClassVar[str] = "checkpoint"
    role: ClassVar[Literal["persist"]] = "persist"

    directory: str | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(os.fspath),
        metadata={"help": "where, or a URL for copies; default checkpoints/<name of the script>"},
    )
    every_n_epochs: int | None = _option(None, "1 where there are epochs; 0: none", _counted)
    every_n_steps: int | None = _option(None, "optimizer updates", _positive)
    every_n_seconds: float | None = _option(None, "then at the next batch's end", _positive)
    every_n_validations: int | None = _option(None, "besides epochs; 1: each", _positive)
    keep_last: int = _option(3, "checkpoints of a fit and kind; 0: all", _counted)
    keep_best: int = _option(0, "by monitor, besides the last ones; 0: none", _counted)
    load_best: bool = _option(False, "put the best weights back at the end; needs keep_best")
    monitor: str = _option("auto", "metric of keep_best; auto: a validation's loss")
    mode: Literal["auto", "min", "max"] = _option("auto", "which way is better; auto: by the name")
    wait_epochs: int = _option(1, "epochs by which a set monitor must arrive", validators.ge(1))
    save_on_exception: bool = _option(True, "the weights, if the run dies of an exception")
    save_on_signal: bool = _option(True, "on SIGTERM and SIGINT, before the user's handlers")
    save_on_request: bool = _option(True, "on SIGUSR1, and when a file SAVE is made in directory")
    background: bool = _option(True, "write beside the training, from one copy in memory")
    grace_seconds: float = _option(30.0, "that a signal waits for a batch's end", _positive)

    def __attrs_post_init__(self) -> None:
        self._cadence = Cadence(
            epochs=self.every_n_epochs,
            steps=self.every_n_steps,
            seconds=self.every_n_seconds,
            validations=self.every_n_validations,
        )
        self._begin(Path())
        self._off = True  # until a run has begun
        # An attribute that is no function is no hook: what the options do not need costs nothing.
        unneeded = [] if self.save_on_signal else ["on_signal"]
        unneeded += [] if self.every_n_steps else ["on_batch_end"]
        unneeded += [] if self.keep_best else ["on_log", "on_validation_start"]
        for hook in unneeded:
            setattr(self, hook, None)

    def _begin(self, base: Path) -> None:
        """Know nothing yet: one plugin may see several runs."""
        self._writer = Writer(base, self.keep_last, self.keep_best)
        self._schedule = Schedule()
        self._clock = Clock(0, lambda: None)
        self._requests: Requests | None = None
        self._watch = Watch(Monitor(self.monitor, self.mode), self.name, self.wait_epochs)
        self._values = Values()
        self._off = False
        self._awaited: int | None = None  # the fit that a resume goes on with
        self._asked_at = -1
        self._saved_at: tuple[int, int, int] | None = None
        self._verdict: str | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._foreseen: Path | None = None  # where a run that continues nothing will save
        self._urgent = False  # the process is about to end
        self._begun = ""  # reason of the checkpoint that is being written
        self._begun_value: float | None = None
        self._said: set[str] = set()

    def about(self, run: Run) -> str:
        """What it is about to do."""
        base, words = self._directory(run), self._cadence.words()
        place = base if run.resume in ("auto", "must") else places.fresh(base)
        where = places.shown(place, run.folder)
        if run.resume in ("auto", "must"):
            return f"continues from the newest in {where}, saves {words}"
        keeps = f", keeps the last {self.keep_last}" if self.keep_last else ""
        keeps += f" and the best {self.keep_best}" if self.keep_best else ""
        keeps += f", and copies at {self.directory}" if is_url(self.directory or "") else ""
        earlier = "" if place == base else "; an earlier run goes on with --resume"
        return f"saves {words} in {where}{keeps}{earlier}"

    def state_dict(self) -> dict[str, Any]:
        """Which metric it goes by; everything else can be read off the directory."""
        return {"watch": self._watch.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Kept until the fit is there."""
        self._loaded = state

    # -- the run ---------------------------------------------------------------------------

    @hookimpl
    def on_run_start(self, run: Run) -> None:
        """Continue what is to be continued, before anything of the user's runs."""
        self._begin(self._directory(run))
        run.grace_seconds = self.grace_seconds
        self._off = run.rank != 0
        if self.keep_best:
            self._watch.monitor.check(self.name)
        elif self.monitor != "auto" and not self.load_best:
            run.say(
                f"checkpoint.monitor = {self.monitor}: nothing goes by it, keep_best is 0\n"
                "  keep one:  -o checkpoint.keep_best=1"
            )
        elif self.load_best:
            raise UsageError(
                "checkpoint.load_best = yes: no best checkpoint is kept",
                "checkpoint.keep_best is 0",
                "keep one:  -o checkpoint.keep_best=1",
            )
        self._check(run, places.obstacle(self._writer.base))
        if self.directory is not None and is_url(self.directory):
            self._writer.mirror = Mirror(self.directory)
        found = resume.find(run, self._writer.base, self._writer.mirror)
        if found is not None and run.resume != "weights":
            if not self._off:
                self._writer.join(*found)
                self._values.late.update(found[1].position.get(LABEL, {}).get("late", {}))
            self._awaited = found[1].position["fit"]
        else:
            mirror = self._writer.mirror
            taken = () if mirror is None else mirror.runs()
            self._foreseen = places.fresh(self._writer.base, taken)
            if run.resume is not None and not self._off:
                self._writer.clean()  # the run before may have died in its first checkpoint

    @hookimpl
    def on_run_end(self, run: Run) -> None:
        """Wait for what is being written, and say what was."""
        self._listen_no_more()
        self._collect(run)
        for line in self._writer.summary(run.folder, self._watch.name, self._better):
            run.note(line)
        self._writer.let_go()

    @hookimpl
    def on_exception(self, run: Run, error: BaseException) -> None:
        """Keep at least the weights."""
        if self.save_on_exception and run.fit is not None and not self._is_saved(run.fit):
            self._ask(run, type(error).__name__)

    @hookimpl
    def on_signal(self, run: Run, signal: int) -> None:
        """Save; the user's handler, or the end of the process, comes after that."""
        if run.fit is None:
            return
        if self._is_saved(run.fit):
            self._collect(run)
        else:
            self._urgent = True
            self._ask(run, signals.Signals(signal).name)

    # -- the fit ---------------------------------------------------------------------------

    @hookimpl
    def on_train_start(self, run: Run, fit: Fit) -> None:
        """The loop is known: what can be saved of it, and when."""
        self._watch.start(run)
        self._values.start()
        self._listen_no_more()
        self._schedule = plan(self._cadence, has_epochs=fit.has_epochs, step=fit.step)
        self._check(run, resume.too_little_room(self._writer.place or self._writer.base, fit))
        verdict = self._verdict = None if run.complete else run.capture_verdict()
        if verdict is not None and not self._off:
            self._once(run, f"checkpoints can be used, but not resumed from: {verdict.lines}")
        elif (self.every_n_steps or self.every_n_seconds) and not self._off:
            inside = run.capture_verdict(inside=True)
            if inside is not None:
                self._once(
                    run, f"a resume goes back to an epoch's end, not between: {inside.lines}"
                )
        self._clock = Clock(self._schedule.seconds, lambda: self._ring(run, fit))
        self._clock.wind()
        if self.save_on_request and not self._off:
            self._requests = Requests(self._places, lambda reason: self._ask(run, reason))
            self._requests.start()

    @hookimpl
    def on_resume(self, fit: Fit) -> None:
        """Everything is back: what is trained from now on is new."""
        self._awaited = None
        self._saved_at = fit.index, fit.step, fit.batches
        if self._loaded is not None:
            self._watch.load_state_dict(self._loaded["watch"])
        if self.keep_best and not self._off:
            self._writer.look(self._watch.name, self._better)

    @hookimpl
    def on_train_end(self, run: Run, fit: Fit, how: str) -> None:
        """No head is left that could be saved at."""
        self._listen_no_more()
        self._collect(run)
        if self.keep_best:
            self._watch.ended(run)
        if self.load_best and how not in ("exception", "exit"):
            resume.load_best(run, fit, self._writer.best.get(fit.index), self._watch.name)

    @hookimpl
    def on_epoch_end(self, run: Run, fit: Fit, how: str) -> None:
        """Save what is finished."""
        if self.keep_best:
            self._arrived(fit, self._watch.epoch_ended(run, fit, how))
        due = self._schedule.epoch_due(fit.epochs_done, fit.total_epochs)
        if due and how == "finished" and not fit.replaying:
            self._ask(run, each(self._schedule.epochs, "epoch"))

    @hookimpl
    def on_stop(self, run: Run, fit: Fit) -> None:
        """The last moment at which a stopped training can be saved whole."""
        if not self._is_saved(fit):
            self._ask(run, "the stop")

    @hookimpl
    def on_batch_end(self, run: Run, fit: Fit) -> None:
        """Heard only with ``every_n_steps``."""
        if self._schedule.batch_ended(fit.step) and not fit.replaying:
            self._ask_ahead(run, fit)

    # -- metrics ---------------------------------------------------------------------------

    @hookimpl
    def on_log(
        self, run: Run, fit: Fit | None, metrics: Mapping[str, float], source: str
    ) -> None:
        """Heard only with ``keep_best``."""
        self._arrived(fit, self._watch.log(run, fit, metrics, source))

    @hookimpl
    def on_validation_start(self, run: Run, fit: Fit) -> None:
        """Heard only with ``keep_best``."""
        self._arrived(fit, self._watch.validation_started(run, fit))

    @hookimpl
    def on_validation_end(self, run: Run, fit: Fit, metrics: Mapping[str, float]) -> None:
        """Loops without epochs are saved now."""
        if self.keep_best:
            value = self._watch.validation_ended(run, fit, metrics)
            if value is None:
                self._values.measured(fit.step)
            self._arrived(fit, value)
        if self._schedule.validation_due(fit.validations) and not fit.replaying:
            self._ask(run, each(self._schedule.validations, "validation"))

    # -- saving ----------------------------------------------------------------------------

    @hookimpl
    def on_checkpoint_save(self, run: Run, fit: Fit, snapshot: Snapshot) -> None:
        """Have it written, and what is too many taken away."""
        if self._is_idle(run) or self._is_early(run, fit, snapshot):
            return
        if self._comes_again(fit, snapshot):
            return
        self._clock.wind()
        self._collect(run)
        kind, reason = snapshot.header.kind, snapshot.header.reason
        name = places.name_of(snapshot.position, kind, has_epochs=fit.has_epochs)
        value = self._values.take(fit.step, self._saved_step(fit))
        label = {
            "monitor": self._watch.name,
            "mode": self._watch.mode,
            "value": value,
            "late": dict(self._values.late),
            "world_size": run.world_size,
        }

        def done() -> None:
            run.at_head(lambda: self._collect(run), by=self.name)

        try:
            self._writer.begin(snapshot, name, label, self._better, done)
        except (HookcoreError, OSError) as error:
            self._values.give_back(value)
            run.fail(f"the checkpoint was not saved ({reason})\n    {error}")
            return
        if self._foreseen not in (None, self._writer.place):
            taken, mine = (places.shown(p, run.folder) for p in self._places())
            self._once(run, f"another run saves in {taken}: this one saves in {mine}")
        self._begun, self._begun_value = reason, value
        self._saved_at = fit.index, fit.step, fit.batches
        self._schedule.saved(fit.step)
        if kind == "mid-epoch" and self._schedule.next_is_due(fit.step):
            self._ask_ahead(run, fit)
        for note in snapshot.notes:
            if self._verdict is None or self._verdict not in note:  # that is said already
                self._once(run, f"checkpoints: {note}")
        if self._urgent or not self.background:
            self._urgent = False
            self._collect(run)

    # -- inside ----------------------------------------------------------------------------

    def _collect(self, run: Run) -> None:
        """Say what became of the checkpoint that was being written; waits for it."""
        reason = self._begun
        try:
            written = self._writer.collect()
        except (HookcoreError, OSError) as error:
            self._saved_at = None
            self._values.give_back(self._begun_value)
            run.fail(f"the checkpoint was not saved ({reason})\n    {error}")
            return
        if written is None:
            return
        self._values.keep(written.numbers)
        if not self._is_expected(reason):
            run.say(f"{reason}: wrote {places.shown(written.path, run.folder)}")
        run.saved(written.path)
        if written.lost is not None:
            run.fail(written.lost)
        for text in written.left:
            self._once(run, text)

    def _is_expected(self, reason: str) -> bool:
        """Whether it is one of those of which nothing is said."""
        units = ("epoch", self._schedule.epochs), ("validation", self._schedule.validations)
        return reason in (self._steps, *(each(count, unit) for unit, count in units))

    def _listen_no_more(self) -> None:
        self._clock.stop()
        if self._requests is not None:
            self._requests.stop()
            self._requests = None

    def _places(self) -> tuple[Path, Path]:
        return self._writer.base, self._writer.place or self._writer.base

    @property
    def _steps(self) -> str:
        return each(self._schedule.steps, "step")

    @property
    def _seconds(self) -> str:
        return f"every {self._schedule.seconds:g} s"

    def _directory(self, run: Run) -> Path:
        if self.directory is None or is_url(self.directory):
            return places.default_directory(run)
        return run.folder / os.path.expanduser(self.directory)  # noqa: PTH111 - Path's raises

    def _check(self, run: Run, obstacle: str | None) -> None:
        """Saving cannot work: an error where the user named the place."""
        if obstacle is None or self._off:
            return
        if self.directory is not None:
            raise UsageError(
                f"checkpoint.directory = {self.directory}: nothing can be saved there",
                obstacle,
                "name another:  -o checkpoint.directory=...     "
                "train without:  -p no:checkpoint",
            )
        self._off = True
        run.fail(
            f"no checkpoint will be saved, the training goes on\n    {obstacle}\n"
            "  name another directory:  -o checkpoint.directory=..."
        )

    def _arrived(self, fit: Fit | None, value: float | None) -> None:
        if value is not None and fit is not None:
            self._values.arrived(value, fit.step, self._saved_step(fit), self._writer.number)

    def _saved_step(self, fit: Fit) -> int | None:
        """Optimizer updates at the fit's last checkpoint, or None."""
        saved = self._saved_at
        return saved[1] if saved is not None and saved[0] == fit.index else None

    def _better(self, new: float, best: float | None) -> bool:
        return better(new, best, self._watch.mode)

    def _ask(self, run: Run, reason: str) -> None:
        if not self._is_idle(run):
            run.capture(reason)

    def _ask_ahead(self, run: Run, fit: Fit) -> None:
        until = 1 if self._schedule.step_due(fit.step) else 2  # batches, that the save is of
        if not self._epoch_follows(fit, fit.batch + until):
            self._asked_at = fit.batches
            self._ask(run, self._steps)

    def _is_idle(self, run: Run) -> bool:
        """Whether there is nothing to do: a fit on the way to the one to be resumed is saved."""
        again = self._awaited is not None and run.fit is not None and run.fit.index <= self._awaited
        return self._off or again

    def _is_saved(self, fit: Fit) -> bool:
        return self._saved_at == (fit.index, fit.step, fit.batches)

    def _is_early(self, run: Run, fit: Fit, snapshot: Snapshot) -> bool:
        """Whether it was asked for ahead of its step, and taken before that step came."""
        if snapshot.header.reason != self._steps or self._schedule.step_due(fit.step):
            return False
        if snapshot.header.kind == "mid-epoch":
            self._ask(run, self._steps)  # the variables happened to be there: once more, then
        elif fit.batches == self._asked_at:
            self._schedule.ahead = False  # this loop can be read at once
        return True

    def _comes_again(self, fit: Fit, snapshot: Snapshot) -> bool:
        """Whether the epoch's own checkpoint comes next, with nothing trained in between."""
        reason = snapshot.header.reason
        of_itself = self._is_expected(reason) or reason == self._seconds
        return of_itself and self._epoch_follows(fit, snapshot.position["batch"])

    def _epoch_follows(self, fit: Fit, batches: int) -> bool:
        """Whether an epoch that is saved has no more batches than these."""
        due = self._schedule.epoch_due(fit.epochs_done + 1, fit.total_epochs)
        return due and batches == fit.total_batches

    def _ring(self, run: Run, fit: Fit) -> None:
        """In the clock's thread."""
        if not (self._schedule.untimed and fit.validations):
            self._ask(run, self._seconds)

    def _once(self, run: Run, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            run.say(text)
