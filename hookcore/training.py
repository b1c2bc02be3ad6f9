"""Run and Fit: what a plugin sees of a training, and what it can do with it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from hookcore.errors import Concern, HookcoreError
from hookcore.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hookcore.plugins import PluginRecord
    from hookcore.settings import ResumeMode, Settings

Role = Literal["epoch", "batch", "validation"]


@attrs.frozen
class Stop:
    """A stop that was asked for.

    Attributes:
        reason: Why, in the words of who asked.
        by: Who asked: a plugin's name, or ``"user"``.
        now: Whether the loops inside end too, at their next head.
    """

    reason: str
    by: str
    now: bool = False


class Host(Protocol):
    """What a host gives to Run and Fit. Implemented by adapters, not for plugins."""

    name: str

    def refresh(self) -> None:
        """Read the batch loop's variables at the end of the current batch."""

    def expect_capture(self) -> None:
        """A checkpoint is about to be asked for, at the next head."""

    def capture(self, reason: str) -> Any:
        """A Snapshot of this head, or None where the state can first be read at the next one."""

    def emergency(self, fit: Fit, reason: str) -> Any:
        """A Snapshot of the weights alone, after an exception."""

    def verdict(self, *, inside: bool = False) -> Concern | None:
        """Why a resume, or one in the middle of an epoch, is impossible, or None."""

    def copy_weights(self, fit: Fit) -> Any:
        """A copy of the trained models' weights and buffers, in memory."""

    def load_weights(self, fit: Fit, copy: Any) -> None:
        """Put a copy of weights back, in place."""

    def restore(self, snapshot: Any) -> None:
        """Continue from the snapshot when its loop is reached."""

    def where(self, role: Role) -> str | None:
        """File and line of the current fit's loop with that role."""


class Control(Protocol):
    """What Run and Fit ask of the run's life. Implemented by :class:`hookcore.life.Life`."""

    host: Host

    @property
    def speaker(self) -> str | None:
        """The plugin whose hook is running."""

    def wake(self) -> None:
        """Have the next head look for what was asked for."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Deliver metrics with source "log"."""

    def capture(self, reason: str) -> None:
        """Take a checkpoint at the next head."""

    def at_head(self, function: Callable[[], object], by: str) -> None:
        """Have the next head call a function; asked for from any thread."""

    def saved(self, path: Path) -> None:
        """A checkpoint is on disk."""

    def loaded(self, path: Path) -> None:
        """A checkpoint has been read, and the run will continue from it."""

    def tell(self, text: str, *, always: bool) -> None:
        """Write one of hookcore's own lines."""


class Fit:
    """One execution of one training loop, from its first iteration to its exit.

    Attributes:
        index: Number of the fit in its run, from 0.
        models: Root modules whose parameters are trained, in the order they were met.
        optimizers: Optimizers that have stepped or hold parameters of these models.
        schedulers: Learning-rate schedulers of these optimizers.
        scalers: ``GradScaler`` objects that are alive.
        loaders: DataLoaders that the fit's loops iterate over; none once the fit is over.
        epoch: Index of the current or last epoch, from 0; -1 before the first.
        batch: Index of the current or last batch in its epoch, from 0; -1 before the first.
        batches: Batches done since the fit began.
        step: Optimizer updates since the fit began.
        samples: Samples in the batches begun since the fit began; None where the loop's items do
            not tell.
        epochs_done: Epochs that finished.
        validations: Validations finished.
        total_epochs: Epochs to come in all, None where it cannot be known.
        total_batches: Batches of an epoch, None where it cannot be known.
        has_epochs: Whether the fit has a loop of epochs; without one, batches are all there is.
        observed: Whether no loop of it is seen: steps are all there is, and no stop ends it.
        replaying: True while events of iterations before the first step are delivered.
        in_validation: Whether a validation is open.
        stopped: The stop that was asked for, or None.
    """

    def __init__(self, index: int, control: Control) -> None:
        self.index = index
        self.models: tuple[Any, ...] = ()
        self.optimizers: tuple[Any, ...] = ()
        self.schedulers: tuple[Any, ...] = ()
        self.scalers: tuple[Any, ...] = ()
        self.loaders: tuple[Any, ...] = ()
        self.epoch = -1
        self.batch = -1
        self.batches = 0
        self.step = 0
        self.samples: int | None = None
        self.epochs_done = 0
        self.validations = 0
        self.total_epochs: int | None = None
        self.total_batches: int | None = None
        self.has_epochs = False
        self.observed = False
        self.replaying = False
        self.in_validation = False
        self.stopped: Stop | None = None
        self._control = control

    def __repr__(self) -> str:
        return f"<Fit {self.index}: epoch {self.epoch}, batch {self.batch}, step {self.step}>"

    def stop(self, reason: str, *, now: bool = False, by: str | None = None) -> None:
        """End this fit as if its outermost loop were exhausted, at that loop's next head.

        The loop's ``else`` runs, the code after it runs, and the function returns what it
        returns. No loop ends before its first iteration. The first stop asked for counts.

        Args:
            reason: Why, for people.
            now: End the loops inside too, each at its next head.
            by: Who asks; the plugin whose hook is running where left out.
        """
        if self.stopped is None or (now and not self.stopped.now):
            self.stopped = Stop(reason, by or self._control.speaker or "user", now)
            self._control.wake()

    def copy_weights(self) -> Any:
        """A copy of the trained models' parameters and buffers, in memory, on their devices.

        Cost: one copy of the weights.
        """
        return self._control.host.copy_weights(self)

    def load_weights(self, copy: Any) -> None:
        """Put a copy made by :meth:`copy_weights` back into the same models, in place."""
        self._control.host.load_weights(self, copy)

    def where(self, role: Role) -> str | None:
        """File and line of the fit's loop with this role, as ``train.py:31``; None without one."""
        return self._control.host.where(role)


class Run:
    """One call of an instrumented loop, one ``with hookcore.run()`` or one ``hookcore run``.

    Attributes:
        id: Unique text.
        name: Of the script or the function; default paths are made of it.
        folder: Working folder when the run began.
        argv: The script's arguments, empty for a function.
        host: What runs the training, ``"plain"`` here.
        settings: The frozen settings.
        plugins: One record a plugin, the blocked and broken ones included.
        rank: Of this process, from 0.
        world_size: Number of processes that train together.
        metrics: Everything that has arrived, each at its latest value.
        fit: The current or last fit, None before the first.
        fits: Fits begun.
        resume: What the user asked for: None, ``"auto"``, ``"must"`` or ``"weights"``.
        stopped: A stop for the whole run, or None.
        notes: Lines for the end of the run.
        failed: Whether something was lost that the exit code must tell.
        complete: Whether a resume found that nothing was left to train.
        grace_seconds: How long a signal waits for a head before it goes straight through.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        plugins: Sequence[PluginRecord] = (),
        claims: Mapping[str, str] | None = None,
        host: str = "plain",
        argv: Sequence[str] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.name = name
        self.folder = Path.cwd()
        self.argv = tuple(argv)
        self.host = host
        self.settings = settings
        self.plugins = tuple(plugins)
        self.rank = rank
        self.world_size = world_size
        self.fit: Fit | None = None
        self.fits = 0
        self.resume: ResumeMode | None = settings.resume
        self.stopped: Stop | None = None
        self.notes: list[str] = []
        self.failed = False
        self.complete = False
        self.grace_seconds = 30.0
        self.metrics = Metrics(self._refresh)
        self._claims = dict(claims or {})
        self._control: Control | None = None

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.id}>"

    @property
    def control(self) -> Control:
        """The run's life; for adapters."""
        if self._control is None:
            raise HookcoreError("the run has not begun", "", "use it inside a hook")
        return self._control

    def begin(self, control: Control) -> None:
        """Give the run its life; for adapters."""
        self._control = control

    def stop(self, reason: str, *, now: bool = False, by: str | None = None) -> None:
        """Stop the current fit and every later one, each as :meth:`Fit.stop` does."""
        if self.stopped is None:
            self.stopped = Stop(reason, by or self.control.speaker or "user", now)
        if self.fit is not None:
            self.fit.stop(reason, now=now, by=by)

    def log(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Deliver metrics to every listener, as ``on_log`` with source ``"log"``.

        Args:
            values: Numbers or one-element tensors by name; kept detached, read lazily.
            **named: The same, as keywords.
        """
        self.control.log({**(values or {}), **named})

    def say(self, text: str) -> None:
        """Write a line of hookcore's own to stderr, unless the run is quiet or not rank 0."""
        self.control.tell(text, always=False)

    def warn(self, text: str) -> None:
        """Write a line that is shown even when quiet."""
        self.control.tell(text, always=True)

    def note(self, text: str) -> None:
        """Add a line to the closing lines: what was written, and where."""
        self.notes.append(text)

    def fail(self, text: str) -> None:
        """Say that something was lost; ``hookcore run`` then ends with exit code 1."""
        self.failed = True
        self.warn(text)

    def holder(self, resource: str) -> str | None:
        """Who holds an exclusive resource, such as ``"lr"`` or ``"terminal"``.

        A plugin that claims a resource acts only while this is its own name. The user's own
        scheduler or progress bar takes it away.
        """
        return self._claims.get(resource)

    @property
    def claims(self) -> dict[str, str]:
        """Every exclusive resource and its holder."""
        return dict(self._claims)

    def take(self, resource: str, by: str) -> None:
        """Give a resource to another holder; for adapters, in the user's name."""
        self._claims[resource] = by

    def capture(self, reason: str) -> None:
        """Take a checkpoint at the fit's next head, where state is whole.

        Asked for inside ``on_epoch_end``, ``on_stop`` or ``on_signal`` it is taken at once, after
        the other listeners have run; inside ``on_exception`` it holds the weights alone.
        ``on_checkpoint_save`` delivers it.
        """
        self.control.capture(reason)

    def at_head(self, function: Callable[[], object], *, by: str) -> None:
        """Have the training's thread call a function, at the fit's next head.

        The way back for a thread of a plugin's own: everything else of a run belongs to the thread
        that trains. Where no head comes any more, the function is not called.

        Args:
            function: To call; isolated like a hook.
            by: The plugin's name.
        """
        self.control.at_head(function, by)

    def saved(self, path: Path) -> None:
        """Say that a checkpoint is on disk and verified; fires ``on_checkpoint_saved``."""
        self.control.saved(path)

    def restore(self, snapshot: Any, path: Path) -> None:
        """Continue from a snapshot. To be called in ``on_run_start``; fires ``on_checkpoint_load``.

        Plugins get their states at once; everything else is restored when the run reaches the
        snapshot's loop.

        Args:
            snapshot: What was read.
            path: The folder it was read from.

        Raises:
            UsageError: The snapshot belongs to other code.
        """
        self.control.host.restore(snapshot)
        self.control.loaded(path)

    def capture_verdict(self, *, inside: bool = False) -> Concern | None:
        """Why this run could not be resumed at an epoch's end, or None where it can.

        Known once a fit has begun. The text has its way out as ``remedy``, and ``lines`` has both.

        Args:
            inside: Ask for the middle of an epoch. Known in an ``on_train_start``, and what the
                loop's variables hold can still be against it when it is saved.
        """
        return self.control.host.verdict(inside=inside)

    def _refresh(self) -> None:
        if self._control is not None:
            self._control.host.refresh()
