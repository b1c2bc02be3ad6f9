"""DataLoaders: how far their iterators have come, and how they get there again.

An iterator cannot be saved, but it can be made again: under the random states from which it was
made, its finished batches passed over by index. What the workers drew is sent along with their
batches, and given to the workers of the new iterator.
"""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
from torch.utils.data import IterableDataset, dataloader, get_worker_info, sampler

from hookcore.plain.resume import rng

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

_Single = dataloader._SingleProcessDataLoaderIter
_Many = dataloader._MultiProcessingDataLoaderIter
_STOCK = {
    kind for kind in vars(sampler).values() if isinstance(kind, type)
} | {torch.utils.data.distributed.DistributedSampler, dataloader._InfiniteConstantSampler}


class Ghost:
    """What stands for a finished batch that is passed over."""


GHOST = Ghost()


def _beginning(loader: Any, begun: Any) -> Callable[[], None] | None:
    """Puts the random states back from which the order of the batches was drawn."""
    if begun is None:
        return None
    streams, generators = begun

    def begin() -> None:
        rng.put(streams)
        _put_generators(loader, generators)

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
        self._original: Callable[[Any], Any] = torch.utils.data.DataLoader.__iter__
        self.count = 0
        self.awaited: dict[int, Mapping[str, Any]] = {}
        self.kept: list[tuple[Any, Mapping[str, Any]]] = []

    def iterate(self, loader: Any, original: Callable[[Any], Any]) -> Any:
        """``iter(loader)``, so that it can be done again."""
        if not self._host.saves or not self._host.mine():
            return original(loader)
        self.count += 1
        wanted = self.awaited.pop(self.count, None)
        kept = next((record for known, record in self.kept if known is loader), None)
        self.kept = [entry for entry in self.kept if entry[0] is not loader]
        if wanted is not None:
            return self.again(loader, original, wanted)
        streams, generators = rng.take(), _own_generators(loader)
        reused = getattr(loader, "_iterator", None) is not None
        with contextlib.ExitStack() as undo:
            undo.enter_context(_shipping(loader, Begin(loader.worker_init_fn, kept)))
            if kept is not None:
                undo.enter_context(_base_seed_drawn_before(loader))
            iterator = original(loader)
        _begin(iterator, kept)
        self._know(loader, iterator, streams, generators, reused=reused or kept is not None)
        return iterator

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
        _put_generators(loader, record["generators"])
        passed, known = record["delivered"], record
        with contextlib.ExitStack() as undo:
            if _is_stream(loader):
                known = {}  # it is read again from its beginning
            elif loader.num_workers:
                undo.enter_context(_lazily_from(loader, passed))
            begin = Begin(loader.worker_init_fn, known)
            undo.enter_context(_shipping(loader, begin, 0 if _is_stream(loader) else passed))
            if record["reused"]:
                undo.enter_context(_base_seed_drawn_before(loader))
            iterator = original(loader)
        iterator._index_sampler = loader._index_sampler
        _begin(iterator, known)
        feed = self._know(
            loader, iterator, record["streams"], record["generators"], reused=record["reused"]
        )
        if passed:
            feed.begun = record["begun"]
            iterator._hookcore_begin = _beginning(loader, record["begun"])
            iterator._hookcore_left = passed
            iterator.__class__ = _WoundMany if loader.num_workers else _WoundSingle
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
        if type(iterator) is _Single and (_is_stream(loader) or not _is_stock(loader)):
            iterator._sampler_iter = _Heard(iterator._sampler_iter, feed)
            if _is_stream(loader):
                iterator._dataset_fetcher = _HeardFetcher(iterator._dataset_fetcher, feed)
        if type(iterator) is _Single:
            iterator.__class__ = _First
            vars(iterator)["_hookcore_feed"] = feed
        return feed


def _begin(iterator: Any, known: Mapping[str, Any] | None) -> None:
    """Note on an iterator what its workers are known to have drawn."""
    if isinstance(iterator, _Shipped) and not hasattr(iterator, "_hookcore_states"):
        known = known or {}
        iterator._hookcore_states = dict(known.get("states", {}))
        iterator._base_seed = known.get("base_seed", iterator._base_seed)


def concern(feed: Feed) -> str | None:
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
    if _is_stream(loader):
        if loader.num_workers and loader.persistent_workers:
            return f"the workers that read the stream {name} are kept from epoch to epoch"
        if feed.draws:
            return f"the stream {name} draws random numbers in turn with the training"
    elif feed.draws:
        kind = type(loader.sampler)
        return f"the sampler {kind.__name__} draws random numbers in turn with the training"
    if loader.num_workers:
        drawn = _generators_inside(loader.dataset)
        if drawn:
            return f"{name}.{drawn[0]} is a random generator that each worker has a copy of"
    return None


def ended(iterator: Any) -> bool:
    """Whether an iterator has given its last batch."""
    if isinstance(iterator, _Many):
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
    asked = _is_stock_sampler(sampling) and not _draws_from_a_generator(sampling)
    if not asked or not (place or isinstance(iterator, _Many)):
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
    if not isinstance(iterator, _Many):
        return {}
    return {
        "workers": iterator._num_workers,
        "base_seed": iterator._base_seed,
        "states": dict(getattr(iterator, "_hookcore_states", {})),
    }


# -- in the main process -----------------------------------------------------------------------


class _Shipped(_Many):
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


class _First(_Single):
    """Notes the random states of its first batch, then becomes what it was."""

    _hookcore_feed: Feed

    def __next__(self) -> Any:
        self.__class__ = _Single  # type: ignore[assignment] # the way it came
        feed, loader = self._hookcore_feed, self._hookcore_feed.loader()
        del self._hookcore_feed
        feed.begun = rng.take(), {} if loader is None else _own_generators(loader)
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

    def _pass_over(self) -> None:
        raise NotImplementedError


class _WoundSingle(_Wound, _Single):
    _hookcore_class = _Single

    def _pass_over(self) -> None:
        if self._dataset_kind == dataloader._DatasetKind.Iterable:
            self._next_data()  # type: ignore[no-untyped-call] # torch's
        else:
            next(self._sampler_iter)
        self._num_yielded += 1


class _WoundMany(_Wound, _Shipped):
    _hookcore_class = _Shipped

    def _pass_over(self) -> None:
        if self._dataset_kind == dataloader._DatasetKind.Iterable:
            self._next_data()  # type: ignore[no-untyped-call] # torch's
        self._num_yielded += 1


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
def _lazily_from(loader: Any, count: int) -> Iterator[None]:
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
def _base_seed_drawn_before(loader: Any) -> Iterator[None]:
    """Have the next iterator draw no seed for its workers: theirs was drawn long ago."""
    original = dataloader._BaseDataLoaderIter.__init__

    def init(iterator: Any, asked: Any) -> None:
        streams, generators = rng.take(), _own_generators(asked)
        original(iterator, asked)
        if asked is loader:
            rng.put(streams)
            _put_generators(asked, generators)

    dataloader._BaseDataLoaderIter.__init__ = init  # type: ignore[method-assign, assignment] # for this call
    try:
        yield
    finally:
        dataloader._BaseDataLoaderIter.__init__ = original  # type: ignore[method-assign] # as it was


@contextlib.contextmanager
def _shipping(loader: Any, begin: Begin, passed: int = 0) -> Iterator[None]:
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


class _Heard:
    """An iterator that tells when it draws random numbers, once it has begun."""

    def __init__(self, inner: Iterator[Any], feed: Feed) -> None:
        self._inner, self._feed, self._begun = inner, feed, False

    def __iter__(self) -> _Heard:
        return self

    def __next__(self) -> Any:
        before = rng.take() if self._begun and not self._feed.draws else None
        item = next(self._inner)
        self._begun = True
        if before is not None:
            self._feed.draws = not rng.same(before, rng.take())
        return item


class _HeardFetcher:
    """The same for what reads a stream."""

    def __init__(self, inner: Any, feed: Feed) -> None:
        self._inner, self._feed = inner, feed

    def fetch(self, indices: Any) -> Any:
        before = None if self._feed.draws else rng.take()
        data = self._inner.fetch(indices)
        if before is not None:
            self._feed.draws = not rng.same(before, rng.take())
        return data


# -- in the workers ----------------------------------------------------------------------------

_last: dict[str, Any] = {}
"""What this worker's random streams were when it last told of them."""


class Ship:
    """A batch with the random states that its worker had after it.

    Attributes:
        data: The batch.
        worker: The worker's number.
        states: Its random states.
    """

    __slots__ = ("data", "states", "worker")

    def __init__(self, data: Any, worker: int, states: dict[str, Any]) -> None:
        self.data, self.worker, self.states = data, worker, states

    def pin_memory(self, device: Any = None) -> Ship:
        """What torch asks of a class of a user's own."""
        from torch.utils.data._utils.pin_memory import pin_memory

        self.data = pin_memory(self.data, device)  # type: ignore[no-untyped-call] # torch's
        return self


class Collate:
    """A loader's ``collate_fn``; tells the random states along, where they have changed."""

    def __init__(self, inner: Callable[[Any], Any]) -> None:
        self._inner = inner

    def __call__(self, items: Any) -> Any:
        """What the user's own makes of the items."""
        data, info = self._inner(items), get_worker_info()
        if info is None:
            return data
        states = _drawn()
        if states == _last.get("states"):
            return data
        _last["states"] = states
        return Ship(data, info.id, states)


class Begin:
    """A loader's ``worker_init_fn``; a worker goes on as the one whose number it has.

    Args:
        inner: The user's own.
        record: What a checkpoint knows of the workers, or None.
    """

    def __init__(
        self, inner: Callable[[int], None] | None, record: Mapping[str, Any] | None = None
    ) -> None:
        self._inner = inner
        self._seed = None if record is None else record.get("base_seed")
        self._states = {} if record is None else dict(record.get("states", {}))

    def __call__(self, worker: int) -> None:
        """A worker begins."""
        info = get_worker_info()
        assert info is not None
        if self._seed is not None and info.seed != self._seed + worker:
            object.__setattr__(info, "seed", self._seed + worker)  # it is frozen
            _seed(self._seed, worker)
        if self._inner is not None:
            self._inner(worker)
        if worker in self._states:
            _put_drawn(self._states[worker])
        _last["states"] = _drawn()


def _seed(base: int, worker: int) -> None:
    """Seed a worker's streams as torch does."""
    random.seed(base + worker)
    torch.manual_seed(base + worker)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        from torch.utils.data._utils.worker import _generate_state

        numpy.random.seed(_generate_state(base, worker))  # type: ignore[no-untyped-call] # torch's


def _drawn() -> dict[str, Any]:
    """The worker's random states, small and plain: they travel with each batch that draws."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "torch": _bytes(torch.get_rng_state()),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        states["numpy"] = (name, keys.tobytes(), *rest)
    return states


def _bytes(state: torch.Tensor) -> bytes:
    if "numpy" in sys.modules:
        return state.numpy().tobytes()
    return bytes(state.tolist())


def _put_drawn(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    torch.set_rng_state(torch.frombuffer(bytearray(states["torch"]), dtype=torch.uint8))
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy" in states:
        name, keys, *rest = states["numpy"]
        numpy.random.set_state((name, numpy.frombuffer(keys, numpy.uint32), *rest))


# -- loaders -----------------------------------------------------------------------------------


def _generators_of(loader: Any) -> dict[str, torch.Generator]:
    """A loader's generators, each by where it stands."""
    inner = getattr(loader, "sampler", None)
    batches = getattr(loader, "batch_sampler", None)
    places = {
        "generator": loader.generator,
        "sampler.generator": getattr(inner, "generator", None),
        "batch_sampler.generator": getattr(batches, "generator", None),
        "batch_sampler.sampler.generator": getattr(
            getattr(batches, "sampler", None), "generator", None
        ),
    }
    return {name: found for name, found in places.items() if isinstance(found, torch.Generator)}


def _own_generators(loader: Any) -> dict[str, Any]:
    return {name: rng.take_generator(g) for name, g in _generators_of(loader).items()}


def _put_generators(loader: Any, states: Mapping[str, Any]) -> None:
    for name, generator in _generators_of(loader).items():
        if name in states:
            rng.put_generator(generator, states[name])


def _is_stream(loader: Any) -> bool:
    return isinstance(loader.dataset, IterableDataset)


def _is_stock(loader: Any) -> bool:
    return _is_stock_sampler(loader._index_sampler)


def _is_stock_sampler(found: Any) -> bool:
    return type(found) in _STOCK and type(getattr(found, "sampler", found)) in _STOCK


def _draws_from_a_generator(found: Any) -> bool:
    inner = getattr(found, "sampler", found)
    return getattr(inner, "generator", None) is not None


def _generators_inside(dataset: Any) -> list[str]:
    """Names of a dataset's own random generators."""
    return [name for name, value in vars(dataset).items() if rng.is_generator(value)]
