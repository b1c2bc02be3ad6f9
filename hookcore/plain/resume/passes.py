"""Passes over DataLoaders: how far each has come, and how it gets there again.

An iterator cannot be saved, but it can be made again: under the random states from which it was
made, its finished batches passed over by index; or from the state that its data gives of itself.
What the workers drew is sent along with their batches, and given to the workers of the new one.
"""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.plain.resume import rng
from hookcore.plain.resume.iterators import (
    First,
    Hearing,
    Restored,
    Wound,
    add,
    after_base_seed,
    base_seed_drawn_before,
    beginning,
    ended,
    lazily_from,
    peek,
    shipping,
    workers_of,
)
from hookcore.plain.resume.loaders import (
    draws_in_turn,
    is_stateful,
    is_stream,
    kept_iterator,
    put_states,
    states_of,
)
from hookcore.plain.resume.shared import Shared
from hookcore.plain.resume.stateful import (
    Past,
    begin_from,
    begun_from,
    keeps_states,
    state_of,
)
from hookcore.plain.resume.workers import Begin

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

_Iter = Callable[[Any], Any]


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
        draws_first: Whether reading the first batch has.
        passed: Batches that the iterator had passed over when it was made: what torchdata's
            ``load_state_dict`` skips when the script itself calls it.
        shared: What its workers share with this process; None where none read.
    """

    number: int
    loader: weakref.ref[Any]
    iterator: weakref.ref[Any]
    streams: dict[str, Any]
    generators: dict[str, Any]
    reused: bool
    begun: tuple[dict[str, Any], dict[str, Any]] | None = None
    draws: bool = False
    draws_first: bool = False
    passed: int = 0
    shared: Shared | None = None

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
            "delivered": iterator._num_yielded - self.passed if delivered is None else delivered,
            "streams": self.streams,
            "generators": self.generators,
            "reused": self.reused,
            "begun": self.begun,
            **self.standing(),
        }

    def standing(self) -> dict[str, Any]:
        """How it is told from another pass: what is drawn next, what its workers have drawn."""
        iterator = self.iterator()
        return {"next": peek(iterator), "state": self.own_state(), **workers_of(iterator)}

    def own_state(self) -> dict[str, Any] | None:
        """The state of its data's own that it is taken up from; None where it is read again.

        What a stream draws as it begins is drawn once more in either way: so one that draws is
        read again, from the random states of its beginning.
        """
        loader, iterator = self.loader(), self.iterator()
        drawn = self.draws_first or self.draws or workers_of(iterator).get("states")
        return None if drawn and is_stream(loader) else state_of(loader, iterator)


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
        self._shared: weakref.WeakKeyDictionary[Any, Shared] = weakref.WeakKeyDictionary()
        self._loaders: weakref.WeakKeyDictionary[Any, weakref.ref[Any]]
        self._loaders = weakref.WeakKeyDictionary()
        self.count = 0
        self.awaited: dict[int, Mapping[str, Any]] = {}
        self.kept: list[tuple[Any, Mapping[str, Any]]] = []

    def iterate(self, loader: Any, original: _Iter) -> Any:
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
        self, loader: Any, original: _Iter, record: Mapping[str, Any]
    ) -> Any:
        """The iterator of a checkpoint, which first gives a ghost for each finished batch.

        Args:
            loader: The DataLoader.
            original: Torch's own ``iter``.
            record: What :meth:`Feed.record` gave.
        """
        rng.put(record["streams"])
        put_states(loader, record["generators"])
        passed, state = record["delivered"], record.get("state")
        begin = beginning(loader, record["begun"])
        with contextlib.ExitStack() as undo:
            if record["reused"]:
                undo.enter_context(base_seed_drawn_before(loader))
            if state is not None:
                iterator = _from_state(loader, original, record, undo)
            else:
                iterator = _read_again(loader, original, record, undo)
        iterator._index_sampler = loader._index_sampler
        feed = self._know(
            loader, iterator, record["streams"], record["generators"],
            reused=record["reused"], begun=record["begun"], first=not passed,
        )  # fmt: skip
        if state is not None:
            feed.passed = iterator._num_yielded - passed
            add(Restored, iterator, _hookcore_left=passed)
        elif passed:
            add(Wound, iterator, _hookcore_left=passed, _hookcore_begin=begin)
        return iterator

    def named(self, loader: Any, record: Mapping[str, Any]) -> Any:
        """An iterator that stood in a variable, made again where it was."""
        self.count += 1
        iterator = self.again(loader, _unheard(type(loader)), record)
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

    def keep(self, loader: Any, record: Mapping[str, Any]) -> None:
        """A loader's next pass begins as it would have begun.

        Args:
            loader: The DataLoader.
            record: What :meth:`kept_by` gave.
        """
        if is_stateful(loader):
            loader.next_iter_state = None  # what the script itself loads was used up long ago
            if not loader.persistent_workers:
                loader._iterator = None if record["state"] is None else Past(record["state"])
                return
        self.kept.append((loader, record))

    def kept_by(self, loader: Any) -> Mapping[str, Any] | None:
        """What a loader's next pass must know of the last one, or None."""
        waiting = next((record for known, record in self.kept if known is loader), None)
        iterator = getattr(loader, "_iterator", None)
        if waiting is not None or iterator is None:
            return waiting
        state = state_of(loader, iterator) if is_stateful(loader) else None
        return {"state": state, **({} if type(iterator) is Past else workers_of(iterator))}

    def reads_from_state(self, thing: Any) -> bool:
        """Whether it is a stream that a pass, which is going on, takes up by its own state."""
        return any(
            feed.own_state() is not None
            for feed in self.live()
            if (loader := feed.loader()) is not None
            and loader.dataset is thing
            and is_stream(loader)
        )

    def known(self) -> list[Feed]:
        """Passes whose iterators are still held by somebody."""
        return [feed for feed in self._feeds.values() if feed.iterator() is not None]

    def live(self) -> list[Feed]:
        """Those of them that are not at their end."""
        return [feed for feed in self.known() if not ended(feed.iterator())]

    def _iterate(self, loader: Any, original: _Iter) -> Any:
        self.count += 1
        wanted = self.awaited.pop(self.count, None)
        kept = next((record for known, record in self.kept if known is loader), None)
        self.kept = [entry for entry in self.kept if entry[0] is not loader]
        if loader.num_workers:
            if loader not in self._shared:
                self._shared[loader] = Shared(loader)
            self._shared[loader].begin()
        if wanted is not None:
            return self.again(loader, original, wanted)
        streams, generators = rng.take(), states_of(loader)
        with contextlib.ExitStack() as undo:
            undo.enter_context(shipping(loader, Begin(loader, kept)))
            if kept is not None:
                undo.enter_context(base_seed_drawn_before(loader))
                _begin_kept(loader, kept)
            reused = kept is not None or kept_iterator(loader) is not None
            iterator = original(loader)
        feed = self._know(loader, iterator, streams, generators, reused=reused)
        feed.passed = iterator._num_yielded
        return iterator

    def _know(
        self,
        loader: Any,
        iterator: Any,
        streams: Any,
        generators: Any,
        *,
        reused: bool,
        begun: Any = None,
        first: bool = True,
    ) -> Feed:
        """Take in a pass.

        Args:
            loader: The DataLoader.
            iterator: Its iterator.
            streams: The random states just before.
            generators: States of the loader's generators then.
            reused: Whether the workers were there already.
            begun: The random states before its first batch, where that was long ago.
            first: Whether its first batch is still to come.
        """
        feed = Feed(
            self.count, weakref.ref(loader), weakref.ref(iterator), streams, generators, reused,
            begun,
        )  # fmt: skip
        feed.shared = self._shared.get(loader)
        for number, known in tuple(self._feeds.items()):
            if known.iterator() is None or known.iterator() is iterator:
                del self._feeds[number]
        self._feeds[self.count] = feed
        vars(iterator)["_hookcore_feed"] = feed
        if not (loader.persistent_workers or is_stateful(loader)):  # these hold their iterators
            vars(iterator)["_hookcore_loader"] = loader  # as in enumerate(DataLoader(...))
        if draws_in_turn(loader) or (is_stream(loader) and not loader.num_workers):
            add(Hearing, iterator)
        if first and not loader.num_workers:
            add(First, iterator)
        return feed


def _from_state(
    loader: Any, original: _Iter, record: Mapping[str, Any], undo: contextlib.ExitStack
) -> Any:
    """An iterator that begins from its data's own state."""
    undo.enter_context(shipping(loader, Begin(loader, record)))
    begin = beginning(loader, record["begun"])
    if begin is not None:
        undo.enter_context(after_base_seed(loader, begin))
    begin_from(loader, record["state"])
    iterator = original(loader)
    begun_from(loader, iterator, record["state"])
    if not is_stateful(loader):
        iterator._num_yielded = record["delivered"]
    return iterator


def _read_again(
    loader: Any, original: _Iter, record: Mapping[str, Any], undo: contextlib.ExitStack
) -> Any:
    """An iterator from the beginning; the indices of finished batches are passed over."""
    passed, known = record["delivered"], record
    if is_stream(loader):
        passed, known = 0, {}
    elif loader.num_workers:
        undo.enter_context(lazily_from(loader, passed))
    undo.enter_context(shipping(loader, Begin(loader, known), passed))
    return original(loader)


def _unheard(kind: Any) -> _Iter:
    """A DataLoader's ``__iter__``, past what hears of it."""
    iterate: _Iter = kind.__iter__
    return getattr(iterate, "__wrapped__", iterate)


def _begin_kept(loader: Any, record: Mapping[str, Any]) -> None:
    """Have torchdata's workers begin where they were: its next pass goes on with them."""
    if record.get("state") is None or not loader.persistent_workers:
        return
    streams, generators = rng.take(), states_of(loader)
    begin_from(loader, record["state"])
    loader._iterator = loader._get_iterator()
    rng.put(streams)
    put_states(loader, generators)


def keeps_drawn(feed: Feed) -> bool:
    """Whether its workers are kept for the next pass, and are not as new ones would be."""
    loader, iterator = feed.loader(), feed.iterator()
    if loader is None or kept_iterator(loader) is not iterator:
        return False
    heard = hasattr(iterator, "_hookcore_states")
    return not heard or bool(workers_of(iterator).get("states")) or keeps_states(loader, iterator)
