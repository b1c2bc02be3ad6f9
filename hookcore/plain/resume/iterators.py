"""A DataLoader's iterators, as hookcore makes them: heard, wound forward, with workers that tell.

What is added to an iterator's own class is a part, which goes as soon as it is done.
"""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.utils.data import dataloader

from hookcore.plain.resume import rng
from hookcore.plain.resume.loaders import (
    draws_from_a_generator,
    is_stateful,
    is_stock,
    kept_iterator,
    put_states,
    states_of,
)
from hookcore.plain.resume.workers import Begin, Collate, Ship

if TYPE_CHECKING:
    from hookcore.plain.resume.passes import Feed

class Ghost:
    """What stands for a finished batch that is passed over."""


GHOST = Ghost()


def beginning(loader: Any, begun: Any) -> Callable[[], None] | None:
    """Puts the random states back from which the order of the batches was drawn."""
    if begun is None:
        return None
    streams, generators = begun

    def begin() -> None:
        rng.put(streams)
        put_states(loader, generators)

    return begin


def stand_in(item: Any, shape: Any) -> Any:
    """What a loop's target takes apart in a finished batch's place; anything else as it is.

    Args:
        item: What the loop's iterator gave: a ghost, or one in an ``enumerate`` or a ``zip``.
        shape: The target's.
    """
    ghostly = item is GHOST or (type(item) is tuple and GHOST in item)
    return _empty(shape) if ghostly else item


def _empty(shape: Any) -> Any:
    return None if shape is None else tuple(_empty(part) for part in shape)


def ended(iterator: Any) -> bool:
    """Whether an iterator has given its last batch."""
    if getattr(iterator, "_finished", False):  # torchdata's own
        return True
    if iterator._num_workers:
        return bool(iterator._rcvd_idx >= iterator._send_idx)
    return peek(iterator) is None


def peek(iterator: Any) -> list[int] | Literal[False] | None:
    """The indices that are drawn next, put back at once; None at the end.

    Torch's own samplers draw nothing from the run's random streams once they have begun. False of
    those that are not asked: the user's own, and those that draw from a generator of the user's.
    """
    source = iterator._sampler_iter
    place = getattr(iterator, "_send_idx", iterator._num_yielded)
    sampling = iterator._index_sampler
    asked = is_stock(sampling) and not draws_from_a_generator(sampling)
    if not asked or not (place or iterator._num_workers):
        return False
    seen = getattr(iterator, "_hookcore_peeked", None)
    if seen is not None and seen[0] is source:
        if seen[1] == place:
            return seen[2]  # type: ignore[no-any-return] # what stands below
        source = seen[3]  # what was put back has been taken since
    indices = next(source, None)
    back = source if indices is None else itertools.chain([indices], source)
    iterator._sampler_iter = back
    iterator._hookcore_peeked = back, place, indices, source
    return indices


def standing(iterator: Any) -> dict[str, Any]:
    """How an iterator is told from another: what it draws next, what its workers have drawn."""
    return {"next": peek(iterator), **workers_of(iterator)}


def workers_of(iterator: Any) -> dict[str, Any]:
    """What is known of an iterator's workers: how they were seeded, what they have drawn."""
    if not iterator._num_workers:
        return {}
    drawn = getattr(iterator, "_hookcore_states", {})
    return {
        "workers": iterator._num_workers,
        "base_seed": iterator._base_seed,
        "states": dict(getattr(iterator, "_hookcore_snapshot", drawn)),
    }


def _of_stream(iterator: Any) -> bool:
    return bool(iterator._dataset_kind == dataloader._DatasetKind.Iterable)


def add(part: type, iterator: Any, **attributes: Any) -> None:
    """Have an iterator do something more."""
    vars(iterator).update(attributes)
    iterator.__class__ = _with(part, type(iterator))  # type: ignore[arg-type] # a class is hashable


@functools.cache
def _with(part: type, kind: type) -> type:
    return type(part.__name__, (part, kind), {"_hookcore_kind": kind})


class _Part:
    """Something that an iterator does beside what its own class has it do."""

    _hookcore_kind: ClassVar[type]

    def _done(self, part: type) -> None:
        """Be what it was."""
        assert type(self).__bases__[0] is part
        self.__class__ = type(self)._hookcore_kind


class Shipping(_Part):
    """Takes what the workers have drawn off their batches."""

    known: ClassVar[Mapping[str, Any]] = {}
    """What is known of the workers of the iterator that is made now."""

    _hookcore_states: dict[int, dict[str, Any]]
    _hookcore_snapshot: dict[int, dict[str, Any]]
    _base_seed: int

    def __init__(self, *arguments: Any) -> None:
        self._hookcore_states = dict(Shipping.known.get("states", {}))
        seed = Shipping.known.get("base_seed")
        super().__init__(*arguments)
        if seed is not None:
            self._base_seed = seed

    def _process_data(self, data: Any, *rest: Any) -> Any:
        if type(data) is Ship:
            self._hookcore_states[data.worker] = data.states
            data = data.data
        return super()._process_data(data, *rest)  # type: ignore[misc] # the iterator's own

    def _update_snapshot(self, *arguments: Any, **named: Any) -> None:
        """Torchdata's: from its last snapshot on it reads again."""
        self._hookcore_snapshot = dict(self._hookcore_states)
        super()._update_snapshot(*arguments, **named)  # type: ignore[misc] # as above


class Turned(_Part):
    """Begins with another worker than the first: batch ``n`` is worker ``n % workers``'s."""

    turn: ClassVar[int] = 0

    _worker_queue_idx_cycle: Iterator[int]

    def _try_put_index(self: Any) -> None:
        for _ in range(Turned.turn):
            next(self._worker_queue_idx_cycle)
        self._done(Turned)  # only the first batch is asked for so
        self._try_put_index()


class First(_Part):
    """Notes the random states of its first batch."""

    _hookcore_feed: Feed

    def __next__(self) -> Any:
        self._done(First)
        feed, loader = self._hookcore_feed, self._hookcore_feed.loader()
        feed.begun = rng.take(), {} if loader is None else states_of(loader)
        return next(self)


class Hearing(_Part):
    """Tells when reading draws random numbers.

    What is drawn for the first batch may be drawn for all of them, and is made again with it: the
    second one tells. Of a stream it is not believed until then.
    """

    _hookcore_feed: Feed

    def _next_index(self: Any) -> Any:
        take = super()._next_index  # type: ignore[misc] # the iterator's own
        return take() if _of_stream(self) else self._heard(take)

    def _next_data(self: Any) -> Any:
        take = super()._next_data  # type: ignore[misc] # the iterator's own
        return self._heard(take) if _of_stream(self) else take()

    def _heard(self: Any, take: Callable[[], Any]) -> Any:
        feed, begun = self._hookcore_feed, bool(self._num_yielded or self._num_workers)
        if feed.draws and self._num_yielded > 1:
            return take()
        before = rng.mark()
        item = take()
        drawn = not rng.same(before, rng.mark())
        feed.draws = drawn and (begun or _of_stream(self))
        feed.draws_first = feed.draws_first or (drawn and not begun)
        return item


class Wound(_Part):
    """Gives a ghost for each finished batch."""

    _hookcore_left: int
    _hookcore_begin: Callable[[], None] | None

    def __next__(self) -> Any:
        if not self._hookcore_left:
            self._done(Wound)
            return next(self)
        self._hookcore_left -= 1
        if self._hookcore_begin is not None:
            self._hookcore_begin()
            self._hookcore_begin = None
        self._pass_over()
        return GHOST

    def _pass_over(self: Any) -> None:
        if _of_stream(self):
            self._next_data()
        elif not self._num_workers:
            self._next_index()  # in workers' iterators it begins after what is passed over
        self._num_yielded += 1


class Restored(_Part):
    """Gives a ghost for each finished batch; its own state has brought it behind them."""

    _hookcore_left: int

    def __next__(self) -> Any:
        if not self._hookcore_left:
            self._done(Restored)
            return next(self)
        self._hookcore_left -= 1
        return GHOST


class _From:
    """A sampler without its first items.

    They are passed over when the first one is asked for: at once, and the seed of the order would
    be drawn before that of the workers, and be another.
    """

    def __init__(self, inner: Any, count: int) -> None:
        self._inner, self._count = inner, count

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._inner, self._count, None)


@contextlib.contextmanager
def lazily_from(loader: Any, count: int) -> Iterator[None]:
    """Have the next iterator's indices begin after some."""
    kind = torch.utils.data.DataLoader
    original = vars(kind)["_index_sampler"]

    def wound(asked: Any) -> Any:
        inner = original.fget(asked)
        return _From(inner, count) if asked is loader else inner

    kind._index_sampler = property(wound)  # type: ignore[method-assign, assignment] # for this call
    try:
        yield
    finally:
        kind._index_sampler = original  # type: ignore[method-assign] # as it was


@contextlib.contextmanager
def base_seed_drawn_before(loader: Any) -> Iterator[None]:
    """Have the next iterator draw no seed for its workers: theirs was drawn long ago."""
    streams, generators = rng.take(), states_of(loader)

    def undo() -> None:
        rng.put(streams)
        put_states(loader, generators)

    with after_base_seed(loader, undo):
        yield


@contextlib.contextmanager
def after_base_seed(loader: Any, then: Callable[[], None]) -> Iterator[None]:
    """Have something done as soon as the next iterator has drawn a seed for its workers."""
    original = dataloader._BaseDataLoaderIter.__init__

    def init(iterator: Any, asked: Any) -> None:
        original(iterator, asked)
        if asked is loader:
            then()

    dataloader._BaseDataLoaderIter.__init__ = init  # type: ignore[method-assign, assignment] # for this call
    try:
        yield
    finally:
        dataloader._BaseDataLoaderIter.__init__ = original  # type: ignore[method-assign] # as it was


@contextlib.contextmanager
def shipping(loader: Any, begin: Begin, passed: int = 0) -> Iterator[None]:
    """Have the next iterator's workers tell what they draw.

    Args:
        loader: Its DataLoader.
        begin: What its workers begin with.
        passed: Batches that are passed over: the worker whose turn comes after them is the first.
    """
    if not loader.num_workers or kept_iterator(loader) is not None:
        yield
        return
    collate, init = loader.collate_fn, loader.worker_init_fn
    loader.collate_fn, loader.worker_init_fn = Collate(collate), begin
    module, name = _named(loader)
    many = getattr(module, name)
    shipped = _with(Shipping, many)
    setattr(module, name, _with(Turned, shipped) if passed else shipped)  # for this call
    Turned.turn, Shipping.known = passed % loader.num_workers, begin.known
    try:
        yield
    finally:
        setattr(module, name, many)  # as it was
        loader.collate_fn, loader.worker_init_fn = collate, init


def _named(loader: Any) -> tuple[Any, str]:
    """Where a loader finds the class of an iterator with workers."""
    if is_stateful(loader):
        module = sys.modules["torchdata.stateful_dataloader.stateful_dataloader"]
        return module, "_StatefulMultiProcessingDataLoaderIter"
    return dataloader, "_MultiProcessingDataLoaderIter"
