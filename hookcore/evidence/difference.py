"""The first thing in which two runs of one script differ, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import attrs

from hookcore.evidence.account import Account, Moment

# In the order in which one thing is the cause of the next.
_KINDS = ("batch", "random stream", "loss", "weights", "optimizer", "variable")
# What a run that goes on, or a backward pass, may not have met yet; else missing is different.
_WHERE_BOTH_HAVE_IT = ("batch",)

Key = tuple[str, str]
"""Kind of thing, and its name."""


@attrs.frozen
class Side:
    """What one of the two has.

    Attributes:
        digest: Of the value; empty where there is none.
        shown: The value, where it is short.
    """

    digest: str
    shown: str


@attrs.frozen
class Difference:
    """One thing in which two runs differ.

    Attributes:
        kind: ``course``, ``end``, or the kind of thing that differs.
        name: What it is called, with its scope.
        step: The step in which it was seen, from 1.
        number: The moment.
        moment: What kind of moment it was.
        where: File and line of the user's code at that moment.
        one: What the first run has.
        other: What the second run has.
    """

    kind: str
    name: str
    step: int
    number: int
    moment: str
    where: str
    one: Side
    other: Side

    @property
    def key(self) -> Key:
        """Kind and name."""
        return self.kind, self.name


def differences(one: Account, other: Account, known: Collection[Key] = ()) -> Iterator[Difference]:
    """All that differs, moment by moment; within a moment causes before effects.

    Args:
        one: A run that was never interrupted.
        other: Another run. Moments that it does not have, because it went on from a checkpoint or
            was killed, are not compared.
        known: What is known to differ from run to run, whatever else is the same.
    """
    mine = {moment.number: moment for moment in one.moments}
    for moment in other.moments:
        counterpart = mine.get(moment.number)
        if counterpart is None:
            if one.whole and not one.left:
                yield _course(moment, f"a {moment.kind} at {moment.where}", first=False)
                return
            continue
        if (counterpart.kind, counterpart.where) != (moment.kind, moment.where):
            yield Difference(
                "course", "", moment.step, moment.number, moment.kind, moment.where,
                Side("", f"{counterpart.kind} at {counterpart.where}"),
                Side("", f"{moment.kind} at {moment.where}"),
            )  # fmt: skip
            return
        for found in _of_moment(counterpart, moment, known):
            if other.resumed is None or not is_unbound(found):
                yield found
    if one.left or other.killed or not one.whole:
        return
    if other.end is None or one.end is None:
        return
    if one.end.number > other.end.number:
        moment = mine[other.end.number]
        yield _course(moment, f"a {moment.kind} at {moment.where}", first=True)
        return
    if one.exit != other.exit:
        yield Difference(
            "end", "", one.end.step, one.end.number, "end", "",
            Side("", one.exit or "it ends by itself"), Side("", other.exit or "it ends by itself"),
        )  # fmt: skip
    yield from _of_moment(one.end, other.end, known)


def is_unbound(found: Difference) -> bool:
    """Whether a variable has no value yet in a run that went on.

    A resume leaves out what its loop binds again before it reads it. Were it read all the same,
    that would raise, and so differ.
    """
    return found.kind == "variable" and not found.other.digest and found.moment != "end"


def unbound(one: Account, other: Account) -> set[str]:
    """Names of such variables.

    Args:
        one: A run that was never interrupted.
        other: One that went on.
    """
    if other.resumed is None:
        return set()
    mine = {moment.number: moment for moment in one.moments}
    pairs = ((mine[moment.number], moment) for moment in other.moments if moment.number in mine)
    found = (each for pair in pairs for each in _of_moment(*pair, ()))
    return {each.name for each in found if is_unbound(each)}


def unseeded(one: Account, other: Account) -> set[Key]:
    """Random streams that the script leaves as the system has seeded them.

    They differ before its first line and ever after.
    """
    if one.begin is None or other.begin is None:
        return set()
    kind = "random stream"
    mine = {moment.number: moment.items[kind] for moment in one.moments}
    found = {
        name
        for name, token in one.begin.items[kind].items()
        if other.begin.items[kind].get(name) not in (None, token)
    }
    for moment in other.moments:
        counterpart = mine.get(moment.number, {})
        found -= {n for n in found if counterpart.get(n) == moment.items[kind].get(n)}
    return {(kind, name) for name in found}


def first_difference(
    one: Account, other: Account, known: Collection[Key] = ()
) -> tuple[Difference | None, list[Difference]]:
    """The first difference, and those that were seen in the same step.

    Where a variable that no resume restored changes a loss, it stands among them.
    """
    found = differences(one, other, known)
    first = next(found, None)
    if first is None:
        return None, []
    also: list[Difference] = []
    for following in found:
        if following.step != first.step or (following.moment == "end") != (first.moment == "end"):
            break
        if all(following.key != one.key for one in (first, *also)):
            also.append(following)
    return first, also


def _course(moment: Moment, what: str, *, first: bool) -> Difference:
    one, other = (what, "nothing more") if first else ("nothing more", what)
    return Difference(
        "course", "", moment.step, moment.number, moment.kind, moment.where,
        Side("", one), Side("", other),
    )  # fmt: skip


def _of_moment(one: Moment, other: Moment, known: Collection[Key]) -> Iterator[Difference]:
    for kind in _KINDS:
        mine, theirs = one.items.get(kind), other.items.get(kind)
        if mine is None or theirs is None:
            continue
        for name in dict.fromkeys((*mine, *theirs)):
            here, there = mine.get(name), theirs.get(name)
            if here is None or there is None:
                if kind in _WHERE_BOTH_HAVE_IT:
                    continue
            elif here[0] == there[0]:
                continue
            if (kind, name) not in known:
                yield Difference(
                    kind, name, other.step, other.number, other.kind, other.where,
                    _side(here), _side(there),
                )  # fmt: skip


def _side(token: list[str] | None) -> Side:
    return Side("", "not there") if token is None else Side(*token)
