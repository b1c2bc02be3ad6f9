"""A metric to watch: found among those that exist, and compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

import attrs

from hookcore.errors import UsageError
from hookcore.layers import nearest
from hookcore.monitors.names import Direction, direction_of, rank_of

Mode = Literal["auto", "min", "max"]


def better(new: float, best: float | None, mode: Direction, delta: float = 0.0) -> bool:
    """Whether ``new`` improves on ``best`` by more than ``delta``, in the values' own unit.

    Everything improves on None, except NaN, which improves on nothing.
    """
    if math.isnan(new):
        return False
    if best is None:
        return True
    return new < best - delta if mode == "min" else new > best + delta


@attrs.frozen
class Monitor:
    """Which metric to watch, and which way is better.

    Attributes:
        name: A metric's name, or ``"auto"``: a validation's.
        mode: ``"min"``, ``"max"``, or ``"auto"``: as the name tells.
    """

    name: str = "auto"
    mode: Mode = "auto"

    @property
    def is_auto(self) -> bool:
        """Whether the name is to be found."""
        return self.name == "auto"

    def check(self, plugin: str) -> None:
        """Refuse a name whose better way nobody can tell.

        Not before the name has arrived: of a name that is misspelt, something else is to be said.

        Args:
            plugin: The plugin that has the options ``monitor`` and ``mode``.

        Raises:
            UsageError: The mode is "auto", and the name does not tell.
        """
        if not self.is_auto and self.mode == "auto" and direction_of(self.name) is None:
            raise UsageError(
                f"{plugin}.monitor = {self.name!r}: lower or higher, which is better?",
                "the name does not tell",
                f"say it:  -o {plugin}.mode=min     or:  -o {plugin}.mode=max",
            )

    def direction(self, name: str) -> Direction:
        """Which way ``name`` improves. Names that do not tell are taken for losses."""
        return (direction_of(name) or "min") if self.mode == "auto" else self.mode

    def resolve(self, names: Iterable[str], held_out: Iterable[str] = ()) -> str | None:
        """The metric to watch, out of those that exist.

        Args:
            names: Every metric that has arrived.
            held_out: Those of them that a validation has given; only these are chosen from.

        Returns:
            The name itself where one is set and has arrived. For "auto": losses first (the word
            loss), then errors (``nll``, ``ppl``, ``mse`` ...), then scores (``accuracy``, ``f1``,
            ``auc`` ...); among equals what is called val or valid, then dev or eval, then test;
            then fewer words, then the first to arrive. A name that tells no direction, or another
            than the mode that is set, is never chosen, nor one that speaks of training or keeps
            a best or previous value. None where nothing fits.
        """
        if not self.is_auto:
            return self.name if self.name in names else None
        ranked = [
            (rank, place, name)
            for place, name in enumerate(held_out)
            if (rank := rank_of(name)) is not None and self.mode in ("auto", direction_of(name))
        ]
        return min(ranked)[2] if ranked else None

    def missing(self, plugin: str, names: Iterable[str], when: str) -> UsageError:
        """The error for a name that has not arrived.

        Args:
            plugin: The plugin that has the option ``monitor``.
            names: Those that have.
            when: What is over, such as ``"the first validation"``.
        """
        there = list(names)
        slug = re.sub(r"\W+", "_", self.name)
        if self.name in there:
            others = ", ".join(name for name in there if name != self.name)
            return UsageError(
                f"{plugin}.monitor = {self.name!r}: {when} is over, and no value of it has arrived",
                "the batches bind it, and their variables are read at a display's rate: no "
                "decision may depend on that",
                f"log it:  hookcore.log({slug}=...)\n"
                f"name one of the others:  {others or 'there are none'}",
            )
        ends = [name for name in there if name.rpartition(".")[2] == self.name]
        near = f"did you mean {ends[0]!r}?" if ends else nearest(self.name, there)
        return UsageError(
            f"{plugin}.monitor = {self.name!r}: {when} is over, and no such value has arrived",
            f"there are: {', '.join(there) or 'no metrics at all'}",
            f"{near or f'name one of them, or log it:  hookcore.log({slug}=...)'}\n"
            f"where it comes later:  -o {plugin}.wait_epochs=...     "
            f"let it choose:  -o {plugin}.monitor=auto",
        )
