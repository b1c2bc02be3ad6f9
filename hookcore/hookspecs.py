"""The contract: every event of a training, in the order of its life.

A plugin implements the events that it cares about and names only the arguments that it uses::

    import hookcore

    class LossPrinter:
        @hookcore.hookimpl
        def on_epoch_end(self, run, epoch, how):
            print(epoch, run.metrics.get("loss"))

Laws that hold for all of them:

* Arguments are passed by name. Events take no defaults, no ``**kwargs``, and return nothing.
* Every start has exactly one end, innermost first, however the loop is left (:data:`WAYS_OUT`).
* Starts reach plugins in their order (``before``/``after``, then name), ends in the reverse order.
* ``epoch`` and ``batch`` count from 0, within the fit and within the epoch.
* ``how`` says how a span was left; only ``"finished"`` counts as an epoch or a batch done.
* Models, batches, losses and errors are lent for the call. Keep none of them: they pin memory.
* An event nobody listens to costs one ``is None``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.training import Fit, Run

PROJECT = "hookcore"
"""Name of the pluggy project, and the entry-point group plugins are found in."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

How: TypeAlias = Literal["finished", "broke", "returned", "stopped", "exception", "exit"]


class Hookspecs:
    """The events. One method each; the sections follow a training's life."""

    # -- host ------------------------------------------------------------------------------

    @hookspec(firstresult=True)
    def adapt(self, loop: Any, settings: Any) -> Any:
        """Recognise a training object of a framework and say how to run it under hookcore.

        The one hook that is no event: :func:`hookcore.instrument` asks it for an object that is
        no plain function or method; the first adapter that knows the object answers.

        Args:
            loop: What the user passed to :func:`hookcore.instrument`.
            settings: The frozen settings of the call.

        Returns:
            The instrumented object, or None where this adapter does not know it.

        Cost: once for a call of ``instrument``.
        """

    # -- run -------------------------------------------------------------------------------

    @hookspec
    def on_run_start(self, run: Run) -> None:
        """A run has begun: the loop was called, or the script is about to start.

        Nothing of the user's has run yet. Raise :class:`hookcore.UsageError` here where an
        option cannot work: the run ends with exit code 2 before the first iteration.

        Args:
            run: The run; it has no fit yet.

        Cost: once a run.
        """

    @hookspec
    def on_run_end(self, run: Run, how: How) -> None:
        """The run is over. The last event a plugin receives.

        Args:
            run: The run; its metrics can still be read.
            how: ``"finished"``, ``"stopped"`` (a stop took effect), ``"exception"`` or ``"exit"``
                (SystemExit).

        Cost: once a run.
        """

    @hookspec
    def on_exception(self, run: Run, error: BaseException) -> None:
        """An exception leaves the run. All open spans have ended; on_run_end follows.

        An exception that the user's own code catches is none: the batch it left has ended with
        ``how="exception"``, and that is all.

        Args:
            run: The run.
            error: The user's exception, KeyboardInterrupt included, SystemExit not. Keep text of
                it, never the object: its traceback pins the loop's tensors.

        Cost: at most once a run.
        """

    @hookspec
    def on_stop(self, run: Run, fit: Fit, reason: str, by: str) -> None:
        """A stop takes effect: the loop is at a head and is about to end as if exhausted.

        Args:
            run: The run.
            fit: The fit that ends.
            reason: Why, in the words of who asked.
            by: Who asked: a plugin's name, or ``"user"``.

        Cost: at most once a fit.
        """

    @hookspec
    def on_signal(self, run: Run, signal: int) -> None:
        """SIGTERM or SIGINT has arrived, and the loop is at a head where state is whole.

        After this event the user's own handler runs, or the default. Handlers are installed only
        while a plugin listens here, and only in the main thread.

        Args:
            run: The run.
            signal: The number, as in :mod:`signal`.

        Cost: once a signal. Listening costs nothing per batch.
        """

    # -- fit -------------------------------------------------------------------------------

    @hookspec
    def on_train_start(self, run: Run, fit: Fit) -> None:
        """A training loop has been recognised: its first optimizer step is about to happen.

        Models, optimizers and their learning rates are known and may be changed: what is set here
        holds for this first step. Iterations that went before it are delivered right after, with
        ``fit.replaying`` true; what was computed in them, and in the first batch before its step,
        is not. After a resume a plugin's state is already back: it must not be reset here.

        Args:
            run: The run.
            fit: The new fit, one execution of one training loop.

        Cost: once a fit.
        """

    @hookspec
    def on_train_end(self, run: Run, fit: Fit, how: How) -> None:
        """The training loop has been left; the code after it has not run yet.

        Args:
            run: The run.
            fit: The fit, its counters at their last values.
            how: How the loop was left; ``"stopped"`` where a stop ended it.

        Cost: once a fit.
        """

    @hookspec
    def on_epoch_start(self, run: Run, fit: Fit, epoch: int) -> None:
        """An iteration of the fit's outermost loop begins.

        Args:
            run: The run.
            fit: The fit.
            epoch: Index within the fit, from 0; after a resume it goes on where it was.

        Cost: once an epoch.
        """

    @hookspec
    def on_epoch_end(self, run: Run, fit: Fit, epoch: int, how: How) -> None:
        """The epoch's body has been left, its validations included; its metrics have arrived.

        State is whole: a stop asked for here ends the loop before the next epoch, and a
        checkpoint asked for here (``run.capture``) is taken after all listeners have run.

        Args:
            run: The run.
            fit: The fit.
            epoch: Index within the fit, from 0.
            how: How the body was left; ``"stopped"`` where a stop cut its batches short.

        Cost: once an epoch.
        """

    @hookspec
    def on_batch_start(self, run: Run, fit: Fit, batch: int, data: Any) -> None:
        """An iteration of the batch loop begins.

        Args:
            run: The run.
            fit: The fit.
            batch: Index within the epoch, from 0.
            data: What the loop's iterable gave for this iteration (without the counter of an
                ``enumerate``); None for a ``while`` loop and while ``fit.replaying``.

        Cost: hot. One call a listener and batch, unless it declares ``every``.
        """

    @hookspec
    def on_batch_end(self, run: Run, fit: Fit, batch: int, how: How) -> None:
        """The batch's body has been left: forward, backward and any steps in it are done.

        Args:
            run: The run.
            fit: The fit; ``fit.step`` already counts the steps of this batch.
            batch: Index within the epoch, from 0.
            how: How the body was left; only ``"finished"`` counts as a batch done.

        Cost: hot. Reading ``run.metrics["loss"]`` here waits for the device; declare ``every``.
        """

    # -- compute ---------------------------------------------------------------------------

    @hookspec
    def on_forward_start(self, run: Run, fit: Fit, model: Any, args: tuple[Any, ...],
                         kwargs: dict[str, Any]) -> None:
        """A trained root module is about to be called, in training or in validation.

        Args:
            run: The run.
            fit: The fit.
            model: The root module, one of ``fit.models``.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Cost: hot. Listening arms a module hook: about 5 us and 9 function calls a forward.
        """

    @hookspec
    def on_forward_end(self, run: Run, fit: Fit, model: Any, output: Any) -> None:
        """A trained root module has returned.

        Args:
            run: The run.
            fit: The fit.
            model: The root module.
            output: What it returned, graph attached: read it, never change it.

        Cost: hot, as :meth:`on_forward_start`.
        """

    @hookspec
    def on_backward_start(self, run: Run, fit: Fit, loss: Any) -> None:
        """A backward pass is about to run (``Tensor.backward`` or ``torch.autograd.backward``).

        Args:
            run: The run.
            fit: The fit.
            loss: The tensor that backward was called on (the first of several), graph attached.

        Cost: hot. Reading the value waits for the device.
        """

    @hookspec
    def on_backward_end(self, run: Run, fit: Fit, loss: Any) -> None:
        """A backward pass has ended; gradients have been accumulated.

        Args:
            run: The run.
            fit: The fit.
            loss: As in :meth:`on_backward_start`.

        Cost: hot.
        """

    # -- update ----------------------------------------------------------------------------

    @hookspec
    def on_optimizer_step_start(self, run: Run, fit: Fit, optimizer: Any) -> None:
        """``optimizer.step`` has been called and has changed nothing yet; gradients are final.

        Args:
            run: The run.
            fit: The fit.
            optimizer: The optimizer; a learning rate set here holds for this step.

        Cost: hot.
        """

    @hookspec
    def on_optimizer_step_end(self, run: Run, fit: Fit, optimizer: Any) -> None:
        """``optimizer.step`` has returned and is counted in ``fit.step``.

        Args:
            run: The run.
            fit: The fit.
            optimizer: The optimizer.

        Cost: hot.
        """

    @hookspec
    def on_optimizer_step_skipped(self, run: Run, fit: Fit, optimizer: Any) -> None:
        """A ``GradScaler`` found inf or NaN in the gradients and did not step.

        Known where the scaler decides on the host, as it does for every optimizer that is not
        fused.

        Args:
            run: The run.
            fit: The fit.
            optimizer: The optimizer that did not step.

        Cost: once a skipped step; nothing otherwise.
        """

    @hookspec
    def on_zero_grad(self, run: Run, fit: Fit, optimizer: Any) -> None:
        """``optimizer.zero_grad`` has returned. ``model.zero_grad`` is no such event.

        Args:
            run: The run.
            fit: The fit.
            optimizer: The optimizer.

        Cost: hot.
        """

    @hookspec
    def on_gradient_clip(self, run: Run, fit: Fit, norm: Any, limit: float) -> None:
        """``torch.nn.utils.clip_grad_norm_`` has returned.

        Args:
            run: The run.
            fit: The fit.
            norm: Total norm before clipping, a 0-dim tensor on its device; reading it waits.
            limit: The ``max_norm`` that was passed.

        Cost: hot in loops that clip.
        """

    @hookspec
    def on_scheduler_step(self, run: Run, fit: Fit, scheduler: Any) -> None:
        """A learning-rate scheduler of torch has stepped (the outermost one of a chain).

        Args:
            run: The run.
            fit: The fit.
            scheduler: The scheduler.

        Cost: once a scheduler step.
        """

    @hookspec
    def on_lr_change(self, run: Run, fit: Fit, optimizer: Any, group: int, old: float,
                     new: float) -> None:
        """A learning rate differs from the one of the step before, whoever changed it.

        Noticed when the optimizer steps, before the step that uses it.

        Args:
            run: The run.
            fit: The fit.
            optimizer: The optimizer.
            group: Index of the parameter group, from 0.
            old: Learning rate of the last step.
            new: Learning rate of the step to come.

        Cost: once a change. Listening costs one comparison a group and step, no call.
        """

    # -- validation ------------------------------------------------------------------------

    @hookspec
    def on_validation_start(self, run: Run, fit: Fit) -> None:
        """A trained model is evaluated: called in eval mode, without gradients or after batches.

        Args:
            run: The run.
            fit: The fit. ``fit.validations`` still counts the ones finished before.

        Cost: once a validation.
        """

    @hookspec
    def on_validation_end(self, run: Run, fit: Fit, metrics: Mapping[str, float]) -> None:
        """The validation is over: the model trains again, or its function or epoch has ended.

        Args:
            run: The run.
            fit: The fit.
            metrics: What arrived in it, by name. Reading a value waits for the device.

        Cost: once a validation.
        """

    @hookspec
    def on_validation_batch_start(self, run: Run, fit: Fit, batch: int) -> None:
        """A batch of a validation begins.

        Args:
            run: The run.
            fit: The fit.
            batch: Index within this validation, from 0.

        Cost: once a validation batch.
        """

    @hookspec
    def on_validation_batch_end(self, run: Run, fit: Fit, batch: int) -> None:
        """A batch of a validation is done.

        Args:
            run: The run.
            fit: The fit.
            batch: Index within this validation, from 0.

        Cost: once a validation batch.
        """

    # -- data out --------------------------------------------------------------------------

    @hookspec
    def on_log(self, run: Run, fit: Fit | None, metrics: Mapping[str, float],
               source: str) -> None:
        """Metrics have arrived. Each value counts once, when it is new.

        Args:
            run: The run.
            fit: The fit, or None outside one.
            metrics: New values by name. Reading one waits for the device.
            source: ``"log"`` (``hookcore.log``, ``run.log``, or a logger of the loop's own),
                ``"validation"`` (bound inside a validation), ``"epoch"`` (the epoch's own
                variables, or a helper's at its return) or ``"batch"`` (the batch loop's variables
                and what its bar shows, read on request).

        Cost: once an arrival.
        """

    # -- checkpoint ------------------------------------------------------------------------

    @hookspec
    def on_checkpoint_save(self, run: Run, fit: Fit, snapshot: Any) -> None:
        """State has been captured at a head. The plugin that persists writes it now.

        Args:
            run: The run.
            fit: The fit.
            snapshot: A :class:`hookcore.snapshot.Snapshot`; its tensors still alias the live
                ones and are valid during the call.

        Cost: once a checkpoint, plus the write.
        """

    @hookspec
    def on_checkpoint_saved(self, run: Run, fit: Fit, path: Any) -> None:
        """A checkpoint is on disk, verified by the loader that resume uses.

        Args:
            run: The run.
            fit: The fit.
            path: Its folder, a :class:`pathlib.Path`.

        Cost: once a checkpoint.
        """

    @hookspec
    def on_checkpoint_load(self, run: Run, path: Any) -> None:
        """A checkpoint has been read and verified, and the run will continue from it.

        Args:
            run: The run; nothing of the user's has run yet.
            path: The checkpoint's folder.

        Cost: once a resume.
        """

    @hookspec
    def on_resume(self, run: Run, fit: Fit, position: Mapping[str, Any]) -> None:
        """State has been restored and the loop goes on. Fires right after on_train_start.

        Of a training that had come to its end nothing else fires but its ``on_train_end``, so that
        what is done then is done again.

        Args:
            run: The run.
            fit: The fit, counters restored.
            position: Where the run stands: ``epoch`` (epochs done), ``step``, ``samples``, and the
                loop's place.

        Cost: once a resume.
        """


@attrs.frozen
class Event:
    """One hook of the contract.

    Attributes:
        name: Such as ``"on_batch_end"``.
        arguments: Names in the order of the spec.
        doc: The whole docstring.
    """

    name: str
    arguments: tuple[str, ...]
    doc: str

    @property
    def is_end(self) -> bool:
        """Whether it closes a span: listeners are then called in the reverse order."""
        return self.name.endswith("_end")


def _events() -> dict[str, Event]:
    found = {}
    for name, function in vars(Hookspecs).items():
        if name.startswith("on_"):
            arguments = tuple(inspect.signature(function).parameters)[1:]
            found[name] = Event(name, arguments, inspect.getdoc(function) or "")
    return found


EVENTS: dict[str, Event] = _events()
"""Every event by name, in the order of a training's life. ``adapt`` is no event."""


@attrs.frozen
class WayOut:
    """What one way of leaving a training loop means to the spans that are open.

    Attributes:
        cause: What happened.
        batch: ``how`` of the batch that was left.
        epoch: ``how`` of the epoch around it; None where the epoch goes on.
        train: ``how`` of the fit; None where the fit goes on.
        exception: Whether ``on_exception`` fires.
    """

    cause: str
    batch: How
    epoch: How | None
    train: How | None
    exception: bool = False


WAYS_OUT: tuple[WayOut, ...] = (
    WayOut("the batch loop is exhausted", "finished", None, None),
    WayOut("both loops are exhausted", "finished", "finished", "finished"),
    WayOut("continue in the batch loop", "finished", None, None),
    WayOut("break in the batch loop", "broke", None, None),
    WayOut("break in the epoch loop, after the batches", "finished", "broke", "broke"),
    WayOut("return in the batch loop", "returned", "returned", "returned"),
    WayOut("fit.stop(), from any event", "finished", "finished", "stopped"),
    WayOut("fit.stop(now=True) in a batch", "finished", "stopped", "stopped"),
    WayOut("an exception that the epoch's body catches", "exception", None, None),
    WayOut("an exception, KeyboardInterrupt included", "exception", "exception", "exception", True),
    WayOut("SystemExit", "exit", "exit", "exit"),
)
"""Each way of leaving a loop of two levels, and what the ends say. Where the batch loop alone is
left the epoch goes on and ends in its own way; the docs print this table."""
