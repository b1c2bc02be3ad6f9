"""A fit is recognised: its roles, its objects, and the iterations that went before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hookcore.plain import gate, switches, table
from hookcore.plain.roles import Roles, assign, may_have_role
from hookcore.plain.sites import (
    ForLoop,
    Loop,
    LoopRole,
    counts,
    draws_own_bar,
    loaders_in,
)

if TYPE_CHECKING:
    from hookcore.hookspecs import How
    from hookcore.plain.adapter import Plain
    from hookcore.plain.resume.pending import Pending
    from hookcore.training import Fit


class Recognition:
    """Learns at a fit's first step what its loops are, and remembers it while the fit lasts.

    Attributes:
        roles: The loops of the fit that is open, None between fits.
        by_call: Whether the calls of the instrumented function are the epochs.
        modes: Gradient modes by which an evaluation may begin inside a batch. In a loop of one
            level all of them are there; none in others.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.roles: Roles | None = None
        self.by_call = False
        self.modes: frozenset[str] = frozenset()
        self._known: dict[int, LoopRole] = {}

    @property
    def one_level(self) -> bool:
        """Whether the fit's outermost loop is its batch loop."""
        roles = self.roles
        return roles is not None and roles.outer is roles.batch and not self.by_call

    def forget(self) -> None:
        """The fit is over."""
        self.roles = None
        self.by_call = False
        self.modes = frozenset()
        self._known.clear()

    def role_on_entry(self, loop: Loop) -> LoopRole | None:
        """What a loop is as it begins: known from before in this fit, or nothing yet.

        The outermost loop's second entry is another fit. One loop that trains or tests by a flag
        is nothing until a step tells.
        """
        if loop.said == "validation" and self.roles is not None:
            return "validation"
        role = self._known.get(loop.site.id)
        taps = self._host.taps
        if role not in ("batch", "between") or self.one_level or self._host.life.in_batch:
            return None
        return None if taps is not None and taps.evaluating() else role

    def left(self, loop: Loop) -> None:
        """A loop without a role is over: count its iterations, for a replay."""
        if self.roles is not None or not self._host.stack:
            return
        outer = self._host.stack[-1]
        run = outer.history.setdefault(outer.index, {})
        run[loop.site.id] = run.get(loop.site.id, 0) + loop.index + 1 - loop.first
        for inside in loop.history.values():
            for site_id, n in inside.items():
                run[site_id] = run.get(site_id, 0) + n

    def trains_elsewhere(self, site: int) -> bool:
        """Whether a loop without a role, in an epoch, is one that trains at other entries."""
        life = self._host.life
        known = self._known.get(site) == "batch" and not self.one_level
        return known and life.in_epoch and not life.in_batch

    def joined(self, stack: Sequence[Loop]) -> None:
        """A step in a loop that has no role, inside an epoch: it is a batch loop after all.

        It looked like an evaluation as it began, or is the epoch's second loop that trains.
        """
        host = self._host
        for loop in reversed(stack):
            if loop.role not in (None, "validation"):
                break
            host.evaluation.trains(loop)
        if host.life.in_batch or not host.life.in_epoch:
            return
        candidates: list[Loop] = []
        for loop in reversed(stack):
            if loop.role in ("epoch", "between", "both"):
                break
            if may_have_role(loop):
                candidates.append(loop)
        while len(candidates) > 1 and candidates[0].over_models:
            candidates.pop(0)
        if candidates:
            loop = candidates[0]
            loop.role = self._known[loop.site.id] = "batch"
            if type(loop) is ForLoop:
                loop.__class__ = host.batch_loop
            self._replay(loop.index - loop.first)
            host.life.start_batch()

    def learn(self, optimizer: Any, *, in_batch: bool = True) -> None:
        """The first step of a fit is about to happen.

        Args:
            optimizer: What is about to step; None where there is none: a backward pass has taught,
                or a loop that is declared.
            in_batch: Whether a batch's body is running.
        """
        with self._host.life.dispatch.own("recognition"):
            self._learn(optimizer, in_batch=in_batch)

    def _learn(self, optimizer: Any, *, in_batch: bool) -> None:
        host = self._host
        taps = host.taps
        loops = [loop for loop in host.stack if may_have_role(loop)]
        if not loops:
            host.unfollowed.no_loop(optimizer)
        if not loops or host.unfollowed.around(loops[-1].frame, optimizer):
            return
        host.unfollowed.over()
        if taps is not None and optimizer is not None:
            taps.take_turns(host.stack, optimizer)
        born = -1 if taps is None else taps.born(optimizer)
        roles = assign(host.stack, born)
        if roles is None:
            return
        host.heads.trains(roles.batch)
        self.roles = roles
        # What is born inside the call is trained by this call alone; and a loop that counts steps
        # is no pass over data.
        self.by_call = host.calls and not roles.epochs and born < 0 and not counts(roles.batch)
        self._assign(roles)
        fit = host.life.new_fit()
        fit.has_epochs = roles.epochs or self.by_call
        fit.total_epochs = roles.outer.total if roles.epochs else None
        if not roles.between and not (roles.epochs and roles.outer is roles.batch):
            fit.total_batches = roles.batch.total
        fit.samples = roles.batch.samples
        if taps is not None:
            taps.survey(fit, optimizer)
            fit.loaders = tuple(
                taps.loaders(x for loop in host.stack for x in loaders_in(loop.iterable))
            )
        for loop in host.stack:
            if loop.role is not None and draws_own_bar(loop.iterable):
                host.run.take("terminal", f"the loop's own bar at {loop.site.where}")
        if roles.epochs:
            gate.tails[roles.outer.site.id] = None
            if host.heads.noted:
                host.shown.ask_for_checkpoints(roles.between)
        gate.frames.update(dict.fromkeys(table.FUNCTIONS))
        host.loggers.look()
        self._start(fit, roles, in_batch=in_batch)
        host.evaluation.began()
        self.look_for_modes()
        if taps is not None:
            taps.batches_begin()

    def _assign(self, roles: Roles) -> None:
        for loop in roles.between:
            loop.role = "between"
        if roles.outer is roles.batch:
            roles.outer.role = "both" if roles.epochs else "batch"
        else:
            roles.outer.role, roles.batch.role = "epoch", "batch"
        if roles.batch.role == "batch" and type(roles.batch) is ForLoop:
            roles.batch.__class__ = self._host.batch_loop
        for loop in (roles.outer, *roles.between, roles.batch):
            if loop.role is not None:
                self._known[loop.site.id] = loop.role

    def look_for_modes(self) -> None:
        """Read in the project's files by what an evaluation may begin inside a batch."""
        roles = self.roles
        if roles is not None and self.one_level:
            self.modes = switches.untold(roles.batch)

    def resume(self, pending: Pending) -> None:
        """A checkpoint inside an epoch is back: its fit goes on, before its next batch begins."""
        optimizer = pending.optimizer
        if optimizer is None:
            return
        loop = self._host.stack[-1]
        loop.inside = True  # for those who ask
        try:
            self.learn(optimizer, in_batch=False)
        finally:
            loop.inside = False

    def over(self, pending: Pending, loop: Loop, how: How) -> None:
        """A checkpoint of the training's end is back: its fit goes on, and ends at once.

        Args:
            pending: The checkpoint.
            loop: The fit's outermost loop, which has ended.
            how: How it was left.
        """
        host, life = self._host, self._host.life
        host.run.fits = pending.position["fit"]
        fit = life.new_fit()
        fit.has_epochs = pending.position["epochs_done"] > 0
        fit.total_epochs = loop.total if fit.has_epochs else None
        fit.models = pending.live("models")
        fit.optimizers = pending.live("optimizers")
        pending.count(fit)
        host.run.complete = True
        life.start_fit(fit)
        pending.fit_began(fit)
        life.end_fit(how)
        host.fit_ended()
        life.leave_signals()

    def _start(self, fit: Fit, roles: Roles, *, in_batch: bool) -> None:
        """Start the fit and deliver every iteration since its loops were entered, in order."""
        host, life = self._host, self._host.life
        resumed = host.pending if host.pending is not None and host.pending.done else None
        if resumed is not None:
            resumed.count(fit)
            host.pending = None
        elif host.pending is not None and host.pending.weights_only:
            host.pending.load_weights(fit)
            host.pending = None
        elif host.pending is not None:
            host.pending.missed(fit)
        host.run.complete = False
        life.start_fit(fit)
        if resumed is not None:
            resumed.fit_began(fit)
        fit.replaying = True
        outer, batch = roles.outer, roles.batch

        def start_epoch(index: int) -> None:
            life.start_epoch()
            if resumed is not None and index == outer.first:
                resumed.epoch_began(fit)

        if outer is batch:
            self._replay_one_level(roles)
        else:
            for i in range(outer.first, outer.index):
                start_epoch(i)
                self._replay(_counted(outer, i, batch))
                life.end_epoch("finished")
            start_epoch(outer.index)
            earlier = _counted(outer, outer.index, batch) + sum(
                _counted(loop, i, batch) for loop in roles.between for i in range(loop.index + 1)
            )
            self._replay(earlier + batch.index - batch.first)
            if in_batch:
                life.start_batch()
        fit.replaying = False
        for loop in host.stack:
            loop.history.clear()

    def _replay_one_level(self, roles: Roles) -> None:
        life, loop = self._host.life, roles.batch
        if self.by_call:
            life.start_epoch()
        for _ in range(loop.first, loop.index):
            if roles.epochs:
                life.start_epoch()
            self._replay(1)
            if roles.epochs:
                life.end_epoch("finished")
        if roles.epochs:
            life.start_epoch()
        life.start_batch()

    def _replay(self, batches: int) -> None:
        life = self._host.life
        for _ in range(batches):
            life.start_batch()
            life.end_batch("finished")


def _counted(loop: Loop, iteration: int, batch: Loop) -> int:
    """Iterations of the batch loop inside one iteration of a loop around it."""
    return loop.history.get(iteration, {}).get(batch.site.id, 0)
