"""Heads of loops, where a checkpoint can be taken, and what it must know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hookcore.plain import table

if TYPE_CHECKING:
    from hookcore.plain.adapter import Plain
    from hookcore.plain.resume.still import Still
    from hookcore.plain.sites import Loop


class Heads:
    """Notes at heads what a checkpoint will need, and takes it at the head that is attended to.

    Attributes:
        noted: Whether somebody listens for checkpoints.
        entries: How often a site has been entered, less one.
        at: The loop whose head is attended to, or None.
        names: Names of its frame, where they have just been shown.
        parts: What the fit's objects were made of when they were first seen.
        sizes: How large the fit's batches are, as :func:`~.batches.sizes_of` tells; None where
            they are not the same in each epoch.
    """

    def __init__(self, host: Plain) -> None:
        self._host = host
        self.noted = False
        self.entries: dict[int, int] = {}
        self.at: Loop | None = None
        self.names: dict[str, Any] = {}
        self.parts: dict[Any, Any] = {}
        self.sizes: list[int | None] | None = None
        self._sized = False
        self._asked: set[int] = set()
        self._still: dict[int, Still] = {}

    def entered(self, loop: Loop, above: Loop | None) -> None:
        """A loop is at its first head.

        Args:
            loop: The loop.
            above: The one around it, or None.
        """
        host, site = self._host, loop.site.id
        self.entries[site] = self.entries.get(site, -1) + 1
        if not self.noted and host.pending is None:
            return
        if above is None:
            loop.entry = self.entries[site]
        else:
            if above.entered_in != above.index:
                above.entered, above.entered_in = {}, above.index
            loop.entry = above.entered[site] = above.entered.get(site, -1) + 1
        fit = host.life.fit
        if fit is not None:
            loop.steps, loop.validations = fit.step, fit.validations
        if host.taps is not None and (fit is None or loop.role in ("epoch", "between")):
            from hookcore.plain.resume import prologue

            loop.prologue = prologue.noted(host, loop)
        if loop.role == "batch":
            self._size(loop)

    def trains(self, batch: Loop) -> None:
        """The loop over batches is known, and a fit is about to begin, or to go on.

        Args:
            batch: The loop.

        Raises:
            UsageError: Its batches are not what a checkpoint's were.
        """
        pending = self._host.pending
        if pending is not None and pending.done:
            pending.check_batches(batch)
        self._size(batch)

    def went_on(self, sizes: list[int | None] | None) -> None:
        """A fit goes on, of whose batches this is known."""
        self.sizes, self._sized = sizes, True

    def passed(self, loop: Loop, names: dict[str, Any]) -> None:
        """A loop goes on: what a checkpoint in a loop inside must know of this iteration.

        Args:
            loop: The loop.
            names: Names of its frame.
        """
        host = self._host
        if self.noted and host.taps is not None and loop.role in ("epoch", "between"):
            from hookcore.plain.resume import prologue

            loop.prologue = prologue.noted(host, loop, names)

    def expect(self) -> None:
        """A checkpoint is about to be asked for: have loops show their names at the next heads."""
        host = self._host
        roles = host.recognition.roles
        if roles is None:
            return
        if roles.outer.site.shows:
            self._show(roles.outer)
        batch = next((loop for loop in reversed(host.stack) if loop.role == "batch"), None)
        # Asked for in mid-batch, or at its head for the next one.
        near = batch is not None and (host.life.in_batch or self.at is batch)
        if batch is not None and near and batch.site.shows:
            self._show(batch)

    def capture(self, reason: str) -> Any:
        """A snapshot of the head that is attended to, or None: at the next one."""
        host, loop = self._host, self.at
        roles = host.recognition.roles
        if roles is None or host.taps is None:
            return None
        from hookcore.plain.resume import levels, state

        if loop is None or (loop is not roles.outer and levels.concern_inside(host, loop)):
            return state.capture(host, loop, {}, reason)
        site = loop.site
        names = self.names or host.shown.take(site.id)
        if site.shows and not names and site.id not in self._asked:
            self._asked.add(site.id)
            self._show(loop)
            return None
        self._asked.discard(site.id)
        if loop.role == "batch":
            host.shown.no_more(loop)
        return state.capture(host, loop, names, reason)

    def still(self, site: table.Site) -> Still:
        """Globals that stand still in a loop of this fit, as they are now.

        Args:
            site: The loop, and its project.
        """
        from hookcore.plain.resume.still import Still

        files = table.beside(site.path)
        found = self._still.get(site.id)
        if found is None or found.files != files:
            found = self._still[site.id] = Still(site, files)
        else:
            found.compare()
        return found

    def forget(self) -> None:
        """The fit is over."""
        self._asked.clear()
        self._still.clear()
        self.parts.clear()
        self.sizes, self._sized = None, False

    def _size(self, loop: Loop) -> None:
        """Of what size batches are, and whether they stay so."""
        if self.noted and self._host.taps is not None:
            from hookcore.plain.resume.batches import sizes_of

            sizes = sizes_of(loop)
            self.sizes = sizes if not self._sized or sizes == self.sizes else None
            self._sized = True

    def _show(self, loop: Loop) -> None:
        self._host.shown.ask_for_checkpoints((loop,))
        self._host.unusual = True
