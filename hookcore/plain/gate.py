"""What rewritten code calls, under the name ``@hookcore`` in its globals.

A module, so that functions which mention it survive cloudpickle. Everything here is inert outside
a run, in other threads, in forked children and under Dynamo's tracing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain

Item = TypeVar("Item")

# Dicts, used as sets: Dynamo guards the one key that traced code asks for, of a set it guards all.
back: dict[int, None] = {}
"""Sites whose next body is replaced by the restoring of a checkpoint; they are tails, too."""
tails: dict[int, None] = {}
"""Sites whose names somebody wants at the end of an iteration."""
frames: dict[int, None] = {}
"""Functions whose names somebody wants at their return."""
dead: dict[int, None] = {}
"""Sites that nobody watches: those that turned out not to matter; outside a run each ``while``."""
bound: dict[int, int] = {}
"""Bindings that happened: 1, or 2 once a validation has begun after them."""

host: Plain | None = None
"""The host of the run that is open, or None."""


def compiling() -> bool:
    """Whether Dynamo traces this call; torch's own answer once torch is loaded."""
    return False


def use_torch() -> None:
    """Take torch's word for :func:`compiling`, now that torch is loaded."""
    global compiling  # noqa: PLW0603 - rewritten code calls it through this module
    import torch

    compiling = torch.compiler.is_dynamo_compiling


def live() -> Plain | None:
    """The host, where the caller belongs to its run."""
    found = host
    return found if found is not None and found.thread == get_ident() else None


def each(site: int, iterable: Iterable[Item]) -> Iterable[Item]:
    """The head of a ``for`` or a comprehension: its iterable, watched if somebody cares."""
    if host is None or site in dead or compiling() or host.thread != get_ident():
        return iterable
    return host.each(site, iterable, id(sys._getframe(1)))


def again(site: int) -> bool:
    """The head of a ``while``: the last iteration is over; False ends the loop."""
    if host is None or compiling() or host.thread != get_ident():
        return True
    return host.again(site, id(sys._getframe(1)))


def begin(site: int) -> bool:
    """A ``while``'s condition held: an iteration begins; False where its body is replaced."""
    if host is None or compiling() or host.thread != get_ident():
        return True
    return host.begin(site)


def left(site: int) -> None:
    """Control has come past the loop: it is exhausted, or was broken out of."""
    if host is not None and site not in dead and not compiling() and host.thread == get_ident():
        host.left(site, id(sys._getframe(1)))


def failed(site: int) -> None:
    """An exception leaves the loop; called in the ``except`` block that lets it go on."""
    if host is not None and not compiling() and host.thread == get_ident():
        host.failed(site, sys.exc_info()[1], id(sys._getframe(1)))


def returned(function: int, value: Item, site: int | None = None) -> Item:
    """A function returns ``value``, from inside the loop ``site`` where one is given."""
    if host is None or compiling():
        return value
    # An average of the weights, say, returns in each batch: it shows, closes and ends nothing.
    needed = site is not None or function in frames or host.unusual
    if needed and host.thread == get_ident():
        host.returned(function, site, id(sys._getframe(1)))
    return value


def returning(site: int, value: Item) -> Item:
    """A function that only has loops, such as a ``forward``, returns ``value`` from inside one."""
    if host is not None and not compiling() and host.thread == get_ident():
        host.returning(site, id(sys._getframe(1)))
    return value


def see(owner: int, names: tuple[str, ...], *values: Any) -> None:
    """Names of the frame, at a site's tail or a function's return."""
    found = live()
    if found is not None:
        found.shown.seen.setdefault(owner, {}).update(zip(names, values, strict=True))


def see_globals(site: int) -> None:
    """The same for a loop at module level: all names of its module."""
    found = live()
    if found is not None:
        found.see_globals(site)


def restore(site: int) -> None:
    """The names have been seen; put the checkpoint's objects back and prepare its variables."""
    found = live()
    if found is not None:
        found.write_back(site)


def has(name: str) -> bool:
    """Whether the checkpoint has another value for this name."""
    found = live()
    return found is not None and name in found.given


def take(name: str) -> Any:
    """The checkpoint's value for this name."""
    assert host is not None
    return host.given.pop(name)


def taken(names: tuple[str, ...], *values: Any) -> tuple[Any, ...]:
    """The checkpoint's values for these names, or else those that they have."""
    found = live()
    given = {} if found is None else found.given
    return tuple(given.pop(name, value) for name, value in zip(names, values, strict=True))


def open_for(new: Plain | None, whiles: Callable[[], Iterable[int]]) -> None:
    """Let sites report to a host from now on, or to none.

    Args:
        new: The host, or None at a run's end.
        whiles: Gives the ids of all while sites.
    """
    global host  # noqa: PLW0603 - one run a process, and rewritten code asks for it here
    host = new
    for wanted in (back, tails, frames):
        wanted.clear()
    bound.clear()
    dead.clear()
    if new is None:
        dead.update(dict.fromkeys(whiles()))


def _in_child() -> None:
    """A forked child is no part of the run, be it a DataLoader worker or the user's own."""
    global host  # noqa: PLW0603 - as above
    host = None
    for wanted in (back, tails, frames):
        wanted.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
