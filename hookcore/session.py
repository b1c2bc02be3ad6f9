"""One run, from its settings to its closing lines."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hookcore import plugins as plugins_
from hookcore.dispatch import Dispatch, Failure
from hookcore.errors import UsageError
from hookcore.ledger import Ledger, receipt, resting
from hookcore.ledger.receipt import percent
from hookcore.life import Life
from hookcore.signals import Signals
from hookcore.training import Run

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from hookcore.hookspecs import How
    from hookcore.plugins import PluginRecord
    from hookcore.settings import Settings


class Adapter(Protocol):
    """What a session needs of the host that drives its run."""

    name: str

    def attach(self, run: Run, life: Life) -> None:
        """Begin to listen."""

    def detach(self) -> None:
        """Listen no more."""


class Session:
    """Opens a run, and closes it however it is left.

    Args:
        settings: Frozen settings.
        name: Of the script or function.
        host: The adapter, fresh.
        argv: The script's arguments.
        distributions: Where plugins are looked for; all that are installed by default.

    Raises:
        UsageError: What the user typed is wrong; nothing has begun.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        host: Any,
        argv: Sequence[str] = (),
        *,
        distributions: Iterable[Distribution] | None = None,
    ) -> None:
        loaded = plugins_.load(settings, distributions=distributions)
        if settings.resume is not None and not any(r.role == "persist" for r in loaded.order):
            raise UsageError(
                "--resume asks for a checkpoint, and no active plugin keeps any",
                f"active are: {', '.join(r.name for r in loaded.order) or 'none'}",
                "pip install hookcore-checkpoint     or leave out --resume",
            )
        self.settings = settings
        self.host = host
        self.run = Run(
            name=name,
            settings=settings,
            plugins=loaded.records,
            claims=loaded.claims,
            host=host.name,
            argv=argv,
            rank=_integer("RANK", 0),
            world_size=_integer("WORLD_SIZE", 1),
        )
        self._active = loaded.order
        self._rivals = loaded.rivals
        self.ledger: Ledger | None = None
        if settings.cost or settings.budget is not None:
            self.ledger = Ledger(settings.budget, self._over_budget)
        self.dispatch = Dispatch(
            loaded.manager,
            loaded.order,
            strict=settings.strict,
            on_failure=self._failed,
            on_pending=self._wake,
            ledger=self.ledger,
        )
        self.life = Life(self.run, self.dispatch, host, self._tell)
        self.off: list[Failure] = []
        self._open = False

    def open(self) -> Run:
        """Say what is about to happen, and begin.

        Raises:
            UsageError: A plugin says that what the user typed cannot work.
        """
        self._open = True
        self.host.attach(self.run, self.life)
        try:
            self._listen_to_signals()
            self._opening_lines()
            self.life.start_run()
        except BaseException:
            self._release()
            raise
        return self.run

    def close(self, how: How, error: BaseException | None = None) -> None:
        """End whatever is open, say how it went, take everything back."""
        if not self._open:
            return
        try:
            self.host.close_all(how)
            if how == "finished" and self.life.cut_short:
                how = "stopped"
            self.life.end_run(how, error)
            self._closing_lines(how)
        finally:
            self._release()
        if error is None:
            self.dispatch.raise_pending()  # no head came after it

    def _release(self) -> None:
        self._open = False
        self.host.detach()
        self.life.leave_signals()

    # -- signals ---------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        if not self.dispatch.listens("on_signal"):
            return
        if threading.current_thread() is threading.main_thread():
            self.life.signals = Signals(
                wanted=lambda: self.life.fit is not None,
                wake=self._wake,
                grace=lambda: self.run.grace_seconds,
            )
        else:
            self.run.say("outside the main thread SIGTERM and SIGINT are not listened to")

    def _wake(self) -> None:
        if hasattr(self, "life"):
            self.life.wake()

    # -- lines -----------------------------------------------------------------------------

    def _tell(self, text: str, always: bool) -> None:
        if self.run.rank == 0 and (always or not self.settings.quiet):
            # A closed or broken stderr loses our lines, never the training.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(f"hookcore: {text}\n")
                sys.stderr.flush()

    def _opening_lines(self) -> None:
        lines = []
        for record in self._active:
            try:
                about = plugins_.about(record, self.run)
            except Exception as error:  # noqa: BLE001 - a plugin's own words cost no training
                about = f"cannot say what it does: {traceback.format_exception_only(error)[-1]}"
            lines.append((record.name, about.strip()))
        width = max((len(name) for name, _ in lines), default=0)
        for name, about in lines:
            self._tell(f"{name:<{width}}  {about}  (off: -p no:{name})", False)
        for resource, names in self._rivals.items():
            for name in names:
                holder = self.run.holder(resource)
                self._tell(f"{name} stands down: {holder} has '{resource}'", False)

    def _closing_lines(self, how: How) -> None:
        run = self.run
        self._tell(self._ending(how), False)
        for note in run.notes:
            self._tell(f"  {note}", False)
        for failure in self.off:
            self._tell(f"  {failure.plugin} was switched off: {failure.line}", True)
        if self.ledger is not None:
            for line in resting(self.ledger):
                self._tell(f"  {line}", False)
            if self.settings.cost:
                self._tell(receipt(self.ledger), True)

    def _ending(self, how: How) -> str:
        run = self.run
        fit = run.fit
        if run.complete:
            return "nothing was left to train: the checkpoint is of the training's end"
        if fit is None:
            return "no training loop was recognised (see: hookcore explain)"
        counts = _count(fit.step, "step")
        if fit.has_epochs:
            counts = f"{_count(fit.epochs_done, 'epoch')}, {counts}"
        if self.life.cut_short and fit.stopped is not None:
            why = f"was stopped by {fit.stopped.by}: {fit.stopped.reason}"
        elif how in ("exception", "exit"):
            why = {"exception": "was left by an exception", "exit": "was left by an exit"}[how]
        else:
            why = "ended by itself"
        return f"training {why} ({counts})"

    def _over_budget(self, record: PluginRecord, share: float) -> None:
        """An observer has taken too much: say it once, with the way out."""
        self._tell(
            f"plugin {record.label} is over its budget; from now on it rests in some batches\n"
            f"    it has taken {percent(share)} of the training's time in its hooks of batches, "
            f"and may take {percent(self.settings.budget or 0.0)}\n"
            "  let it:  --budget off     switch it off:  "
            f"hookcore run -p no:{record.name} ...     see what takes the time:  --cost",
            True,
        )

    def _failed(self, failure: Failure, role: str) -> None:
        """A plugin raised: say it once, with the way out."""
        if role == "persist":
            self.run.failed = True
            consequence = "it will try again"
        else:
            self.off.append(failure)
            consequence = "it is switched off, the training goes on"
        self._tell(
            f"plugin {failure.label} raised in {failure.event}; {consequence}\n"
            + "".join(f"    {line}\n" for line in failure.text.rstrip().splitlines())
            + f"  run without it:  hookcore run -p no:{failure.plugin} ...     "
            "end the run instead:  --strict",
            True,
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _integer(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default


