"""Loops that are let be: nothing of a training happens in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from hookcore.plain import gate, table
from hookcore.plain.sites import loaders_in

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop

_OFTEN, _LONG = 100, 10_000
"""Passes, or iterations in all, after which a loop in which nothing happens is let be while no fit
is known; at a pass's end.

What is let be cannot be recognised by the first step: the first epochs may only warm up, and a
function that trains may first run over the data without. In a fit one pass is enough: a step
outside of all batches takes it back, and so does the fit's end.
"""


class Idle:
    """Tells which loops need no watching, and watches them again when that may have changed."""

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._passes: dict[int, int] = {}
        self._iterations: dict[int, int] = {}
        self._sites: set[int] = set()
        self._around: set[tuple[int, int]] = set()  # sites, each with the id of its frame

    def left(self, loop: Loop) -> None:
        """A loop without a role is over, and no longer on the stack."""
        host, site = self._host, loop.site
        if loop.index < 0 or loop.stepped or loop.evaluated or site.may_step or loop.said:
            return
        if loaders_in(loop.iterable):  # slow anyway, and likely to matter one day
            return
        if any(other.site is site for other in host.stack):  # it runs further out as well
            return
        passes = self._passes[site.id] = self._passes.get(site.id, 0) + 1
        gone = self._iterations[site.id] = self._iterations.get(site.id, 0) + loop.index + 1
        if host.life.fit is not None or passes >= _OFTEN or gone >= _LONG:
            self._sites.add(site.id)
            gate.dead[site.id] = None

    def around(self) -> bool:
        """Whether the caller, who may be about to begin a fit, is inside a loop that is let be.

        Nobody can tell what that loop would be to the fit: it is watched from its next pass on,
        and the fit begins there. It has had many, so this one is no great loss.
        """
        if self._sites:
            self._around = set(_running(self._sites))
            if self._around:
                self.look_again()
        elif self._around:
            watched = {(loop.site.id, loop.frame) for loop in self._host.stack}
            still = set(_running({site for site, _ in self._around}))
            self._around &= still - watched  # another call's frame may have the same id
        return bool(self._around)

    def look_again(self) -> None:
        """Loops that were let be are watched from their next entry on."""
        for site in self._sites:
            gate.dead.pop(site, None)
        self._sites.clear()
        self._passes.clear()
        self._iterations.clear()


def _running(sites: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Those of some sites that the calling thread is in the body of, each with its frame."""
    known = [table.SITES[site] for site in sites]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code, line = frame.f_code, frame.f_lineno
        for site in known:
            owner = site.scope.rpartition(".")[2]
            if line in site.body and (site.path, owner) == (code.co_filename, code.co_name):
                yield site.id, id(frame)
        frame = frame.f_back
