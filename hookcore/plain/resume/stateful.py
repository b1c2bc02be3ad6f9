"""What data tells of its own place: torchdata's loaders, and streams with a ``state_dict``."""

# Torch gives no other way to its iterators; a test says so when they move.
# ruff: noqa: SLF001

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from hookcore.plain.resume.loaders import is_stateful, is_stream


def has_state(value: Any) -> bool:
    """Whether it gives a state and takes one."""
    kind = type(value)
    return callable(getattr(kind, "state_dict", None)) and callable(
        getattr(kind, "load_state_dict", None)
    )


def state_of(loader: Any, iterator: Any) -> dict[str, Any] | None:
    """The state that an iterator can be made again from, a copy; None where it gives none.

    Args:
        loader: Its DataLoader.
        iterator: The iterator.
    """
    if is_stateful(loader):
        state = iterator.state_dict()
        return copy.deepcopy(state) if not is_stream(loader) or _tells_its_place(state) else None
    if not is_stream(loader) or loader.num_workers:
        return None
    fetcher = iterator._dataset_fetcher
    parts = {"dataset": fetcher.dataset, "iterator": fetcher.dataset_iter}
    if fetcher.dataset_iter is fetcher.dataset:
        del parts["dataset"]
    states = {name: part.state_dict() for name, part in parts.items() if has_state(part)}
    return copy.deepcopy({**states, "ended": fetcher.ended}) if states else None


def keeps_states(loader: Any, iterator: Any) -> bool:
    """Whether workers that are kept have states that another pass cannot begin from.

    A stream's are not the next pass's: torchdata has workers that it puts back read on at once.
    """
    if is_stateful(loader):
        return is_stream(loader) and _is_told(_parts(iterator.state_dict()))
    return has_state(loader.dataset)


def _tells_its_place(state: Mapping[str, Any]) -> bool:
    """Whether a stream's state leads back to its place.

    Without one of the stream's own it is but a count of batches. And a worker that has come to the
    end of its stream is made by torchdata to read on, which begins it once more.
    """
    parts = _parts(state)
    at_end = "_snapshot" in state and any(part["fetcher_state"]["fetcher_ended"] for part in parts)
    return _is_told(parts) and not at_end


def _parts(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What torchdata knows of each worker, or of the one process."""
    snapshot = state.get("_snapshot")
    return [state] if snapshot is None else list(snapshot["_worker_snapshots"].values())


def _is_told(parts: list[Mapping[str, Any]]) -> bool:
    return any(
        part["dataset_state"] is not None or part["fetcher_state"]["dataset_iter_state"] is not None
        for part in parts
    )


def begin_from(loader: Any, state: Mapping[str, Any]) -> None:
    """Have the next iterator begin where another one stood.

    Args:
        loader: Its DataLoader.
        state: What that one's state was.
    """
    state = copy.deepcopy(dict(state))
    if is_stateful(loader):
        loader.load_state_dict(state)
    elif "dataset" in state:
        loader.dataset.load_state_dict(state["dataset"])


def begun_from(loader: Any, iterator: Any, state: Mapping[str, Any]) -> None:
    """The iterator is made: what is left to be done to it."""
    if not is_stateful(loader):
        fetcher = iterator._dataset_fetcher
        if "iterator" in state:
            fetcher.dataset_iter.load_state_dict(copy.deepcopy(state["iterator"]))
        fetcher.ended = state["ended"]
    elif isinstance(iterator._sampler_iter, itertools.islice):
        iterator._sampler_iter = _drawn(iterator._sampler_iter)


def _drawn(indices: Iterator[Any]) -> Iterator[Any]:
    """An iterator whose order is drawn now, while the random states are those of its beginning."""
    return itertools.chain(list(itertools.islice(indices, 1)), indices)


class Past:
    """Stands in a loader for the iterator of its last pass, which is over.

    Args:
        state: What its state was.
    """

    _finished = False  # the next pass begins afresh

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> dict[str, Any]:
        """What the iterator would tell."""
        return copy.deepcopy(dict(self._state))
