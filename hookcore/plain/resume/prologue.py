"""The state at the start of an iteration that holds other loops.

A run that goes on in the middle of an epoch runs the code between the head of the epoch's loop and
the loop inside once more; this is what it runs from.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from hookcore.errors import Concern
from hookcore.plain.buffers import memory
from hookcore.plain.resume import rng
from hookcore.plain.resume.flat import copy_tables, is_table
from hookcore.plain.resume.made import made_by, rebuilt
from hookcore.plain.resume.reach import Reach
from hookcore.plain.resume.turning import place_of

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.resume.passes import Feed
    from hookcore.plain.sites import Loop

_SMALL = 1 << 16
"""Bytes up to which a tensor is copied; a larger one is looked at again when it is needed."""


class Lost(Exception):
    """A tensor has changed, or is gone, since it was noted."""


@attrs.define(eq=False)
class Prologue:
    """One such state.

    Attributes:
        streams: The random streams.
        passes: Passes over DataLoaders begun before.
        steps: Optimizer steps before.
        validations: Validations before.
        own: What is known of the loop's own DataLoaders, by number.
        seen: Whether the frame's names are known; not before a loop's first iteration.
        variables: Plain values, by path; large tensors are held weakly.
        generators: States of explicit random generators, by path.
        iterators: Places of iterators, by path.
        objects: What has a state of its own, weakly, by path.
        settings: States of schedulers, and the groups of optimizers, by path.
        made: What the loop may have made, as :func:`~.made.made_by` tells.
        concern: Why the run cannot go on from it, or None.
    """

    streams: dict[str, Any]
    passes: int
    steps: int
    validations: int
    own: dict[int, dict[str, Any]] = attrs.field(factory=dict)
    seen: bool = False
    variables: dict[str, Any] = attrs.field(factory=dict)
    generators: dict[str, Any] = attrs.field(factory=dict)
    iterators: dict[str, Any] = attrs.field(factory=dict)
    objects: dict[str, Callable[[], Any]] = attrs.field(factory=dict)
    settings: dict[str, Any] = attrs.field(factory=dict)
    made: dict[str, Any] = attrs.field(factory=dict)
    concern: Concern | None = None

    def own_of(self, feed: Feed) -> dict[str, Any]:
        """How one of the loop's own passes stood then."""
        return self.own.get(feed.number, {})

    def values(self, needed: Callable[[str], bool]) -> dict[str, Any]:
        """The variables, copied once more.

        Args:
            needed: Whether the value at a path is read before it is bound.

        Raises:
            Lost: One that is needed is not what it was any more.
        """
        found = {}
        for path, value in self.variables.items():
            try:
                found[path] = copy.deepcopy(value, copy_tables([value] if is_table(value) else []))
            except Lost:
                if needed(path):
                    raise Lost(path) from None
        return found


def _own(host: Plain, loop: Loop) -> dict[int, dict[str, Any]]:
    from hookcore.plain.resume.levels import passes_of

    passes = passes_of(host, loop)
    return {feed.number: feed.standing() for feed in passes}


def first(host: Plain, loop: Loop) -> Prologue:
    """At a loop's first head: the script itself comes here again, with all but random numbers."""
    fit, taps = host.life.fit, host.taps
    return Prologue(
        streams=rng.take(),
        passes=0 if taps is None else taps.feeds.count,
        steps=0 if fit is None else fit.step,
        validations=0 if fit is None else fit.validations,
        own=_own(host, loop),
    )


def noted(host: Plain, loop: Loop, names: Mapping[str, Any] | None = None) -> Prologue:
    """The state at a head, or why it cannot be known: no exception reaches the user's loop.

    Args:
        host: The host.
        loop: The loop.
        names: Names of its frame at a later head; None at the first one.
    """
    try:
        return first(host, loop) if names is None else take(host, loop, names)
    except Exception as error:  # noqa: BLE001 - whatever a user's objects raise when they are read
        where, what = loop.site.where, f"{type(error).__name__}: {error}"
        concern = Concern(
            f"the state at the head of the loop at {where} cannot be read ({what})",
            "have what raises there be read and copied without an error",
        )
        return Prologue(streams={}, passes=0, steps=0, validations=0, concern=concern)


def take(host: Plain, loop: Loop, names: Mapping[str, Any]) -> Prologue:
    """At a later head.

    Args:
        host: The host.
        loop: The loop.
        names: Names of its frame.
    """
    from hookcore.plain.resume.levels import concern_of
    from hookcore.plain.resume.state import held, left_out, settings_of

    made = first(host, loop)
    site = loop.site
    made.concern = concern_of(host, loop)
    if made.concern is not None:
        return made
    still = host.heads.still(site)
    constants = still.constants
    reach = Reach({} if site.module_level else names, site.module, still.files, still)
    made.seen = site.module_level or bool(names) or not site.shows
    owned = {
        memory(tensor)
        for thing in reach.objects.values()
        if isinstance(thing, torch.nn.Module)
        for tensor in (*thing.parameters(), *thing.buffers())
    }
    variables = held(reach, constants)
    memo = copy_tables(variables[path] for path in reach.tables if path in variables)
    others = [value for path, value in variables.items() if path not in reach.tables]
    memo |= {id(t): _kept(t, owned) for value in others for t in _tensors(value, 8)}
    made.variables = {path: copy.deepcopy(value, memo) for path, value in variables.items()}
    made.variables |= {path: still.copies[path] for path in reach.kept}
    made.generators = {path: rng.take_generator(g) for path, g in reach.generators.items()}
    made.iterators = {path: place_of(it) for path, it in reach.iterators.items()}
    made.objects = {path: _weakly(thing) for path, thing in reach.objects.items()}
    settings = {path: settings_of(thing) for path, thing in reach.objects.items()}
    made.settings = {path: state for path, state in settings.items() if state is not None}
    made.made = made_by(reach, constants)
    anew = constants.anew(goes_on=True)
    made.concern, _ = left_out(reach, constants, anew)
    made.concern = made.concern or rebuilt(reach, host.heads.parts, site.scope, anew)
    return made


class _Held:
    """A large tensor, or a part of a model: itself, when the time comes."""

    def __init__(self, tensor: torch.Tensor, *, owned: bool) -> None:
        self._tensor = weakref.ref(tensor)
        self._version = None if owned else tensor._version  # noqa: SLF001 - torch names no other way to ask

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        tensor = self._tensor()
        if tensor is None or self._version not in (None, tensor._version):  # noqa: SLF001 - as above
            raise Lost
        return tensor


def _kept(tensor: torch.Tensor, owned: set[int | None]) -> Any:
    if tensor.layout != torch.strided:
        return tensor.detach().clone()
    if memory(tensor) in owned and tensor.numel():
        return _Held(tensor, owned=True)
    if tensor.numel() * tensor.element_size() > _SMALL:
        return _Held(tensor, owned=False)
    copied = tensor.detach().clone()
    return copied.requires_grad_(tensor.requires_grad and tensor.is_leaf)


def _tensors(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and not isinstance(value, (str, bytes, int, float, type)):
        if isinstance(value, dict):
            parts: Any = value.values()
        elif isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
            parts = value
        else:
            parts = getattr(value, "__dict__", {}).values()
        for part in parts:
            yield from _tensors(part, depth - 1)


def _weakly(thing: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(thing)
    except TypeError:
        return lambda: thing
