"""How a proof went: what was compared, what differs, or why there is nothing to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hookcore.evidence.account import Account, Intervention
from hookcore.evidence.bench import Kill
from hookcore.evidence.difference import Difference, Key, unbound
from hookcore.scratch import Written


@attrs.frozen
class Segment:
    """A stretch of a run that was killed and resumed: from its start to its own death or end.

    Attributes:
        kill: The death that it goes on from.
        resumed: The step after which it went on; None where it began anew.
    """

    kill: Kill
    resumed: int | None


@attrs.define(kw_only=True)
class Result:
    """One proof.

    Attributes:
        target: The command that was run, as typed.
        question: What was to be shown.
        nothing: Why there was nothing to compare, in three parts, or None.
        labels: What the two runs are called in which something differs.
        difference: The first thing that differs, or None.
        also: What else differs in the same moment.
        cause: Whose fault it is: ``script``, ``plugins`` or ``resume``; None where nothing differs.
        intervention: What a plugin did; up to there all was compared.
        segments: Kills, and where the run went on.
        reference: The run that the others were compared with.
        others: The runs that were compared with it.
        known: What was left out, as it differs between two runs without hookcore.
        printed_differs: Whether stdout differs; None where it was not compared.
        files: What the script wrote.
        copied: Whether into a copy.
        runs: How many runs it took.
    """

    target: str
    question: str
    nothing: tuple[str, str, str] | None = None
    labels: tuple[str, str] = ("", "")
    difference: Difference | None = None
    also: Sequence[Difference] = ()
    cause: str | None = None
    intervention: Intervention | None = None
    segments: list[Segment] = attrs.field(factory=list)
    reference: Account | None = None
    others: list[Account] = attrs.field(factory=list)
    known: Sequence[Key] = ()
    printed_differs: tuple[int, str, str] | None = None
    files: Sequence[Written] = ()
    copied: bool = True
    runs: int = 0

    @property
    def equal(self) -> bool:
        """Whether everything that was compared is the same bit for bit."""
        return self.nothing is None and self.difference is None and self.printed_differs is None

    @property
    def unbound(self) -> Sequence[str]:
        """Variables that had no value when a resumed run went on; its loop binds them again."""
        if self.reference is None:
            return []
        return sorted({name for one in self.others for name in unbound(self.reference, one)})

    @property
    def compared(self) -> Mapping[str, Any]:
        """How much was compared: steps, and names by kind of thing."""
        reference = self.reference
        resumed = [one for one in self.others if one.resumed is not None] or self.others
        if reference is None or not resumed:
            return {}
        whole = resumed[-1].end is not None and reference.end is not None
        done = self.intervention if self.question == "interference" else None
        until = None if done is None else done.number
        numbers = {moment.number for one in resumed for moment in one.moments}
        shared = [
            moment
            for moment in reference.moments
            if moment.number in numbers and (until is None or moment.number < until)
        ]
        names: dict[str, set[str]] = {}
        for moment in shared:
            for kind, items in moment.items.items():
                names.setdefault(kind, set()).update(items)
        steps = [moment for moment in shared if (moment.kind == "step") == reference.has_steps]
        return {
            "steps": len(steps),
            "first": min((moment.step for moment in steps), default=None),
            "losses": sum(bool(moment.items.get("loss")) for moment in shared),
            "names": {kind: len(found) for kind, found in names.items()},
            "streams": sorted(names.get("random stream", ())),
            "end": until is None and whole,
        }
