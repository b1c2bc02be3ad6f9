"""A proof's result, for people and for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from hookcore.errors import three_parts
from hookcore.evidence.difference import Difference, Key
from hookcore.evidence.result import Result

_MOST, _MOST_OTHERS = 8, 2
_ADVICE = {
    "script": (
        "the script is not deterministic: seed what it draws from; on a GPU also "
        "torch.use_deterministic_algorithms(True)\n"
        "a smaller matter, a variable that holds a time:  --ignore NAME"
    ),
    "plugins": "find the plugin:  -p no:NAME     a variable that holds a time:  --ignore NAME",
    "resume": "a variable that holds a time:  --ignore NAME     the loop's verdict:  "
    "hookcore explain SCRIPT",
}


@attrs.frozen
class Report:
    """Words for one result.

    Args:
        result: It.
    """

    result: Result

    def text(self) -> str:
        """For people."""
        result = self.result
        if result.nothing is not None:
            lines = [f"{result.target}: {three_parts(*result.nothing)}"]
        else:
            lines = [f"{result.target}: {self._headline()}"]
            lines += [f"  {name:<13}{text}".rstrip() for name, text in self._rows()]
            if result.cause is not None:
                lines += [f"  {line}" for line in _ADVICE[result.cause].splitlines()]
        if result.files:
            where = ", in the copy" if result.copied else ""
            lines += ["", f"files that the script wrote{where}"]
            lines += [f"  {_relative(one.path)}  {one.change}" for one in result.files]
        return "\n".join(lines)

    @property
    def data(self) -> dict[str, Any]:
        """For programs, as JSON has it."""
        result = self.result
        last = result.others[-1] if result.others else None
        return {
            "target": result.target,
            "question": result.question,
            "equal": result.equal,
            "nothing": None if result.nothing is None else list(result.nothing),
            "cause": result.cause,
            "labels": list(result.labels),
            "difference": _difference(result.difference),
            "also": [_difference(one) for one in result.also],
            "stdout": None if result.printed_differs is None else list(result.printed_differs),
            "intervention": (
                None if result.intervention is None else attrs.asdict(result.intervention)
            ),
            "kills": [
                {"step": one.kill.step, "after": one.kill.after, "resumed_after": one.resumed}
                for one in result.segments
            ],
            "compared": dict(result.compared),
            "not_compared": [" ".join(key) for key in result.known],
            "unbound": list(result.unbound),
            "unread": {} if last is None else last.unread,
            "exit": None if last is None else last.exit,
            "runs": result.runs,
            "copied": result.copied,
            "files": [{"path": _relative(one.path), "change": one.change} for one in result.files],
        }

    # -- inside ----------------------------------------------------------------------------

    def _headline(self) -> str:
        result = self.result
        first = result.difference
        if first is not None:
            at = "at its end" if first.moment == "end" else f"at step {first.step}"
            return {
                "script": f"two runs without hookcore differ {at}",
                "plugins": f"with plugins it differs {at}",
                "resume": f"{self._last_kill()}it differs {at}",
            }[result.cause or "resume"]
        if result.printed_differs is not None:
            return f"with plugins it prints something else, in line {result.printed_differs[0]}"
        if result.question == "interference":
            return f"with plugins and without them no bit differs{self._until()}"
        times = "once" if len(result.segments) == 1 else f"{len(result.segments)} times"
        return f"killed and resumed {times}, no bit differs"

    def _last_kill(self) -> str:
        segments = self.result.segments
        if not segments:
            return "before it is killed "
        last = segments[-1]
        went = "began anew" if last.resumed is None else f"went on after step {last.resumed}"
        return f"killed {last.kill.words} it {went}, and "

    def _until(self) -> str:
        done = self.result.intervention
        return "" if done is None else f" until {done.by} acts after step {done.step}"

    def _rows(self) -> Iterator[tuple[str, str]]:
        result = self.result
        first = result.difference
        if first is not None:
            yield "first", _name(first)
            yield from zip(result.labels, (_side(first.one), _side(first.other)), strict=True)
            if first.where:
                yield "seen", f"in the {first.moment} at {first.where}"
            yield from self._also()
        if result.printed_differs is not None:
            yield from zip(result.labels, result.printed_differs[1:], strict=True)
        if result.intervention is not None:
            done = result.intervention
            yield "intervention", f"{done.by} {done.what}"
        for one in result.segments:
            went = "began anew" if one.resumed is None else f"went on after step {one.resumed}"
            yield "killed", f"{one.kill.words}, {went}"
        if first is None and result.compared:
            yield "compared", self._compared()
        if result.known:
            yield "left out", f"{_list(result.known)}: not the same in two runs without hookcore"
        if result.unbound:
            names = ", ".join(dict.fromkeys(name.partition(" of ")[0] for name in result.unbound))
            yield "unbound", f"{names}: at first, after a resume; the loop binds them again"
        last = result.others[-1] if result.others else None
        if last is not None and last.unread:
            yield "not read", ", ".join(sorted({_short(*one) for one in last.unread.items()}))
        if last is not None and last.exit:
            yield "its end", last.exit

    def _also(self) -> Iterator[tuple[str, str]]:
        """What else differs in that step, by kind."""
        found: dict[str, list[Difference]] = {}
        for one in self.result.also:
            found.setdefault(one.kind, []).append(one)
        for kind, those in found.items():
            most = _MOST if kind == "variable" else _MOST_OTHERS
            names = [_short_name(one) for one in those[:most]]
            more = len(those) - len(names)
            yield "also", f"{kind} {', '.join(names)}" + (f" and {more} more" if more > 0 else "")

    def _compared(self) -> str:
        compared = self.result.compared
        names = compared["names"]
        steps = f"{compared['steps']} steps"
        if compared["first"] not in (None, 1):
            steps = f"{compared['steps']} steps from step {compared['first']} on"
        parts = [
            f"{compared['losses']} losses",
            "batches" if names.get("batch") else "",
            _many(names.get("weights", 0), "weight and buffer", "weights and buffers"),
            _many(names.get("optimizer", 0), "value of optimizers", "values of optimizers"),
            f"random streams of {', '.join(compared['streams'])}",
            _many(names.get("variable", 0), "variable", "variables"),
            "the script's end" if compared["end"] else "",
        ]
        return f"{steps}: " + ", ".join(part for part in parts if part)


def _name(one: Difference) -> str:
    if one.kind == "course":
        return "what happens"
    if one.kind == "end":
        return "how the script ends"
    return f"the {one.kind} {one.name}" if one.name != one.kind else f"the {one.kind}"


def _short_name(one: Difference) -> str:
    name = one.name.partition(" of ")[0] if one.kind == "variable" else one.name
    mine, theirs = one.one.shown, one.other.shown
    return f"{name} ({mine}, {theirs})" if mine and theirs and mine != theirs else name


def _short(name: str, kind: str) -> str:
    return f"{name.partition(' of ')[0]} ({kind.rpartition('.')[2]})"


def _list(keys: Sequence[Key]) -> str:
    streams = [name for kind, name in keys if kind == "random stream"]
    others = [name or "how the script ends" for kind, name in keys if kind != "random stream"]
    if streams:
        others.insert(0, f"the random streams of {' and '.join(streams)}")
    return ", ".join(others)


def _side(side: Any) -> str:
    return side.shown or f"digest {side.digest[:12]}"


def _difference(one: Difference | None) -> dict[str, Any] | None:
    return None if one is None else attrs.asdict(one)


def _many(number: int, one: str, many: str) -> str:
    return "" if not number else f"{number} {one if number == 1 else many}"


def _relative(path: Path) -> str:
    folder = Path.cwd()
    return os.fspath(path.relative_to(folder)) if folder in path.parents else os.fspath(path)
