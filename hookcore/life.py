"""Starts and ends, always paired, innermost first: what adapters drive."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from hookcore.errors import UsageError
from hookcore.metrics import Readings, is_scalar, keep
from hookcore.training import Fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hookcore.dispatch import Dispatch
    from hookcore.hookspecs import How
    from hookcore.signals import Signals
    from hookcore.training import Host, Run


class Life:
    """The life of one run. Adapters say what happens; it fires events in the contract's order.

    An end closes what is still open inside, innermost first, with the same ``how``.

    Args:
        run: The run.
        dispatch: The frozen listeners.
        host: The adapter.
        tell: Writes one line of hookcore's own.

    Attributes:
        fit: The fit that is open, or None.
        in_epoch: Whether an epoch is open.
        in_batch: Whether a batch is open.
        in_validation: Whether a validation is open.
        validation_batch: Index of its batch, from 0; -1 before the first.
        cut_short: Whether a stop has ended the current or last fit.
        attention: Whether the next head must look at something: a stop, a signal, an error that
            waits, a checkpoint to take. Heads read this one flag.
    """

    def __init__(
        self, run: Run, dispatch: Dispatch, host: Host, tell: Callable[[str, bool], None]
    ) -> None:
        self.run = run
        self.dispatch = dispatch
        self.events = dispatch.events
        self.host = host
        self.signals: Signals | None = None
        self.fit: Fit | None = None
        self.in_epoch = False
        self.in_batch = False
        self.in_validation = False
        self.cut_short = False
        self.attention = False
        self._in_validation_batch = False
        self.validation_batch = -1
        self._validation_values: dict[str, Any] = {}
        self._capture: str | None = None
        self._errands: deque[tuple[str, Callable[[], object]]] = deque()
        self._tell = tell
        self._ledger = dispatch.ledger
        if self._ledger is not None:
            self._ledger.attach(self)
        run.begin(self)

    # -- what Run and Fit ask for ----------------------------------------------------------

    @property
    def speaker(self) -> str | None:
        """The plugin whose hook is running."""
        return self.dispatch.speaker

    def wake(self) -> None:
        """Have the next head look for what was asked for, and able to save."""
        if self.events.on_checkpoint_save is not None:
            self.host.expect_capture()
        self.attention = True

    def log(self, values: Mapping[str, Any]) -> None:
        """Deliver explicit metrics.

        Raises:
            UsageError: A value is no single real number.
        """
        for name, value in values.items():
            if not is_scalar(value):
                raise UsageError(
                    f"log({name}=...) takes one number, or a tensor with one element",
                    f"it was given a {type(value).__name__}",
                    "log its mean, or another single number",
                )
        self.arrived({name: keep(value) for name, value in values.items()}, "log")

    def capture(self, reason: str) -> None:
        """Take a checkpoint at the next head."""
        self._capture = reason
        self.wake()

    def at_head(self, function: Callable[[], object], by: str) -> None:
        """Have the next head call a function; asked for from any thread."""
        self._errands.append((by, function))
        self.attention = True

    def saved(self, path: Path) -> None:
        """A checkpoint is on disk."""
        if self.events.on_checkpoint_saved is not None:
            self.events.on_checkpoint_saved(self.run, self.run.fit, path)

    def loaded(self, path: Path) -> None:
        """A checkpoint has been read, and the run will continue from it."""
        if self.events.on_checkpoint_load is not None:
            self.events.on_checkpoint_load(self.run, path)

    def tell(self, text: str, *, always: bool) -> None:
        """Write one of hookcore's own lines."""
        self._tell(text, always)

    # -- run -------------------------------------------------------------------------------

    def start_run(self) -> None:
        """The run begins."""
        if self.events.on_run_start is not None:
            self.events.on_run_start(self.run)
        self.dispatch.raise_pending()

    def end_run(self, how: How, error: BaseException | None = None) -> None:
        """The run ends; whatever is open ends before it."""
        self.end_fit(how)
        if error is not None and how == "exception" and self.events.on_exception is not None:
            self.events.on_exception(self.run, error)
        self._take_emergency()
        if self.events.on_run_end is not None:
            self.events.on_run_end(self.run, how)

    # -- fit -------------------------------------------------------------------------------

    def new_fit(self) -> Fit:
        """A fit to be filled by the adapter, then started."""
        return Fit(self.run.fits, self)

    def start_fit(self, fit: Fit) -> None:
        """A training loop has been recognised."""
        self.fit = self.run.fit = fit
        self.run.fits += 1
        self.cut_short = False
        if self.signals is not None and not fit.observed:  # else no head will come for them
            self.signals.install()
        if self._ledger is not None:
            self._ledger.training_began(fit)
        if self.events.on_train_start is not None:
            self.events.on_train_start(self.run, fit)
        if self.run.stopped is not None:
            fit.stop(self.run.stopped.reason, now=self.run.stopped.now, by=self.run.stopped.by)

    def end_fit(self, how: How) -> None:
        """The training loop has been left."""
        fit = self.fit
        if fit is None:
            return
        self.end_batch(how)
        self.end_epoch(how)
        self.end_validation()
        if self.events.on_train_end is not None:
            self.events.on_train_end(self.run, fit, how)
        if self._ledger is not None:
            self._ledger.training_ended(fit)
        fit.loaders = ()  # their workers end when the loop's own names let go of them
        self.fit = None
        if self._capture is not None and how not in ("exception", "exit"):
            self._capture = None  # no head came any more, and the next fit's is another state

    def start_epoch(self) -> None:
        """An iteration of the outermost loop begins."""
        assert self.fit is not None and not self.in_epoch
        self.in_epoch = True
        self.fit.epoch += 1
        self.fit.batch = -1
        if self.events.on_epoch_start is not None:
            self.events.on_epoch_start(self.run, self.fit, self.fit.epoch)

    def end_epoch(self, how: How) -> None:
        """The epoch's body has been left."""
        if not self.in_epoch:
            return
        assert self.fit is not None
        self.end_batch(how)
        self.end_validation()
        self.in_epoch = False
        if how == "finished":
            self.fit.epochs_done += 1
        if self.events.on_epoch_end is not None:
            self.events.on_epoch_end(self.run, self.fit, self.fit.epoch, how)

    def start_batch(self, data: Any = None) -> None:
        """An iteration of the batch loop begins."""
        fit = self.fit
        assert fit is not None and not self.in_batch
        self.in_batch = True
        fit.batch += 1
        if self.events.on_batch_start is not None:
            self.events.on_batch_start(self.run, fit, fit.batch, data)

    def end_batch(self, how: How) -> None:
        """The batch's body has been left."""
        if not self.in_batch:
            return
        fit = self.fit
        assert fit is not None
        self.in_batch = False
        if how == "finished":
            fit.batches += 1
        elif self._ledger is not None:
            self._ledger.batch_left()
        if self.events.on_batch_end is not None:
            self.events.on_batch_end(self.run, fit, fit.batch, how)

    # -- validation ------------------------------------------------------------------------

    def start_validation(self) -> None:
        """A trained model begins to be evaluated."""
        assert self.fit is not None and not self.in_validation
        self.in_validation = self.fit.in_validation = True
        self.validation_batch = -1
        self._validation_values.clear()
        if self.events.on_validation_start is not None:
            self.events.on_validation_start(self.run, self.fit)

    def start_validation_batch(self) -> None:
        """A batch of the validation begins; the one before ends, should it still be open."""
        self.end_validation_batch()
        self._in_validation_batch = True
        self.validation_batch += 1
        if self.events.on_validation_batch_start is not None:
            self.events.on_validation_batch_start(self.run, self.fit, self.validation_batch)

    def end_validation_batch(self) -> None:
        """The validation's batch is done."""
        if not self._in_validation_batch:
            return
        self._in_validation_batch = False
        if self.events.on_validation_batch_end is not None:
            self.events.on_validation_batch_end(self.run, self.fit, self.validation_batch)

    def end_validation(self, values: Mapping[str, Any] | None = None) -> None:
        """The validation is over, with the metrics that arrived in it."""
        if not self.in_validation:
            return
        assert self.fit is not None
        self.end_validation_batch()
        self.arrived(values or {}, "validation")
        self.in_validation = self.fit.in_validation = False
        self.fit.validations += 1
        metrics = Readings(self._validation_values)
        if self.events.on_validation_end is not None:
            self.events.on_validation_end(self.run, self.fit, metrics)

    # -- data out --------------------------------------------------------------------------

    def arrived(self, values: Mapping[str, Any], source: str) -> None:
        """Metrics have arrived, already kept."""
        metrics = self.run.metrics.arrive(values)
        if self.in_validation and source in ("validation", "log"):  # else bound before it
            self._validation_values.update(values)
        if values and self.events.on_log is not None:
            self.events.on_log(self.run, self.fit, metrics, source)

    # -- heads -----------------------------------------------------------------------------

    def attend(self) -> None:
        """Do what was asked for, at a head of the fit: the state of the training is whole.

        Raises:
            UsageError: What the user typed turned out to be wrong; after a checkpoint.
            PluginError: A plugin raised, in strict mode.
            KeyboardInterrupt: From the user's signal handling, after the checkpoint.
        """
        self.attention = False
        while self._errands:
            by, function = self._errands.popleft()
            self.dispatch.call(by, "at_head", function)
        self._save()
        if self._capture is None:  # else the state can first be read at the next head
            if self.dispatch.pending is not None:
                self.dispatch.raise_pending()
            self._save()  # for a signal that came while the checkpoint was taken
        signals = self.signals
        if signals is not None and signals.told and self._capture is None:
            signals.hand_on()
        if self._capture is not None or self.stopping:
            self.attention = True

    def _save(self) -> None:
        """Tell of a signal, once, and take the checkpoint that was asked for."""
        signals = self.signals
        if signals is not None and signals.waiting and not signals.told:
            signals.told = True
            if self.events.on_signal is not None:
                self.events.on_signal(self.run, signals.waiting)
        if self.dispatch.pending is not None and self._capture is None:
            self._capture = "error"
        if self._capture is not None:
            self._take_capture()

    def leave_signals(self) -> None:
        """The fit is over: no head will come for a signal any more."""
        if self.signals is not None:
            self.signals.remove()

    @property
    def stopping(self) -> bool:
        """Whether a stop waits for the fit's outermost loop."""
        return self.fit is not None and self.fit.stopped is not None

    def stop_takes_effect(self) -> None:
        """The fit's outermost loop is about to end because of a stop."""
        fit = self.fit
        assert fit is not None and fit.stopped is not None
        self.cut_short = True
        if self.events.on_stop is not None:
            self.events.on_stop(self.run, fit, fit.stopped.reason, fit.stopped.by)
        if self._capture is not None:
            self._take_capture()

    def _take_emergency(self) -> None:
        """What was asked for after the last head: the weights alone, for no head will come."""
        fit, reason = self.run.fit, self._capture
        self._capture = None
        if reason is not None and fit is not None and self.events.on_checkpoint_save is not None:
            with self.dispatch.own("emergency capture"):
                snapshot = self._taken(lambda: self.host.emergency(fit, reason), reason)
            if snapshot is not None:
                self.events.on_checkpoint_save(self.run, fit, snapshot)

    def _take_capture(self) -> None:
        if self.events.on_checkpoint_save is None:
            self._capture = None
            return
        reason = self._capture
        assert reason is not None
        with self.dispatch.own("capture"):
            snapshot = self._taken(lambda: self.host.capture(reason), reason)
        if snapshot is None:
            return
        self._capture = None
        self.events.on_checkpoint_save(self.run, self.fit, snapshot)

    def _taken(self, capture: Callable[[], Any], reason: str) -> Any:
        """What a capture gives; where it fails, the loss is said and the training goes on."""
        try:
            return capture()
        except Exception as error:  # noqa: BLE001 - whatever a user's objects raise when they are read
            self._capture = None
            self.run.fail(
                f"the state of the training could not be taken ({reason})\n"
                f"    {type(error).__name__}: {error}\n"
                "  the training goes on; it is tried again when it is due"
            )
            return None
