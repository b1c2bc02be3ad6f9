"""A DataLoader's iterators, as hookcore makes them: heard, wound forward, with workers that tell.

Each becomes torch's own class again as soon as it has done its part.
"""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import dataloader

from hookcore.plain.resume import rng
from hookcore.plain.resume.loaders import draws_from_a_generator, is_stock, put_states, states_of
from hookcore.plain.resume.workers import Begin, Collate, Ship

if TYPE_CHECKING:
    from hookcore.plain.resume.passes import Feed

Single = dataloader._SingleProcessDataLoaderIter
Many = dataloader._MultiProcessingDataLoaderIter


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


def know_workers(iterator: Any, known: Mapping[str, Any] | None) -> None:
    """Note on an iterator what its workers are known to have drawn."""
    if isinstance(iterator, _Shipped) and not hasattr(iterator, "_hookcore_states"):
        known = known or {}
        iterator._hookcore_states = dict(known.get("states", {}))
        iterator._base_seed = known.get("base_seed", iterator._base_seed)


def ended(iterator: Any) -> bool:
    """Whether an iterator has given its last batch."""
    if isinstance(iterator, Many):
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
    if not asked or not (place or isinstance(iterator, Many)):
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
    if not isinstance(iterator, Many):
        return {}
    return {
        "workers": iterator._num_workers,
        "base_seed": iterator._base_seed,
        "states": dict(getattr(iterator, "_hookcore_states", {})),
    }


class _Shipped(Many):
    """Takes what the workers have drawn off their batches."""

    _hookcore_states: dict[int, dict[str, Any]]

    def _process_data(self, data: Any, *rest: Any) -> Any:
        data = super()._process_data(data, *rest)  # type: ignore[no-untyped-call] # torch's
        if type(data) is Ship:
            self._hookcore_states[data.worker] = data.states
            data = data.data
        return data


class _Turned(_Shipped):
    """Begins with another worker than the first: batch ``n`` is worker ``n % workers``'s."""

    turn = 0

    def _try_put_index(self) -> None:
        for _ in range(self.turn):
            next(self._worker_queue_idx_cycle)
        self.__class__ = _Shipped  # type: ignore[assignment] # only the first batch is asked for so
        self._try_put_index()


class First(Single):
    """Notes the random states of its first batch, then becomes what it was."""

    _hookcore_feed: Feed

    def __next__(self) -> Any:
        self.__class__ = Single  # type: ignore[assignment] # the way it came
        feed, loader = self._hookcore_feed, self._hookcore_feed.loader()
        del self._hookcore_feed
        feed.begun = rng.take(), {} if loader is None else states_of(loader)
        return next(self)


class _Wound:
    """Gives a ghost for each finished batch, then becomes what it was."""

    _hookcore_left: int
    _hookcore_begin: Callable[[], None] | None
    _hookcore_class: type

    def __next__(self) -> Any:
        if not self._hookcore_left:
            self.__class__ = self._hookcore_class
            return next(self)
        self._hookcore_left -= 1
        if self._hookcore_begin is not None:
            self._hookcore_begin()
            self._hookcore_begin = None
        self._pass_over()
        return GHOST

    def _pass_over(self: Any) -> None:
        if self._dataset_kind == dataloader._DatasetKind.Iterable:
            self._next_data()
        elif self._hookcore_class is Single:
            next(self._sampler_iter)  # in workers' iterators it begins after what is passed over
        self._num_yielded += 1


class WoundSingle(_Wound, Single):
    """Of a loader without workers."""

    _hookcore_class = Single


class WoundMany(_Wound, _Shipped):
    """Of a loader with workers."""

    _hookcore_class = _Shipped


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
    original = dataloader._BaseDataLoaderIter.__init__

    def init(iterator: Any, asked: Any) -> None:
        streams, generators = rng.take(), states_of(asked)
        original(iterator, asked)
        if asked is loader:
            rng.put(streams)
            put_states(asked, generators)

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
    if not loader.num_workers or getattr(loader, "_iterator", None) is not None:
        yield
        return
    collate, init = loader.collate_fn, loader.worker_init_fn
    loader.collate_fn, loader.worker_init_fn = Collate(collate), begin
    many = dataloader._MultiProcessingDataLoaderIter
    dataloader._MultiProcessingDataLoaderIter = _Turned if passed else _Shipped  # type: ignore[misc] # for this call
    _Turned.turn = passed % loader.num_workers
    try:
        yield
    finally:
        dataloader._MultiProcessingDataLoaderIter = many  # type: ignore[misc] # as it was
        loader.collate_fn, loader.worker_init_fn = collate, init


class Heard:
    """An iterator that tells when it draws random numbers, once it has begun."""

    def __init__(self, inner: Iterator[Any], feed: Feed) -> None:
        self._inner, self._feed, self._begun = inner, feed, False

    def __iter__(self) -> Heard:
        return self

    def __next__(self) -> Any:
        before = rng.mark() if self._begun and not self._feed.draws else None
        item = next(self._inner)
        self._begun = True
        if before is not None:
            self._feed.draws = not rng.same(before, rng.mark())
        return item


class HeardFetcher:
    """The same for what reads a stream."""

    def __init__(self, inner: Any, feed: Feed) -> None:
        self._inner, self._feed = inner, feed

    def fetch(self, indices: Any) -> Any:
        """What torch asks of it."""
        before = None if self._feed.draws else rng.mark()
        data = self._inner.fetch(indices)
        if before is not None:
            self._feed.draws = not rng.same(before, rng.mark())
        return data
