"""Why a pass over a DataLoader cannot be taken up where it was, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookcore.errors import Concern
from hookcore.plain.resume.iterators import ended, workers_of
from hookcore.plain.resume.loaders import is_stream, iterates_as_torch_does
from hookcore.plain.resume.reading import changed
from hookcore.plain.resume.stateful import Past, keeps_states
from hookcore.snapshot import encodable

if TYPE_CHECKING:
    from hookcore.plain.resume.passes import Feed


def concern_of_kept(loader: Any, iterator: Any) -> Concern | None:
    """Why the next pass cannot go on with the workers of the last one, or None.

    Args:
        loader: The DataLoader, which keeps its workers.
        iterator: Its iterator, of the last pass.
    """
    name = type(loader.dataset).__name__
    if type(iterator) is Past:
        return None
    if (unheard := _concern_of_unheard(loader, iterator)) is not None:
        return unheard
    if not ended(iterator) and workers_of(iterator)["states"]:
        return Concern(
            f"the workers that read {name} have begun batches that the loop has not taken",
            "take every batch of the pass, or leave persistent_workers at False",
        )
    if keeps_states(loader, iterator):
        return Concern(
            f"the workers that read {name} are kept, with a state each, from epoch to epoch",
            "leave persistent_workers at False",
        )
    return _concern_of_copies(loader, iterator)


def concern_of_state(state: Any, name: str) -> Concern | None:
    """Why a checkpoint cannot hold what data tells of its place, or None.

    Args:
        state: Its state; None where it tells none.
        name: What it is the state of.
    """
    why = encodable(state, f"the state of {name}")
    if why is None:
        return None
    return Concern(
        f"a checkpoint cannot hold {why}", "have its state_dict give plain values and tensors"
    )


def concern_of_own(loader: Any) -> Concern:
    """A DataLoader whose class iterates in a way of its own."""
    return Concern(
        f"a {type(loader).__name__} has an iteration of its own",
        "iterate over a DataLoader of torch; its sampler or dataset can do the same",
    )


def concern_of_pass(feed: Feed) -> Concern | None:
    """Why a pass cannot be taken up in its middle, or None."""
    loader = feed.loader()
    if loader is None:
        return Concern(
            "a DataLoader that is gone is still iterated over",
            "make the DataLoader before the loop over epochs, and keep it in a variable",
        )
    if not iterates_as_torch_does(loader):
        return concern_of_own(loader)
    if loader.num_workers and not getattr(loader, "in_order", True):
        return Concern(
            "a DataLoader with in_order=False gives its batches in no order of its own",
            "leave in_order at True",
        )
    if (unheard := _concern_of_unheard(loader, feed.iterator())) is not None:
        return unheard
    name = type(loader.dataset).__name__
    shared = None if feed.shared is None else feed.shared.changed()
    if shared is not None:
        return Concern(
            f"a {type(shared).__name__} that the workers of {name} share with the training changes "
            "while they read ahead",
            "change it between two epochs, save at the ends of epochs, or leave num_workers at 0",
        )
    try:
        state = feed.own_state()
    except Exception as error:  # noqa: BLE001 - whatever a user's ``state_dict`` raises
        return Concern(
            f"the state of {name} cannot be read ({type(error).__name__}: {error})",
            "mend its state_dict",
        )
    if (held := concern_of_state(state, name)) is not None:
        return held
    if is_stream(loader) and state is None:
        if loader.num_workers and loader.persistent_workers:
            return Concern(
                f"the workers that read the stream {name} are kept from epoch to epoch",
                "leave persistent_workers at False, or give it state_dict and load_state_dict, and "
                "read it by a StatefulDataLoader of torchdata",
            )
        if feed.draws:
            return Concern(
                f"the stream {name} draws random numbers in turn with the training",
                "read it in a worker (num_workers=1), or draw from a torch.Generator of its own",
            )
    elif feed.draws:
        kind = type(loader.sampler)
        return Concern(
            f"the sampler {kind.__name__} draws random numbers in turn with the training",
            "draw the whole order as __iter__ begins, or from a torch.Generator of its own",
        )
    return None if is_stream(loader) else _concern_of_copies(loader, feed.iterator())


def _concern_of_unheard(loader: Any, iterator: Any) -> Concern | None:
    """What workers have drawn and changed is known where they were made inside the run alone."""
    if not loader.num_workers or hasattr(iterator, "_hookcore_states"):
        return None
    return Concern(
        f"the workers that read {type(loader.dataset).__name__} were not made by the loop's iter()",
        "begin the DataLoader's first pass inside the run, and ask for its state after that",
    )


def _concern_of_copies(loader: Any, iterator: Any) -> Concern | None:
    """What the workers change in their copies of the dataset, and no checkpoint holds, or None."""
    states = workers_of(iterator).get("states", {}).values()
    lost = [path for state in states for path in state.get("dataset", {}).get("lost", ())]
    if not lost:
        return None
    where = changed(loader.dataset).get(lost[0], type(loader.dataset).__name__)
    what = lost[0].removeprefix(":") if ":" in lost[0] else f"the dataset's {lost[0]} ({where})"
    return Concern(
        f"each worker changes its own copy of {what}",
        "keep no more there than a few numbers or texts, fill it before the loop, or leave "
        "num_workers at 0",
    )
