"""The position of a run: the loops that are running, and what each needs to be reached again."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.utils.data import DataLoader

from hookcore.errors import Concern
from hookcore.plain import table
from hookcore.plain.resume.batches import ITERATORS, origin, parts_of, sizes_of, telling
from hookcore.plain.resume.concerns import (
    concern_of_kept,
    concern_of_own,
    concern_of_pass,
    concern_of_state,
)
from hookcore.plain.resume.constants import Constants, read_before
from hookcore.plain.resume.loaders import iterates_as_torch_does, kept_iterator
from hookcore.plain.resume.passes import keeps_drawn
from hookcore.plain.resume.prologue import Lost
from hookcore.plain.sites import loaders_in

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.resume.passes import Feed
    from hookcore.plain.resume.prologue import Prologue
    from hookcore.plain.resume.reach import Reach
    from hookcore.plain.sites import Loop

_PURE: tuple[Any, ...] = (
    range, list, tuple, str, dict, itertools.count, torch.Tensor,
    type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip


class Levels:
    """The fit's loops that are running at a head, the outermost first.

    Args:
        host: The host; its fit is open.
        loop: The loop whose head it is, or None.
        reach: What the names of its frame lead to.

    Attributes:
        concern: Why the run cannot go on from here, or None.
    """

    def __init__(self, host: Plain, loop: Loop | None, reach: Reach) -> None:
        roles = host.recognition.roles
        assert roles is not None
        self._host, self._reach = host, reach
        self._loops = [] if loop is None else running(host, loop)
        self.concern: Concern | None = None
        if loop is not None:
            if loop is not roles.outer:
                self.concern = concern_inside(host, loop)
            self.concern = self.concern or self._concern_of_passes()

    @property
    def constants(self) -> Constants:
        """What of these names the loops cannot have changed."""
        return Constants(around(self._host, self._loops[-1]).site)

    @property
    def anew(self) -> frozenset[str]:
        """Names that these loops bind in each iteration before they read them."""
        found: frozenset[str] = frozenset()
        return found.union(*(Constants(loop.site).anew(goes_on=True) for loop in self._loops))

    def position(self) -> dict[str, Any]:
        """Where the run stands: plain values."""
        host, folder = self._host, str(self._host.run.folder)
        levels = [
            {
                "site": site_key(loop, folder),
                "line": loop.site.line,
                "scope": loop.site.scope,
                "entry": loop.entry if n else host.heads.entries[loop.site.id],
                "iteration": loop.index if loop is self._loops[-1] else loop.index - 1,
                "sizes": sizes_of(loop),
                "total": loop.total if n else None,  # more epochs than before are allowed
            }
            for n, loop in enumerate(self._loops)
        ]
        outer = self._loops[0]
        alone = outer is self._loops[-1]
        return {
            **levels[0],
            "levels": levels,
            "origin": self._origin(outer, folder) if alone else None,
            "batch_sizes": host.heads.sizes,
            "digests": digests(self._loops[-1], folder),
        }

    def _origin(self, outer: Loop, folder: str) -> dict[str, Any]:
        found = origin(outer, self._reach, self.constants, folder)
        return {**found, "numbers": telling(found["numbers"], self._host.heads.sizes)}

    def leads_to(self, thing: Any) -> bool:
        """Whether a name of one of the frames around leads to an object."""
        return any(ref() is thing for state in self._prologues() for ref in state.objects.values())

    def comes_again(self, thing: Any) -> bool:
        """Whether it is as the script makes it, for it has not been used since it was made."""
        first = any(not state.seen for state in self._prologues())
        return first and getattr(thing, "last_epoch", 1) <= 0

    def modules(self) -> list[torch.nn.Module]:
        """Modules that only names of the frames around lead to."""
        found = [ref() for state in self._prologues() for ref in state.objects.values()]
        return [thing for thing in found if isinstance(thing, torch.nn.Module)]

    def records(self) -> tuple[list[dict[str, Any]], Concern | None]:
        """What each loop needs to be reached again, or why that is not known."""
        made = []
        base = 0
        known = {id(thing): path for path, thing in self._reach.objects.items()}
        for loop in self._loops[:-1]:
            state = loop.prologue
            assert state is not None
            site = self._loops[-1].site
            needed = read_before(loop.site, site if loop.frame == self._loops[-1].frame else None)
            try:
                variables = state.values(needed)
            except Lost as lost:
                return [], Concern(
                    f"{lost} has changed since the head of the loop at {loop.site.where}",
                    "bind it anew before it is read, or save at the ends of epochs",
                )
            made.append(
                {
                    "streams": state.streams,
                    "generators": state.generators,
                    "variables": variables,
                    "iterators": state.iterators,
                    "settings": state.settings,
                    "made": state.made,
                    **self._objects(state, known),
                    "passes": [
                        {**feed.record(feed.number - base, loop.index), **state.own_of(feed)}
                        for feed in self._passes(loop)
                    ],
                }
            )
            base = state.passes
        inner = self._loops[-1]
        assert self._host.taps is not None
        passes = self._passes(inner)
        own = {id(feed.iterator()) for feed in passes}
        kept = {
            path: record
            for path, loader in self._reach.loaders.items()
            if id(getattr(loader, "_iterator", None)) not in own
            and (record := self._host.taps.feeds.kept_by(loader)) is not None
        }
        for path, record in kept.items():
            why = concern_of_state(record.get("state"), path)
            if why is not None:
                return [], why
        named = {p: it for p, it in self._reach.passes.items() if id(it) not in own}
        made.append(
            {
                "passes": [feed.record(feed.number - base) for feed in passes],
                "named": {path: self._named(iterator) for path, iterator in named.items()},
                "kept": kept,
            }
        )
        return made, None

    def _prologues(self) -> list[Prologue]:
        return [loop.prologue for loop in self._loops[:-1] if loop.prologue is not None]

    def _objects(self, state: Prologue, known: dict[int, str]) -> dict[str, Any]:
        """The objects of a frame around: which the frame inside has, and the others' states."""
        from hookcore.plain.resume.state import record_of

        aliases, objects = {}, {}
        for path, ref in state.objects.items():
            thing = ref()
            if thing is None:
                continue
            if id(thing) in known:
                aliases[path] = known[id(thing)]
            else:
                known[id(thing)] = path
                objects[path] = attrs.asdict(record_of(path, thing), recurse=False)
        return {"aliases": aliases, "objects": objects}

    def _passes(self, loop: Loop) -> list[Feed]:
        return passes_of(self._host, loop)

    def _named(self, iterator: Any) -> dict[str, Any]:
        assert self._host.taps is not None
        feed = self._host.taps.feeds.of(iterator)
        assert feed is not None
        loader = feed.loader()
        path = next(p for p, known in self._reach.loaders.items() if known is loader)
        return {"loader": path, **feed.record(0)}

    def _concern_of_passes(self) -> Concern | None:
        """Whether every pass over a DataLoader that is going on can be taken up again."""
        host = self._host
        assert host.taps is not None
        feeds = [feed for loop in self._loops for feed in passes_of(host, loop)]
        own = {feed.number for feed in feeds}
        running = {id(feed.iterator()) for feed in feeds}
        for known in self._reach.loaders.values():
            kept = kept_iterator(known)
            if kept is not None and id(kept) not in running:
                why = concern_of_kept(known, kept)
                if why is not None:
                    return why
        reached = {id(known) for known in self._reach.loaders.values()}
        for feed in host.taps.feeds.known():
            away = id(feed.iterator()) not in running and id(feed.loader()) not in reached
            if away and keeps_drawn(feed):
                return Concern(
                    "no name of the loop leads to a DataLoader which keeps its workers",
                    "hand it to the function that holds the loop, or leave persistent_workers at "
                    "False",
                )
        named = {id(iterator): path for path, iterator in self._reach.passes.items()}
        for feed in host.taps.feeds.live():
            loader, iterator = feed.loader(), feed.iterator()
            path = named.get(id(iterator))
            held = path is None and getattr(loader, "_iterator", None) is iterator
            if feed.number in own or held:
                continue
            if path is None:
                return Concern(
                    "a pass over a DataLoader is going on that no name of the loop leads to",
                    "keep its iterator in a variable, or on self",
                )
            if not any(known is loader for known in self._reach.loaders.values()):
                return Concern(
                    f"no name of the loop leads to the DataLoader of {path}",
                    "keep the DataLoader in a variable beside its iterator",
                )
            why = concern_of_pass(feed)
            if why is not None:
                return why
        return None


def running(host: Plain, loop: Loop) -> list[Loop]:
    """The fit's loops that are running, the outermost first, up to one of them."""
    roles = host.recognition.roles
    assert roles is not None
    stack = host.stack
    return stack[stack.index(roles.outer) : stack.index(loop) + 1]


def around(host: Plain, loop: Loop) -> Loop:
    """The outermost of the fit's loops in the function in which one of them stands."""
    return next(outer for outer in running(host, loop) if outer.frame == loop.frame)


def concern_inside(host: Plain, loop: Loop) -> Concern | None:
    """Why a run cannot go on from the head of a loop inside the fit's outermost, or None.

    Nothing is read of any frame for it.
    """
    levels = running(host, loop)
    for outer, inner in itertools.pairwise(levels):
        why = concern_of(host, inner) or _concern_before(outer, inner, levels[-1])
        if why is not None:
            return why.at(inner.site.where)
    return None


def _concern_before(outer: Loop, inner: Loop, last: Loop) -> Concern | None:
    """What is wrong with running the code between two heads once more."""
    state = outer.prologue
    if state is None:
        return Concern(
            f"the state at the head of the loop at {outer.site.where} is not known",
            "it is from the next epoch on; this one is continued at its end",
        )
    if state.concern is not None:
        return state.concern
    if inner.steps != state.steps:
        return Concern(
            f"the loop at {inner.site.where} is not the first of its epoch that trains",
            "train in one loop an epoch, or save at the ends of epochs",
        )
    if inner.validations != state.validations and outer.frame != last.frame:
        return Concern(
            f"the model is evaluated before the loop at {inner.site.where} in the same epoch",
            "evaluate after the loop that trains, or save at the ends of epochs",
        )
    return None


def concern_of(host: Plain, loop: Loop) -> Concern | None:
    """Why a loop cannot be brought to the iteration where it was, or None."""
    site = loop.site
    if not table.is_rewritten(site.path):
        return Concern(
            f"the loop at {site.where} is not rewritten",
            "run the script with hookcore run, or instrument() the function that holds the loop",
        )
    if site.kind == "comprehension":
        return Concern(
            f"the loop at {site.where} is a comprehension", "write it as a for statement"
        )
    if not site.has_tail:
        return Concern(
            f"the loop at {site.where} stands where its variables cannot be restored",
            "move it into a function, or to the top of the script",
        )
    if site.kind == "while":
        return None
    unknown = next((part for part in parts_of(loop.iterable) if not is_steady(part)), None)
    if unknown is not None:
        kind = type(unknown).__name__
        return Concern(
            f"the loop at {site.where} iterates over a {kind}, which cannot be wound forward",
            "iterate over a DataLoader, a range or a list; list(...) makes one",
        )
    feeds = passes_of(host, loop)
    loaders = loaders_in(loop.iterable)
    if len(feeds) < len(loaders):
        for loader in loaders:
            if isinstance(loader, DataLoader) and not iterates_as_torch_does(loader):
                return concern_of_own(loader)
        return Concern(
            f"how far the DataLoader of the loop at {site.where} has come is not known",
            "call iter() of the DataLoader inside the run, or loop over the DataLoader itself",
        )
    return next((why for feed in feeds if (why := concern_of_pass(feed)) is not None), None)


def passes_of(host: Plain, loop: Loop) -> list[Feed]:
    """The passes over DataLoaders that a loop's iterable draws from."""
    if host.taps is None or loop.site.kind == "while":
        return []
    feeds = host.taps.feeds
    own = feeds.of(loop.iterator)
    if own is not None:
        return [own]
    found = [feeds.of(source) for source in loaders_in(loop.iterable)]
    return [feed for feed in found if feed is not None]


def is_steady(part: Any) -> bool:
    """Whether taking items again gives the same ones and touches nothing else; or it is a pass."""
    kind = type(part)
    if kind.__module__ == "builtins" and kind.__name__ in ITERATORS:
        return True
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return True
    return kind in _PURE or bool(loaders_in(part))


def site_key(loop: Loop, folder: str) -> list[Any]:
    """What identifies a loop in every process that runs the same script from the same folder."""
    return list(loop.site.key(folder))


def digests(loop: Loop, folder: str) -> dict[str, str]:
    """Digests of the syntax trees that the loop's resume depends on, by relative path."""
    found = {}
    for around in (*loop.host.stack[: loop.host.stack.index(loop)], loop):
        for file in table.rewritten():
            if file.path == around.site.path:
                found[os.path.relpath(file.path, folder)] = file.digest
    return found
