"""Passes over DataLoaders: how far each has come, and how it gets there again.

An iterator cannot be saved, but it can be made again: under the random states from which it was
made, its finished batches passed over by index. What the workers drew is sent along with their
batches, and given to the workers of the new iterator.
"""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from hookcore.plain.resume import rng
from hookcore.plain.resume.iterators import (
    First,
    Heard,
    HeardFetcher,
    Single,
    WoundMany,
    WoundSingle,
    base_seed_drawn_before,
    beginning,
    ended,
    know_workers,
    lazily_from,
    shipping,
    standing,
)
from hookcore.plain.resume.loaders import (
    generators_inside,
    is_stock,
    is_stream,
    put_states,
    states_of,
)
from hookcore.plain.resume.workers import Begin

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain


@attrs.define(eq=False)
class Feed:
    """One pass over a DataLoader.

    Attributes:
        number: Which call of ``iter`` on a DataLoader it was, in this run.
        loader: The DataLoader, weakly.
        iterator: Its iterator, weakly.
        streams: The random states just before that call.
        generators: States of the loader's own generators then, by name.
        reused: Whether the workers were there already.
        begun: The streams and the generators just before its first batch, where the order of the
            batches is drawn only then; None before, and where workers read.
        draws: Whether reading it has drawn from the run's own random streams, where that was
            looked at: for streams and for samplers of the user's own.
    """

    number: int
    loader: weakref.ref[Any]
    iterator: weakref.ref[Any]
    streams: dict[str, Any]
    generators: dict[str, Any]
    reused: bool
    begun: tuple[dict[str, Any], dict[str, Any]] | None = None
    draws: bool = False

    def record(self, ordinal: int, delivered: int | None = None) -> dict[str, Any]:
        """What a checkpoint keeps of it.

        Args:
            ordinal: Which pass it is among those of its loop's surroundings.
            delivered: Batches that are to be passed over; all that were taken, where None.
        """
        iterator = self.iterator()
        assert iterator is not None
        return {
            "ordinal": ordinal,
            "delivered": iterator._num_yielded if delivered is None else delivered,
            "streams": self.streams,
            "generators": self.generators,
            "reused": self.reused,
            "begun": self.begun,
            **standing(iterator),
        }


class Feeds:
    """All passes over DataLoaders in one run.

    Attributes:
        count: How many there have been.
        awaited: Passes that a checkpoint has begun, by the number that they will have here.
        kept: Loaders that kept their workers, with what a checkpoint knows of these.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._feeds: dict[int, Feed] = {}
        self._loaders: weakref.WeakKeyDictionary[Any, weakref.ref[Any]]
        self._loaders = weakref.WeakKeyDictionary()
        self._original: Callable[[Any], Any] = torch.utils.data.DataLoader.__iter__
        self.count = 0
        self.awaited: dict[int, Mapping[str, Any]] = {}
        self.kept: list[tuple[Any, Mapping[str, Any]]] = []

    def iterate(self, loader: Any, original: Callable[[Any], Any]) -> Any:
        """``iter(loader)``, so that it can be done again where somebody saves."""
        noted = self._host.heads.noted and self._host.mine()
        iterator = self._iterate(loader, original) if noted else original(loader)
        with contextlib.suppress(TypeError):  # an iterator of a subclass's own may be anything
            self._loaders[iterator] = weakref.ref(loader)
        return iterator

    def loader_of(self, iterator: Any) -> Any:
        """The DataLoader that gave an iterator, or None."""
        try:
            reference = self._loaders.get(iterator)
        except TypeError:
            return None
        return None if reference is None else reference()

    def again(
        self, loader: Any, original: Callable[[Any], Any], record: Mapping[str, Any]
    ) -> Any:
        """The iterator of a checkpoint, which first gives a ghost for each finished batch.

        Args:
            loader: The DataLoader.
            original: Torch's own ``iter``.
            record: What :meth:`Feed.record` gave.
        """
        rng.put(record["streams"])
        put_states(loader, record["generators"])
        passed, known = record["delivered"], record
        with contextlib.ExitStack() as undo:
            if is_stream(loader):
                known = {}  # it is read again from its beginning
            elif loader.num_workers:
                undo.enter_context(lazily_from(loader, passed))
            begin = Begin(loader.worker_init_fn, known)
            undo.enter_context(shipping(loader, begin, 0 if is_stream(loader) else passed))
            if record["reused"]:
                undo.enter_context(base_seed_drawn_before(loader))
            iterator = original(loader)
        iterator._index_sampler = loader._index_sampler
        know_workers(iterator, known)
        feed = self._know(
            loader, iterator, record["streams"], record["generators"], reused=record["reused"]
        )
        if passed:
            feed.begun = record["begun"]
            iterator._hookcore_begin = beginning(loader, record["begun"])
            iterator._hookcore_left = passed
            iterator.__class__ = WoundMany if loader.num_workers else WoundSingle
        return iterator

    def named(self, loader: Any, record: Mapping[str, Any]) -> Any:
        """An iterator that stood in a variable, made again where it was."""
        self.count += 1
        iterator = self.again(loader, self._original, record)
        for _ in range(record["delivered"]):
            next(iterator)
        return iterator

    def iterator(self, number: int) -> Any:
        """The iterator of a pass, while it is there."""
        feed = self._feeds.get(number)
        return None if feed is None else feed.iterator()

    def of(self, source: Any) -> Feed | None:
        """The pass that an iterator is; of a DataLoader the last one."""
        for feed in reversed(self._feeds.values()):
            if source is feed.iterator() or source is feed.loader():
                return feed
        return None

    def live(self) -> list[Feed]:
        """Passes whose iterators are still held by somebody, and are not at their end."""
        return [
            feed
            for feed in self._feeds.values()
            if (iterator := feed.iterator()) is not None and not ended(iterator)
        ]

    def _iterate(self, loader: Any, original: Callable[[Any], Any]) -> Any:
        self.count += 1
        wanted = self.awaited.pop(self.count, None)
        kept = next((record for known, record in self.kept if known is loader), None)
        self.kept = [entry for entry in self.kept if entry[0] is not loader]
        if wanted is not None:
            return self.again(loader, original, wanted)
        streams, generators = rng.take(), states_of(loader)
        reused = getattr(loader, "_iterator", None) is not None
        with contextlib.ExitStack() as undo:
            undo.enter_context(shipping(loader, Begin(loader.worker_init_fn, kept)))
            if kept is not None:
                undo.enter_context(base_seed_drawn_before(loader))
            iterator = original(loader)
        know_workers(iterator, kept)
        self._know(loader, iterator, streams, generators, reused=reused or kept is not None)
        return iterator

    def _know(
        self, loader: Any, iterator: Any, streams: Any, generators: Any, *, reused: bool
    ) -> Feed:
        feed = Feed(
            self.count, weakref.ref(loader), weakref.ref(iterator), streams, generators, reused
        )
        for number, known in tuple(self._feeds.items()):
            if known.iterator() is None or known.iterator() is iterator:
                del self._feeds[number]
        self._feeds[self.count] = feed
        if type(iterator) is Single and is_stream(loader):
            iterator._dataset_fetcher = HeardFetcher(iterator._dataset_fetcher, feed)
        elif type(iterator) is Single and not is_stock(loader._index_sampler):
            iterator._sampler_iter = Heard(iterator._sampler_iter, feed)
        if type(iterator) is Single:
            iterator.__class__ = First
            vars(iterator)["_hookcore_feed"] = feed
        return feed


def concern_of_pass(feed: Feed) -> str | None:
    """Why a pass cannot be taken up in its middle, or None."""
    loader = feed.loader()
    if loader is None:
        return "a DataLoader that is gone is still iterated over"
    kind = type(loader)
    if kind.__iter__ is not torch.utils.data.DataLoader.__iter__:
        return f"a {kind.__name__} has an iteration of its own"
    if loader.num_workers and not getattr(loader, "in_order", True):
        return "a DataLoader with in_order=False gives its batches in no order of its own"
    name = type(loader.dataset).__name__
    if is_stream(loader):
        if loader.num_workers and loader.persistent_workers:
            return f"the workers that read the stream {name} are kept from epoch to epoch"
        if feed.draws:
            return f"the stream {name} draws random numbers in turn with the training"
    elif feed.draws:
        kind = type(loader.sampler)
        return f"the sampler {kind.__name__} draws random numbers in turn with the training"
    if loader.num_workers:
        drawn = generators_inside(loader.dataset)
        if drawn:
            return f"{name}.{drawn[0]} is a random generator that each worker has a copy of"
    return None
