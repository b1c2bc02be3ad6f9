"""The accounts of one run, and what its observers may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from hookcore.ledger.account import Account, Meter, Span
from hookcore.ledger.allowance import Allowance

if TYPE_CHECKING:
    from hookcore.life import Life
    from hookcore.plugins import PluginRecord
    from hookcore.training import Fit

OFTEN = frozenset({
    "on_batch_start", "on_batch_end", "on_forward_start", "on_forward_end", "on_backward_start",
    "on_backward_end", "on_optimizer_step_start", "on_optimizer_step_end", "on_zero_grad",
    "on_gradient_clip", "on_scheduler_step", "on_lr_change", "on_validation_batch_start",
    "on_validation_batch_end", "on_log",
})  # fmt: skip
"""Events of batches: what a budget is for. Of the others a plugin can miss none."""


class Ledger:
    """Keeps the accounts of one run.

    Args:
        budget: Share of the time that an observer's hooks in batches may take; None: any.
        tell_over: Called with an observer that begins to rest, and the share it has taken.

    Attributes:
        budget: As given.
        meter: What is measured; where there are tensors, the host gives it a watch.
        data: Waiting for the next batch, where the batch loop is a ``for`` over data.
        training_ns: Nanoseconds of the fits that are over.
        batches: Batches that were trained in them, those that were left in the middle among them.
        steps: Optimizer steps in them.
    """

    def __init__(
        self, budget: float | None, tell_over: Callable[[PluginRecord, float], None]
    ) -> None:
        self.budget = budget
        self.meter = Meter()
        self.data = Account("hookcore", "data")
        self.training_ns = 0
        self.batches = self.steps = 0
        self._tell_over = tell_over
        self._accounts: dict[tuple[str, str], Account] = {}
        self._allowances: dict[str, Allowance] = {}
        self._records: dict[str, PluginRecord] = {}
        self._life: Life | None = None
        self._began = 0

    # -- while it runs ---------------------------------------------------------------------

    def attach(self, life: Life) -> None:
        """The run has a life, which knows the batch."""
        self._life = life

    def measured(
        self, record: PluginRecord, event: str, function: Callable[..., object]
    ) -> Callable[..., None]:
        """A hook that keeps its account, and rests where its plugin's budget is spent."""
        account, meter = self._account(record.name, event), self.meter
        self._records[record.name] = record
        allowance = self._allowance(record) if event in OFTEN else None

        def call(*values: Any) -> None:
            with Span(meter, account):
                function(*values)

        def call_within_budget(*values: Any) -> None:
            assert allowance is not None
            batch = self._batch(event)
            if batch is None or not allowance.rests(batch):
                before = account.ns
                try:
                    call(*values)
                finally:
                    allowance.spend(account.ns - before)

        return call if allowance is None else call_within_budget

    def own(self, work: str) -> AbstractContextManager[None]:
        """A piece of hookcore's own work that is worth a row."""
        return Span(self.meter, self._account("hookcore", work))

    def waiting(self) -> AbstractContextManager[None]:
        """The batch loop is at its head; what listeners do there is theirs."""
        return Span(self.meter, self.data, watches=False)

    def training_began(self, fit: Fit) -> None:
        """A fit begins; a resumed one has batches and steps of its earlier life."""
        self._began = perf_counter_ns()
        self.meter.in_fit = True
        self.batches -= fit.batches
        self.steps -= fit.step

    def batch_left(self) -> None:
        """A batch was not finished: the fit does not count it."""
        self.batches += 1

    def training_ended(self, fit: Fit) -> None:
        """A fit is over."""
        self.training_ns += perf_counter_ns() - self._began
        self.meter.in_fit = False
        self.batches += fit.batches
        self.steps += fit.step

    # -- when it is read -------------------------------------------------------------------

    @property
    def accounts(self) -> list[Account]:
        """Whatever ran: the dearest plugin first, and of it the dearest event."""
        used = [account for account in self._accounts.values() if account.calls]
        whole = Counter[str]()
        for account in used:
            whole[account.plugin] += account.ns
        return sorted(used, key=lambda a: (-whole[a.plugin], a.plugin, -a.ns))

    def taken(self, plugin: str, events: Container[str] | None = None) -> int:
        """Nanoseconds of the fits that a plugin took, in all its events or in some."""
        return sum(
            account.training_ns
            for (owner, event), account in self._accounts.items()
            if owner == plugin and (events is None or event in events)
        )

    def over_budget(self) -> list[tuple[PluginRecord, float, Allowance | None]]:
        """Plugins whose hooks in batches took more than the budget: share, and how they rested."""
        found = []
        for name, record in self._records.items():
            allowance = self._allowances.get(name)
            share = self.taken(name, OFTEN) / max(self.training_ns, 1)
            over = record.role != "observe" and self.budget is not None and share > self.budget
            if over if allowance is None else allowance.rested:
                found.append((record, share, allowance))
        return found

    # -- inside ----------------------------------------------------------------------------

    def _account(self, plugin: str, event: str) -> Account:
        return self._accounts.setdefault((plugin, event), Account(plugin, event))

    def _allowance(self, record: PluginRecord) -> Allowance | None:
        if self.budget is None or record.role != "observe":
            return None
        if record.name not in self._allowances:
            self._allowances[record.name] = Allowance(self.budget, lambda: self._over(record))
        return self._allowances[record.name]

    def _over(self, record: PluginRecord) -> None:
        elapsed = self.training_ns + perf_counter_ns() - self._began
        self._tell_over(record, self.taken(record.name, OFTEN) / elapsed)

    def _batch(self, event: str) -> tuple[int, ...] | None:
        """The batch that a call belongs to, or None where it must come through.

        What is logged outside a batch is an epoch's or a validation's, and comes once.
        """
        life = self._life
        if life is None or life.fit is None:
            return None
        if event == "on_log" and (life.in_validation or not life.in_batch):
            return None
        batch = life.fit.index, life.fit.epoch, life.fit.batch
        if life.in_validation:
            return *batch, life.fit.validations, life.validation_batch
        return batch
