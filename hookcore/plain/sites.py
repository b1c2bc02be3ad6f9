"""Loops that are running: one object an entry of a site, and the iterators that watch them."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from operator import length_hint
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.resume.prologue import Prologue
    from hookcore.plain.table import Site

LoopRole = Literal["epoch", "batch", "both", "between", "validation"]


class Loop:
    """One entry of a site: a loop that is running.

    Attributes:
        site: Where it stands in the source.
        frame: ``id`` of the frame it runs in: a recursive call enters the same site anew.
        index: Current iteration, from 0; -1 before the first.
        first: Index that the first watched iteration has: more than 0 after a resume.
        since: The host's clock when it was entered.
        began: The host's clock when the current iteration began. What is born later was born
            inside that iteration.
        backward_in: Iteration in which a backward last ran, as far as they are heard; else -1.
        role: What the loop is to its fit, None where it is nothing or not known yet.
        inside: Whether an iteration's body is running.
        stepped: Whether an optimizer stepped while it ran.
        evaluated: Whether a trained model was evaluated while it ran.
        history: Iterations of loops inside that have been left, as {own index: {site id: n}};
            kept until roles are known, for the replay.
        total: Iterations to come in all, None where it cannot be known.
        samples: Samples in the batches begun so far, None where the items do not tell.
        said: What the user says that it is, or None.
        key: The current item where it is a number or a text, while no fit is known; else None.
        over_models: Whether it iterates over models or optimizers, each stepping in turn.
        declared: Whether it is not rewritten, and only its iterable tells of it.
        entry: How often its site was entered before in the current iteration of the loop around it.
        entered: Entries of sites inside, in iteration ``entered_in``.
        steps: Optimizer steps of the fit when it was entered.
        validations: Validations of the fit then.
        prologue: The state at the start of the current iteration, where loops inside may be saved.
    """

    __slots__ = (
        "backward_in", "began", "declared", "entered", "entered_in", "entry", "evaluated", "first",
        "frame", "history", "host", "index", "inside", "iterable", "iterator", "key", "over_models",
        "prologue", "role", "said", "samples", "since", "site", "stepped", "steps", "total",
        "validations",
    )  # fmt: skip

    def __init__(self, host: Plain, site: Site, frame: int, iterable: Any = None) -> None:
        self.host = host
        self.site = site
        self.frame = frame
        self.iterable = iterable
        self.iterator: Iterator[Any] | None = None
        self.index = -1
        self.first = 0
        self.since = 0
        self.began = 0
        self.backward_in = -1
        self.role: LoopRole | None = None
        self.inside = False
        self.stepped = False
        self.evaluated = False
        self.history: dict[int, dict[int, int]] = {}
        self.total: int | None = None
        self.samples: int | None = None
        self.said: str | None = None
        self.key: int | str | None = None
        self.over_models = False
        self.declared = False
        self.entry = 0
        self.entered: dict[int, int] = {}
        self.entered_in = -1
        self.steps = self.validations = 0
        self.prologue: Prologue | None = None

    def forget(self) -> None:
        """It is over: let go of what it iterated over, a loader's workers among it."""
        self.iterable, self.iterator, self.prologue = None, iter(()), None

    def __repr__(self) -> str:
        return f"<{self.site.kind} {self.site.where} {self.role or '?'} [{self.index}]>"


class ForLoop(Loop):
    """The iterator of a ``for`` or a comprehension.

    A class and no generator: a generator would keep the last batch alive while the next one is
    fetched.
    """

    __slots__ = ()

    def __iter__(self) -> ForLoop:
        iterable = self.iterable
        self.total = total_of(iterable)
        self.iterator = iter(iterable)
        return self

    def __next__(self) -> Any:
        host = self.host
        if self.inside:
            self.inside = False
            if host.iteration_ended(self, "finished"):
                self.forget()
                raise StopIteration
        elif self.index < 0:
            host.enter(self)
        try:
            item = host.fetch(self)
        except StopIteration:
            host.leave(self, "finished")
            self.forget()
            raise
        self.index += 1
        self.inside = True
        host.iteration_began(self, item)
        return item


class BatchLoop(ForLoop):
    """A ``for`` that is known as the batch loop: the hot path, written out.

    Every call that is not made here is one that each batch does not pay. A loop becomes one by
    assignment of its ``__class__``, so that the ``for`` that runs is on this path from its second
    batch on.
    """

    __slots__ = ()

    def __next__(self) -> Any:
        host = self.host
        life = host.life
        fit = life.fit
        assert fit is not None and self.iterator is not None
        if self.inside:
            if host.unusual or not life.in_batch or host.stack[-1] is not self:
                self.inside = False
                if host.iteration_ended(self, "finished"):
                    self.forget()
                    raise StopIteration
            else:
                self.inside = life.in_batch = False
                fit.batches += 1
                fire = life.events.on_batch_end
                if fire is not None:
                    fire(host.run, fit, fit.batch, "finished")
                if life.attention and host.attend(self):
                    self.forget()
                    raise StopIteration
        elif self.index < 0:
            host.enter(self)
        try:
            item = self.iterator.__next__()
        except StopIteration:
            host.leave(self, "finished")
            self.forget()
            raise
        self.index += 1
        self.inside = life.in_batch = True
        host.clock = self.began = host.clock + 1
        fit.batch += 1
        if fit.samples is not None:
            host.count_samples(fit, self, item)
        fire = life.events.on_batch_start
        if fire is not None:
            fire(host.run, fit, fit.batch, host.data(self, item))
        return item


class MeasuredBatchLoop(BatchLoop):
    """A batch loop of a run that keeps account: what its head takes is waiting for data.

    To that belongs what begins a pass, a loader's workers say. A loop that counts has no data.
    """

    __slots__ = ()

    def __iter__(self) -> ForLoop:
        with self._waiting():
            return super().__iter__()

    def __next__(self) -> Any:
        with self._waiting():
            return super().__next__()

    def _waiting(self) -> AbstractContextManager[None]:
        ledger = self.host.life.dispatch.ledger
        assert ledger is not None
        return contextlib.nullcontext() if counts(self) else ledger.waiting()


class WhileLoop(Loop):
    """A ``while`` that is running; the gate drives it."""

    __slots__ = ()


def total_of(iterable: Any) -> int | None:
    """How many items an iterable will give, where that can be known without touching it.

    Looks through ``enumerate``, ``zip``, ``reversed`` and ``map``. A DataLoader over a dataset
    without length is not asked: asking would leave a mark on it.
    """
    kind = type(iterable)
    if kind in (enumerate, zip, map, reversed):
        try:
            parts = iterable.__reduce__()[1]
        except TypeError:
            return None
        if kind is zip:
            totals = [total_of(part) for part in parts]
            return min((t for t in totals if t is not None), default=None)
        return total_of(parts[-1] if kind is map else parts[0])
    bar = _tqdm(iterable)
    iterable = iterable if bar is None else bar
    if _is_stream(iterable):
        return None
    with contextlib.suppress(Exception):  # a user's __len__ may raise anything
        return len(iterable)
    if type(iterable).__module__ == "builtins":
        hint = length_hint(iterable, -1)
        return None if hint < 0 else hint
    return None


def underlying(iterable: Any) -> Any:
    """What a tqdm bar iterates over; anything else as it is."""
    bar = _tqdm(iterable)
    return iterable if bar is None else getattr(bar, "iterable", bar)


def counts(loop: Loop) -> bool:
    """Whether a loop goes by a count or a condition, and not over data."""
    iterable = underlying(loop.iterable)
    return loop.site.kind == "while" or type(iterable) in (range, itertools.count)


def loaders_in(iterable: Any) -> list[Any]:
    """DataLoaders, or their running iterators, that an iterable draws from."""
    data = sys.modules.get("torch.utils.data")
    if data is None:
        return []
    kind = type(iterable)
    if kind in (enumerate, zip, map):
        return [found for part in iterable.__reduce__()[1] for found in loaders_in(part)]
    if isinstance(iterable, (data.DataLoader, data.dataloader._BaseDataLoaderIter)):  # noqa: SLF001 - what an enumerate holds; a test says so when it moves
        return [iterable]
    bar = _tqdm(iterable)
    return [] if bar is None else loaders_in(getattr(bar, "iterable", None))


def draws_own_bar(iterable: Any) -> bool:
    """Whether the loop draws a progress bar of its own: tqdm, rich or their like."""
    kind = type(iterable)
    if kind in (enumerate, zip):
        return any(map(draws_own_bar, iterable.__reduce__()[1]))
    bar = _tqdm(iterable)
    if bar is not None:
        return not getattr(bar, "disable", False)
    module = kind.__module__
    return module.startswith(("rich.progress", "alive_progress", "progressbar"))


def _tqdm(iterable: Any) -> Any:
    """The tqdm bar that an iterable is, or whose running iterator it is; None for others."""
    if type(iterable).__module__.startswith("tqdm"):
        return iterable
    # What an ``enumerate(tqdm(...))`` holds: a frame of tqdm's own, of which the bar is the self.
    running = type(iterable) is GeneratorType and iterable.gi_frame is not None
    if running and "tqdm" in iterable.gi_code.co_filename:
        bar = iterable.gi_frame.f_locals.get("self")
        return bar if type(bar).__module__.startswith("tqdm") else None
    return None


def _is_stream(iterable: Any) -> bool:
    data = sys.modules.get("torch.utils.data")
    if data is None:
        return False
    kinds = (data.DataLoader, data.dataloader._BaseDataLoaderIter)  # noqa: SLF001 - as above
    if not isinstance(iterable, kinds):
        return False
    dataset = getattr(iterable, "dataset", getattr(iterable, "_dataset", None))
    return isinstance(dataset, data.IterableDataset)
