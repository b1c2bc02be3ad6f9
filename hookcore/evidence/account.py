"""What one watched run has written down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from hookcore.scratch import Outcome

Items = Mapping[str, Mapping[str, list[str]]]


@attrs.frozen
class Moment:
    """A backward pass, an optimizer step, or the end.

    Attributes:
        kind: ``backward``, ``step`` or ``end``.
        number: As an uninterrupted run numbers it, from 0.
        step: The step that it is, or that it comes before, from 1.
        where: File and line of the user's code.
        items: Kind of thing and name, to digest and short value.
    """

    kind: str
    number: int
    step: int
    where: str
    items: Items


@attrs.frozen
class Capture:
    """A checkpoint that was taken.

    Attributes:
        key: What tells it from the run's others.
        number: Moments before it.
        step: Steps before it.
        resumable: Whether a run can go on from it.
    """

    key: str
    number: int
    step: int
    resumable: bool


@attrs.frozen
class Intervention:
    """Something that a plugin has changed in the training.

    Attributes:
        by: Whose doing it is.
        what: What was done, after the name of who did it.
        number: The moment that follows.
        step: Steps before it.
        is_rate: Whether it is a learning rate, which the loop may have set itself.
    """

    by: str
    what: str
    number: int
    step: int
    is_rate: bool


@attrs.define(eq=False)
class Account:
    """One run: what was seen, in order, and how its process ended.

    Attributes:
        outcome: Of the process.
        begin: The state before the script's first line; None without torch.
        moments: Seen moments; a run that was resumed has none for what it passed over.
        end: The state at the script's end, None where it has not come to that.
        exit: How the script ended: empty, or its exception or exit code.
        left: Whether it was left after the last wanted step.
        killed: Whether it killed itself as it was told to.
        captures: Checkpoints that were taken.
        interventions: What plugins did.
        resumed: Step after which it went on, or None; and whether that place is known.
        verdicts: For each training its loop, and why it cannot be resumed, or None.
        refusal: What hookcore found wrong with what was typed, in three parts.
        faults: What went wrong in the witness.
        unread: Names that were not compared, to the types of their values.
        printed: What the script printed to stdout.
        errors: What came to stderr, hookcore's own lines too.
    """

    outcome: Outcome
    begin: Moment | None = None
    moments: list[Moment] = attrs.field(factory=list)
    end: Moment | None = None
    exit: str = ""
    left: bool = False
    killed: bool = False
    captures: list[Capture] = attrs.field(factory=list)
    interventions: list[Intervention] = attrs.field(factory=list)
    resumed: tuple[int, int] | None = None
    resume_known: bool = True
    verdicts: list[tuple[str, str | None]] = attrs.field(factory=list)
    refusal: list[str] | None = None
    faults: list[str] = attrs.field(factory=list)
    unread: dict[str, str] = attrs.field(factory=dict)
    printed: str = ""
    errors: str = ""

    @classmethod
    def read(cls, ledger: Path, outcome: Outcome, printed: str, errors: str) -> Account:
        """Read the file that a witness has written, and what the process printed."""
        account = cls(outcome, printed=printed, errors=errors)
        for line in _lines(ledger):
            account._take(line)
        return account

    @property
    def steps(self) -> int:
        """Steps that were seen; backward passes where there are no others."""
        counted = self.has_steps
        return sum(1 for moment in self.moments if (moment.kind == "step") == counted)

    @property
    def has_steps(self) -> bool:
        """Whether an optimizer has stepped."""
        return any(moment.kind == "step" for moment in self.moments)

    @property
    def by_hand(self) -> bool:
        """Whether backward passes were taken for steps, with all that is looked at in a step."""
        passes = (moment for moment in self.moments if moment.kind == "backward")
        return any("variable" in moment.items for moment in passes)

    @property
    def whole(self) -> bool:
        """Whether it has come to the script's end, or to the last wanted step."""
        return self.left or self.end is not None

    def _take(self, line: dict[str, Any]) -> None:
        kind, number, step = line["kind"], line.get("n", 0), line.get("step", 0)
        if kind in ("step", "backward"):
            self.moments.append(Moment(kind, number, step, line["where"], line["items"]))
        elif kind == "begin":
            self.begin = Moment("begin", 0, 0, "", line["items"])
        elif kind == "end":
            self.end = Moment("end", number, step, "", line["items"])
            self.exit, self.unread = line["exit"], line["unread"]
        elif kind == "capture":
            self.captures.append(Capture(line["key"], number, step, line["resumable"]))
        elif kind == "intervention":
            self.interventions.append(
                Intervention(line["by"], line["what"], number, step, line["lr"])
            )
        elif kind == "resume":
            self.resumed, self.resume_known = (number, step), line["known"]
        elif kind == "fit":
            self.verdicts.append((line["where"] or "", line["verdict"]))
        elif kind == "refused":
            self.refusal = line["parts"]
        elif kind == "fault":
            self.faults.append(line["text"])
        self.left |= kind == "left"
        self.killed |= kind == "kill"


def _lines(ledger: Path) -> Iterator[dict[str, Any]]:
    if not ledger.exists():
        return
    with ledger.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):  # the last one may have been cut off by a kill
                yield json.loads(line)
