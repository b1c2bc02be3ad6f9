"""Loops that are let be: nothing of a training happens in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore.plain import gate
from hookcore.plain.sites import loaders_in

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.sites import Loop

_LONG_ENOUGH = 100
"""Iterations, over all its entries, after which a loop in which nothing happens is let be.

While no fit is known, that is: the first epochs may only warm up, and what is let be cannot be
recognised by the first step. In a fit one pass is enough: a step outside of all batches takes it
back, and so does the fit's end.
"""


class Idle:
    """Tells which loops need no watching, and watches them again when that may have changed."""

    def __init__(self, host: Plain) -> None:
        self._host = host
        self._iterations: dict[int, int] = {}
        self._sites: set[int] = set()

    def left(self, loop: Loop) -> None:
        """A loop without a role is over, and no longer on the stack."""
        host, site = self._host, loop.site
        if loop.stepped or loop.evaluated or site.may_step or loop.said:
            return
        if loaders_in(loop.iterable):  # slow anyway, and likely to matter one day
            return
        if any(other.site is site for other in host.stack):  # it runs further out as well
            return
        seen = self._iterations[site.id] = self._iterations.get(site.id, 0) + loop.index + 1
        if seen >= (_LONG_ENOUGH if host.life.fit is None else 1):
            self._sites.add(site.id)
            gate.dead[site.id] = None

    def look_again(self) -> None:
        """Loops that were let be are watched from their next entry on."""
        for site in self._sites:
            gate.dead.pop(site, None)
        self._sites.clear()
