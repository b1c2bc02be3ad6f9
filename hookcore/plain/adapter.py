"""The host of plain loops: what happens at sites and in torch becomes the life of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from hookcore.plain import gate, table
from hookcore.plain.declared import Declared
from hookcore.plain.evaluation import Evaluation
from hookcore.plain.idle import Idle
from hookcore.plain.overrides import Overrides
from hookcore.plain.recognition import Recognition
from hookcore.plain.resume.heads import Heads
from hookcore.plain.scalars import Scalars
from hookcore.plain.shown import Shown
from hookcore.plain.sites import BatchLoop, ForLoop, Loop, MeasuredBatchLoop, WhileLoop, loaders_in
from hookcore.plain.sizes import reader_for, size_of
from hookcore.plain.taps.loggers import Loggers
from hookcore.plain.unfollowed import Unfollowed

if TYPE_CHECKING:
    from hookcore.errors import Concern
    from hookcore.hookspecs import How
    from hookcore.life import Life
    from hookcore.plain.resume.pending import Pending
    from hookcore.plain.taps.taps import Taps
    from hookcore.training import Fit, Role, Run

_PLAIN = frozenset({int, float, str, bytes, type(None)})
"""Items of a loop that hold neither samples nor a model."""


class Plain:
    """One run's view of the loops that run in its thread.

    Sites report here through the gate, torch through the taps. What they tell becomes calls of
    the run's :class:`~hookcore.life.Life`.

    Attributes:
        run: The run.
        life: Fires the events.
        thread: The thread the run belongs to.
        stack: Loops that are running, outermost first.
        recognition: What the current fit's loops are.
        evaluation: Which spans are validations.
        scalars: Variables as metrics.
        loggers: What the loop logs as metrics.
        taps: Torch's hooks; None until torch is loaded.
        pending: A checkpoint that waits for its loop, or None.
        clock: Counts iterations begun; tells what was born before what.
        unusual: Whether the batch loop's next head must take the long way; always so while a
            validation is open that a function's return may end.
        sizes: Reads the number of samples off a batch, None where items do not tell.
        shown: What frames show of their names.
        given: Values that generated code takes back into a frame.
        calls: Whether calls of the instrumented function may be the epochs.
        batch_loop: What a ``for`` becomes that is known as the batch loop.
        overrides: What the user says of loops by their places.
        unfollowed: What trains where no loop is seen.
        observes: Whether steps without loops may be a fit.
        evaluated_at: Sites of loops that validated, in the order they were met.
        heads: Heads of loops, where a checkpoint can be taken.
        idle: Loops that are let be.
    """

    name = "plain"
    observes = True

    def __init__(self, *, calls: bool = False) -> None:
        self.run: Run
        self.life: Life
        self.thread = get_ident()
        self.stack: list[Loop] = []
        self.recognition = Recognition(self)
        self.evaluation = Evaluation(self)
        self.scalars = Scalars()
        self.loggers = Loggers(self)
        self.taps: Taps | None = None
        self.pending: Pending | None = None
        self.clock = 0
        self.unusual = False
        self.sizes: Callable[[Any], int | None] | None = None
        self.shown = Shown(self)
        self.given: dict[str, Any] = {}
        self.calls = calls
        self.batch_loop: type[BatchLoop] = BatchLoop
        self.overrides = Overrides({})
        self.unfollowed = Unfollowed(self)
        self.evaluated_at: dict[int, None] = {}
        self.heads = Heads(self)
        self.idle = Idle(self)
        self._cut = False
        self._resumed: Loop | None = None

    # -- the run ---------------------------------------------------------------------------

    def attach(self, run: Run, life: Life) -> None:
        """Begin to listen; the run's first event has not fired yet."""
        self.run, self.life = run, life
        self.overrides = Overrides(run.settings.loops)
        if life.dispatch.ledger is not None:
            self.batch_loop = MeasuredBatchLoop
        self.heads.noted = life.events.on_checkpoint_save is not None
        gate.open_for(self, table.while_sites)
        self.notice_torch()

    def detach(self) -> None:
        """Listen no more: every hook and patch is taken back."""
        gate.open_for(None, table.while_sites)
        self.loggers.undo()
        if self.taps is not None:
            self.taps.disarm()
        self.stack.clear()
        self.recognition.forget()

    def close_all(self, how: How) -> None:
        """The run ends: close loops that were left without a word."""
        while self.stack:
            self._close(self.stack[-1], "broke" if how in ("finished", "stopped") else how)
        if self.pending is not None and how in ("finished", "stopped"):
            self.pending.ended(self.run)
        self.unfollowed.say()
        self.overrides.tell_strays(self.run)

    def notice_torch(self) -> None:
        """Arm the taps as soon as torch is there; importing it is the user's to do."""
        if self.taps is not None and "torchdata.stateful_dataloader" in sys.modules:
            self.taps.torchdata_came()
        torch = sys.modules.get("torch")
        if torch is not None and not _importing(torch):
            self.torch_came()

    def file_came(self) -> None:
        """Another file of the user's is about to run, imported by a loop perhaps."""
        self.recognition.look_for_modes()
        if self.taps is not None:
            self.taps.hear_modes()

    def torch_came(self) -> None:
        """Torch has been imported: arm the taps."""
        if self.taps is None:
            from hookcore.plain.taps.taps import Taps

            gate.use_torch()
            self.taps = Taps(self)
            self.taps.arm()
            if self.life.dispatch.ledger is not None:
                from hookcore.plain.taps.reads import Reads

                meter = self.life.dispatch.ledger.meter
                meter.watch = Reads(meter)

    def mine(self) -> bool:
        """Whether the caller is in this run's thread, in the process that opened it."""
        return gate.live() is self

    # -- what the gate calls ---------------------------------------------------------------

    def each(self, site_id: int, iterable: Iterable[Any], frame: int) -> Iterable[Any]:
        """A ``for`` is about to begin over ``iterable``."""
        return self._for_loop(table.SITES[site_id], iterable, frame)

    def declared(self, declared: Declared[Any], site: table.Site) -> Iterable[Any]:
        """A loop that is not rewritten runs over ``hookcore.epochs(...)`` or ``batches(...)``."""
        for loop in self.stack:
            if loop.frame == declared.frame and loop.declared and loop.said == declared.role:
                # No epoch lies in an epoch: a break, of which nothing told, has left that one.
                self._unwind_above(loop, "broke")
                self._close(loop, "broke")
                break
        loop = self._for_loop(site, declared, declared.frame)
        loop.declared = True
        return loop

    def again(self, site_id: int, frame: int) -> bool:
        """A ``while`` is at its head; False ends it."""
        loop = self._topmost(site_id, frame)
        if loop is None:
            self.shown.take(site_id)  # what its last entry asked for
            self.notice_torch()
            loop = WhileLoop(self, table.SITES[site_id], frame)
            loop.said = self.overrides.role(loop.site)
            loop.role = self.recognition.role_on_entry(loop)
            self.enter(loop)
            return True
        if loop.inside:
            loop.inside = False
            return not self.iteration_ended(loop, "finished")
        return True

    def begin(self, site_id: int) -> bool:
        """A ``while``'s condition held; False where the restoring of a checkpoint comes first."""
        loop = self._topmost(site_id)
        if loop is not None:
            self._unwind_above(loop, "broke")
            loop.index += 1
            loop.inside = True
            self.iteration_began(loop, None)
        return site_id not in gate.back

    def left(self, site_id: int, frame: int) -> None:
        """Control came past the loop; if it is still inside, a ``break`` ended it."""
        loop = self._topmost(site_id, frame)
        if loop is not None:
            self._close(loop, "broke" if loop.inside else "finished")
            loop.forget()

    def failed(self, site_id: int, error: BaseException | None, frame: int) -> None:
        """An exception leaves the loop."""
        loop = self._topmost(site_id, frame)
        if loop is not None:
            self._close(loop, "exit" if isinstance(error, SystemExit) else "exception")
            loop.forget()

    def returned(self, function: int, site_id: int | None, frame: int) -> None:
        """A function returns, from inside a loop where ``site_id`` is given."""
        life = self.life
        validating = life.in_validation
        seen = self.shown.take(function) if function in self.shown.seen else {}
        if life.fit is not None and (seen or self.evaluation.open):
            self.evaluation.returned(frame, self.scalars.returned(function, seen, validating))
        if life.in_batch and not validating:
            gate.frames.pop(function, None)  # it is called in batches: no helper of the epochs
        loop = None if site_id is None else self._topmost(site_id, frame)
        if loop is not None:
            if seen:  # the variables of the function's loops are among them
                own = (inner.site.id for inner in self.stack if inner.frame == frame)
                self.shown.seen.update(dict.fromkeys(own, seen))
            self._close(loop, "returned")

    def returning(self, site_id: int, frame: int) -> None:
        """A function of which nothing else is heard returns from inside a loop."""
        loop = self._topmost(site_id, frame)
        if loop is not None:
            self._close(loop, "returned")

    def see_globals(self, site_id: int) -> None:
        """A loop at module level shows its module's names."""
        self.shown.seen[site_id] = dict(vars(sys.modules[table.SITES[site_id].module]))

    def write_back(self, site_id: int) -> None:
        """A frame has shown its names and takes the checkpoint's values for them."""
        gate.back.pop(site_id, None)
        gate.tails.pop(site_id, None)
        if self.pending is not None:
            self.given = self.pending.put_back(self.shown.take(site_id))

    # -- loops -----------------------------------------------------------------------------

    def enter(self, loop: Loop) -> None:
        """A loop is at its first head."""
        above = self.stack[-1] if self.stack else None
        if above is not None and above.site.kind == "comprehension" != loop.site.kind:
            self._leave_comprehension(above, loop)
        self.stack.append(loop)
        loop.since = self.clock
        self.heads.entered(loop, above)
        if self.pending is not None and self.pending.reached(loop):
            if self.pending.iteration >= 0:
                gate.back[loop.site.id] = gate.tails[loop.site.id] = None
            else:
                self.pending.begins(loop)
        elif loop.role == "batch" and self.taps is not None:
            if self.unusual:
                self.evaluation.batches_began()
            self.taps.batches_begin()
        elif self.unfollowed.observing and self.taps is not None:
            self.taps.doubt()
        elif loop.role is None and self.life.in_batch:
            self._watch_inside_batch(loop)

    def fetch(self, loop: ForLoop) -> Any:
        """The loop's next item; after a resume, that of its last finished iteration."""
        assert loop.iterator is not None
        if loop.index < 0 and loop.site.id in gate.back and self.pending is not None:
            return self.pending.wind(loop)
        return next(loop.iterator)

    def iteration_began(self, loop: Loop, item: Any) -> None:
        """An iteration's body is about to run."""
        self.clock += 1
        loop.began = self.clock
        role = loop.role
        life = self.life
        if role is None:
            if self.recognition.roles is None:
                self._watch_unknown(loop, item)
            return
        if role == "validation":
            if loop.said == "validation":
                self.evaluation.declared(loop)
            return  # else a batch of it begins when the model is called
        if self.unusual and role != "between":
            self.evaluation.over()
        if role in ("epoch", "both"):
            life.start_epoch()
        if role in ("batch", "both"):
            self.count_samples(life.fit, loop, item)
            life.start_batch(self.data(loop, item))

    def iteration_ended(self, loop: Loop, how: How) -> bool:
        """An iteration's body has been left; True where the loop must end here."""
        self._unwind_above(loop, "broke" if how == "finished" else how)
        names = self.shown.take(loop.site.id)
        if self.pending is not None and self.pending.went_back(loop):
            if self.pending.done:
                self._resumed = self.pending.outermost
                self.recognition.resume(self.pending)
            return False
        if loop.role is None and self.life.fit is None and how == "finished":
            self._learn_without_step(loop)
        role, life = loop.role, self.life
        if role is None and how == "finished" and self._may_evaluate(loop):
            self.evaluation.passed(loop)
        if role == "validation":
            life.end_validation_batch()
        if role in (None, "validation") or life.fit is None:
            loop.prologue = None  # that of another iteration: the next one begins elsewhere
            return False
        self._deliver(loop, self.shown.heard(loop, names))
        if role in ("batch", "both"):
            life.end_batch(how)
        if role != "between" and (role != "batch" or self.recognition.one_level):
            self.evaluation.happened = False
            self.shown.seen.clear()  # what no return came for: its value could not be computed
        if role == "epoch":
            self.loggers.look()
        if role in ("epoch", "both"):
            life.end_epoch("stopped" if self._cut and how == "finished" else how)
            self._cut = False
        self.heads.names = names
        try:
            ends = how == "finished" and life.attention and self.attend(loop)
        finally:
            self.heads.names = {}
        if how == "finished" and not ends:
            self.heads.passed(loop, names)
        return ends

    def attend(self, loop: Loop) -> bool:
        """Look after what was asked for, at this loop's head; True where the loop must end."""
        life, fit, roles = self.life, self.life.fit, self.recognition.roles
        self.heads.at = loop
        try:
            life.attend()
            if fit is None or roles is None or fit.stopped is None:
                return False
            if self.recognition.by_call:
                ends = fit.stopped.now or self._cut
            else:
                ends = loop is roles.outer or fit.stopped.now
            if loop is roles.outer and not self.recognition.by_call:
                life.stop_takes_effect()
            elif ends:
                self._cut = True
            if ends:
                self.leave(loop, "stopped")
            return ends
        finally:
            self.heads.at = None

    def leave(self, loop: Loop, how: How) -> None:
        """A loop is over."""
        if loop not in self.stack:
            return
        self._unwind_above(loop, "broke" if how in ("finished", "stopped") else how)
        self.stack.pop()
        if self.pending is not None and loop is self._resumed:
            pending, self.pending = self.pending, None
            self.recognition.over(pending, loop, how)  # its last iteration was the last of all
        recognition = self.recognition
        roles = recognition.roles
        if roles is not None and loop is roles.outer and not recognition.by_call:
            self.evaluation.over()
            self.life.end_fit(how)
            self.fit_ended()
            self.life.leave_signals()
        elif loop.role == "batch" and self.taps is not None:
            self.taps.batches_end()
        if loop.role is None:
            self.recognition.left(loop)
            self.idle.left(loop)
        # It may go on unwatched: a `finally` overrules a return, or the run ends before the loop.
        loop.role = None
        if isinstance(loop, BatchLoop):
            loop.__class__ = ForLoop  # type: ignore[assignment] # same layout, the way it came

    def fit_ended(self) -> None:
        """Forget the fit: nothing of it is kept alive."""
        self.recognition.forget()
        self.evaluation.reset()
        self.sizes = None
        self.loggers.forget()
        self.shown.forget()
        self.heads.forget()
        self.idle.look_again()
        self.unusual = self._cut = False
        for loop in self.stack:
            loop.backward_in = -1
        if self.taps is not None:
            self.taps.fit_ended()

    def count_samples(self, fit: Fit | None, loop: Loop, item: Any) -> None:
        """Add a batch's samples to the fit's, learning once where a batch tells its size."""
        if fit is None or (fit.samples is None and fit.batches):
            return
        if self.sizes is None:
            self.sizes = reader_for(item, enumerated=type(loop.iterable) is enumerate)
        size = self.sizes(item)
        fit.samples = None if size is None else (fit.samples or 0) + size

    def trained(self) -> None:
        """The model trains: what looked like a validation is over."""
        self.evaluation.trained()

    # -- what Run and Fit ask for ----------------------------------------------------------

    def refresh(self) -> None:
        """Have the batch loop show its variables at the end of its current iteration."""
        self.shown.ask_batches()

    def expect_capture(self) -> None:
        """Have the fit's loops show their names at the end of their current iterations."""
        self.heads.expect()

    def capture(self, reason: str) -> Any:
        """A snapshot of the head that is attended to, or None: at the next one."""
        return self.heads.capture(reason)

    def emergency(self, fit: Fit, reason: str) -> Any:
        """Weights alone, after an exception."""
        from hookcore.plain.resume import state

        return state.emergency(self, fit, reason)

    def verdict(self, *, inside: bool = False) -> Concern | None:
        """Why a resume at this fit's outermost loop, or inside it, is impossible, or None."""
        from hookcore.plain.resume import state

        return state.verdict(self, inside=inside)

    def restore(self, snapshot: Any) -> None:
        """Continue from a snapshot when its loop is reached."""
        from hookcore.plain.resume.pending import Pending

        self.pending = Pending(self, snapshot)

    def copy_weights(self, fit: Fit) -> Any:
        """A copy of the trained models' weights, in memory."""
        from hookcore.plain import weights

        return weights.copy(fit.models)

    def load_weights(self, fit: Fit, copy: Any) -> None:
        """Put a copy back, in place."""
        from hookcore.plain import weights

        weights.load(fit.models, copy)

    def where(self, role: Role) -> str | None:
        """File and line of the loop with this role."""
        roles = self.recognition.roles
        if role == "validation":
            return next((table.SITES[site].where for site in self.evaluated_at), None)
        if roles is None or (role == "epoch" and not roles.epochs):
            return None
        return (roles.outer if role == "epoch" else roles.batch).site.where

    # -- calls as epochs -------------------------------------------------------------------

    def call_began(self) -> None:
        """The instrumented function is called again: another epoch of the same fit."""
        if self.life.fit is not None and self.recognition.by_call:
            self.evaluation.over()
            self.life.start_epoch()

    def call_ended(self, how: How) -> None:
        """The call is over, and with it the epoch."""
        life = self.life
        if life.fit is None or not self.recognition.by_call:
            return
        self._deliver_drawn()
        life.end_epoch("stopped" if self._cut and how == "finished" else how)
        if how == "finished" and life.attention:
            life.attend()
            if life.fit.stopped is not None and not self._cut:
                life.stop_takes_effect()
                self._cut = True

    # -- inside ----------------------------------------------------------------------------

    def data(self, loop: Loop, item: Any) -> Any:
        """What a batch is made of: the item, without the counter of an ``enumerate``."""
        return item[1] if type(loop.iterable) is enumerate else item

    def _for_loop(self, site: table.Site, iterable: Any, frame: int) -> ForLoop:
        self.notice_torch()
        said = self.overrides.role(site)
        if type(iterable) is Declared:
            said, iterable = iterable.role, iterable.iterable
        loop = ForLoop(self, site, frame, iterable)
        loop.said = said
        loop.role = self.recognition.role_on_entry(loop)
        if loop.role == "batch":
            loop.__class__ = self.batch_loop
        return loop

    def _leave_comprehension(self, above: Loop, loop: Loop) -> None:
        """No statement stands in a comprehension: an exception, of which nothing told, left it."""
        if above.frame == loop.frame:
            self._close(above, "exception")

    def _watch_inside_batch(self, loop: Loop) -> None:
        """A loop begins inside a batch: without training going on in it, it may be a validation."""
        taps = self.taps
        if taps is not None and (taps.evaluating() or self.evaluation.may_go_over_data(loop)):
            taps.watch()

    def _watch_unknown(self, loop: Loop, item: Any) -> None:
        """Before a fit is known: what its first step will want to know of this loop."""
        plain = type(item) in _PLAIN
        size = None if plain else size_of(self.data(loop, item))
        loop.samples = None if size is None else (loop.samples or 0) + size
        loop.key = item if type(item) in (int, str) else None
        if self.taps is not None:
            loop.over_models = not plain and self.taps.trains_itself(item)
        elif loop.said == "batch":
            self.recognition.learn(None)

    def _learn_without_step(self, loop: Loop) -> None:
        """An iteration is over in which nothing stepped: its loop is declared, or trains by hand.

        A backward alone teaches only where no optimizer is alive: otherwise it may be one of
        several whose gradients add up to a step.
        """
        taps = self.taps
        by_hand = loop.backward_in == loop.index and taps is not None and taps.without_optimizer()
        if by_hand or loop.said in ("epoch", "batch"):
            loop.inside = True  # for those who ask: the iteration is just being left
            self.recognition.learn(None)
            loop.inside = False

    def _may_evaluate(self, loop: Loop) -> bool:
        """Whether a loop may be an evaluation that no module tells of.

        It trains nothing, and goes over a loader where no module is trained; or it trains at its
        other entries, and calls ``model.forward(x)``, of which no hook hears.
        """
        fit = self.life.fit
        if fit is None or loop.backward_in == loop.index:
            return False
        if fit.models:
            return self.recognition.trains_elsewhere(loop.site.id)
        return bool(loaders_in(loop.iterable))

    def _deliver(self, loop: Loop, names: dict[str, Any]) -> None:
        """The variables that the iteration bound, and the validation that it closes."""
        life, role = self.life, loop.role
        if names or self.unusual:
            if role == "batch":
                self.shown.no_more(loop)
            arrivals = self.scalars.ended(loop, names, self.evaluation.counts)
            if role == "epoch":
                self._deliver_drawn()
            else:
                arrivals.before.update(self.loggers.drawn_in_batch())
            if arrivals.before:
                life.arrived(arrivals.before, "epoch" if role in ("epoch", "both") else "batch")
            if role == "between":
                if arrivals.since:
                    life.arrived(arrivals.since, "validation")
            else:
                self.evaluation.over(arrivals)

    def _deliver_drawn(self) -> None:
        """What bars have last shown in the epoch's batches."""
        drawn = self.loggers.drawn_in_batch()
        if drawn:
            self.life.arrived(drawn, "batch")

    def _topmost(self, site_id: int, frame: int | None = None) -> Loop | None:
        for loop in reversed(self.stack):
            if loop.site.id == site_id and frame in (None, loop.frame):
                return loop
        return None

    def _close(self, loop: Loop, how: How) -> None:
        if loop.inside:
            loop.inside = False
            self.iteration_ended(loop, how)
        self.leave(loop, how)

    def _unwind_above(self, loop: Loop, how: How) -> None:
        """Close loops inside that were left without a word: comprehensions, declared loops."""
        if self.stack and self.stack[-1] is not loop and loop in self.stack:
            while self.stack[-1] is not loop:
                inner = self.stack[-1]
                raised = how == "broke" and inner.site.kind == "comprehension"  # it has no break
                self._close(inner, "exception" if raised else how)


def _importing(module: Any) -> bool:
    spec = getattr(module, "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
