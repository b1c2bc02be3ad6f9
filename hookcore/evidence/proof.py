"""The two proofs: that plugins change nothing, and that a resume loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from hookcore.errors import HookcoreError, UsageError
from hookcore.evidence.account import Account
from hookcore.evidence.bench import Bench, Kill
from hookcore.evidence.difference import Difference, Key, differences, first_difference, unseeded
from hookcore.evidence.result import Result, Segment

_TAIL = 12
# What may differ from run to run while the training is the same: clocks, streams nobody draws from.
_HARMLESS = ("variable", "random stream", "end")
_BARE, _WITH = "without hookcore", "with plugins"


@attrs.define(eq=False)
class Proof:
    """What both proofs begin with: one run without hookcore, one with the plugins.

    Args:
        bench: Where the script runs.
        result: Takes what is found.
        plugins: Names of the active plugins.
        say: Hears after each run what it was.
        print_too: Whether stdout is compared.
    """

    bench: Bench
    result: Result
    plugins: Sequence[str]
    say: Callable[[str], None]
    print_too: bool = False
    bare: Account = attrs.field(init=False)
    ours: Account = attrs.field(init=False)
    known: set[Key] = attrs.field(init=False, factory=set)

    def holds(self) -> bool:
        """Whether the plugins change nothing, or nothing before an announced intervention.

        Raises:
            UsageError: hookcore refuses what was typed.
            HookcoreError: A run did not end in time, or could not be watched.
        """
        self.bare = self._run_bare()
        if not self.bare.moments:
            self.result.nothing = self._no_training()
            return False
        if not (self.bare.has_steps or self.bare.by_hand):  # its optimizers never step
            self.bench.by_hand = True
            self.bare = self._run_bare()
        with self.bench.fresh() as place:
            self.ours = self._watched(self.bench.run(), f"with {self._names}")
            self.result.files, self.result.copied = place.written(), place.copied
        self.result.reference, self.result.others = self.bare, [self.ours]
        return self._same_as_bare()

    # -- inside ----------------------------------------------------------------------------

    @property
    def _names(self) -> str:
        return ", ".join(self.plugins) or "hookcore and no plugin"

    def _run_bare(self) -> Account:
        with self.bench.fresh():
            return self._watched(self.bench.run(bare=True), _BARE)

    def _watched(self, account: Account, what: str) -> Account:
        """An account that can be trusted."""
        outcome = account.outcome
        if account.refusal is not None:
            raise UsageError(*account.refusal)
        if account.faults:
            raise HookcoreError(
                "the run could not be watched", account.faults[0].rstrip(), "please report it"
            )
        if outcome.late:
            raise HookcoreError(
                f"the script ({what}) has not ended in {outcome.seconds:.0f} s",
                f"it took {account.steps} steps" + _stand(account),
                "allow more:  --timeout SECONDS     compare its beginning alone:  --steps N",
            )
        death = "" if account.whole else f", {_death(account)}"
        self.say(f"{what}: {_count(account.steps, 'step')} in {outcome.seconds:.1f} s{death}")
        return account

    def _no_training(self) -> tuple[str, str, str]:
        bare = self.bare
        if bare.exit or not bare.whole:
            why = bare.exit or _death(bare)
            tail = "\n".join(bare.errors.rstrip().splitlines()[-_TAIL:])
            hint = "a comparison gives it no input: pass what it asks for as an argument"
            way_out = hint if bare.exit.startswith("EOFError") else "mend the script first"
            return (
                "there is nothing to compare: the script fails without hookcore too",
                f"{why}, before a first step\n{tail}".rstrip(),
                way_out,
            )
        return (
            "there is nothing to compare: no training was seen",
            "no optimizer has stepped and no backward pass has run in the script's main thread",
            "see what hookcore finds in it:  hookcore explain SCRIPT",
        )

    def _same_as_bare(self) -> bool:
        self._leave_out(unseeded(self.bare, self.ours))
        first, also = first_difference(self.bare, self.ours, self.known)
        if first is not None and not self._intervened(first, also):
            self._find_what_varies()
            if self.result.cause is not None:
                return False
            first, also = first_difference(self.bare, self.ours, self.known)
        if first is None:
            self._compare_printed()
            return self.result.equal
        if self._intervened(first, also):
            return True
        self._differs("plugins", (_BARE, _WITH), first, also)
        return False

    def _intervened(self, first: Difference, also: Collection[Difference]) -> bool:
        """Whether the first difference is what a plugin has announced."""
        rates = {one.name for one in (first, *also) if one.name.endswith(".lr")}
        for done in self.ours.interventions:
            if done.number > first.number or done.by not in self.plugins:
                continue
            if not done.is_rate or (rates and done.number == first.number):
                self.result.intervention = done
                return True
        return False

    def _find_what_varies(self) -> None:
        """Run it once more without hookcore: what differs then is the script's own."""
        again = self._run_bare()
        found = list(differences(self.bare, again))
        serious = [one for one in found if one.kind not in _HARMLESS]
        if serious:
            first = serious[0]
            also = [one for one in serious[1:] if one.step == first.step]
            self._differs("script", ("one run", "another run"), first, also)
        self._leave_out({one.key for one in found if one.kind in _HARMLESS})

    def _leave_out(self, keys: set[Key]) -> None:
        self.known |= keys
        self.result.known = sorted(self.known)

    def _compare_printed(self) -> None:
        if not self.print_too:
            return
        mine, theirs = self.bare.printed.splitlines(), self.ours.printed.splitlines()
        for i in range(max(len(mine), len(theirs))):
            one = mine[i] if i < len(mine) else "nothing more"
            other = theirs[i] if i < len(theirs) else "nothing more"
            if one != other:
                self.result.printed_differs = (i + 1, one, other)
                self.result.labels, self.result.cause = (_BARE, _WITH), "plugins"
                return

    def _differs(
        self,
        cause: str,
        labels: tuple[str, str],
        first: Difference,
        also: Sequence[Difference],
    ) -> None:
        self.result.cause, self.result.labels = cause, labels
        self.result.difference, self.result.also = first, also


@attrs.define(eq=False)
class ResumeProof(Proof):
    """That a run which is killed and resumed goes on as if nothing had happened."""

    def survives(self, choose: Callable[[Sequence[int], int], Sequence[Kill]]) -> None:
        """Kill and resume; what is found is in the result.

        Args:
            choose: Given the steps after which a checkpoint is taken and the number of all steps,
                gives the kills, in their order.

        Raises:
            UsageError: What was typed cannot be: there is no such step.
            HookcoreError: A run did not end in time, or could not be watched.
        """
        if not self.holds():
            return
        reference = self.bare if self.result.intervention is None else self.ours
        self.result.reference = reference
        taken = [capture.step for capture in self.ours.captures if capture.resumable]
        if not taken:
            self.result.nothing = self._no_checkpoint()
            return
        kills = choose(taken, reference.steps)
        if not kills:
            self.result.nothing = self._too_early(taken, reference.steps)
            return
        with self.bench.fresh() as place:
            self._kill_and_resume(reference, kills)
            self.result.files, self.result.copied = place.written(), place.copied
        anew = all(segment.resumed is None for segment in self.result.segments)
        if anew and self.result.nothing is None and self.result.difference is None:
            self.result.nothing = self._too_early(taken, reference.steps)

    def _kill_and_resume(self, reference: Account, kills: Sequence[Kill]) -> None:
        captured: dict[str, list[int]] = {}
        self.result.others.clear()
        before: Kill | None = None
        for kill in (*kills, None):
            account = self.bench.run(resume=before is not None, kill=kill, captured=captured)
            if before is not None:
                place = account.resumed
                self.result.segments.append(Segment(before, None if place is None else place[1]))
                if account.refusal is not None:
                    what, why, way_out = account.refusal
                    what = f"killed {before.words}, the run could not be resumed: {what}"
                    self.result.nothing = (what, why, way_out)
                    return
            self._watched(account, _doing(before, kill, account))
            if not account.resume_known:
                raise HookcoreError(
                    "the resumed run cannot be compared",
                    "it went on from a checkpoint that none of the runs before it has taken",
                    "please report it",
                )
            self.result.others.append(account)
            first, also = first_difference(reference, account, self.known)
            if first is not None:
                label = "killed" if before is None else "resumed"
                self._differs("resume", ("straight", label), first, also)
                return
            captured |= {one.key: [one.number, one.step] for one in account.captures}
            before = kill

    # -- nothing to verify -----------------------------------------------------------------

    def _no_checkpoint(self) -> tuple[str, str, str]:
        verdicts = self.ours.verdicts
        refused = next((one for one in verdicts if one[1] is not None), None)
        if not verdicts:
            return (
                "there is nothing to verify: no training loop was recognised",
                "an optimizer steps, and hookcore sees no loop around it",
                "see why:  hookcore explain SCRIPT",
            )
        if refused is not None:
            return (
                "there is nothing to verify: the loop cannot be resumed",
                f"{refused[0]}: {refused[1]}" if refused[0] else str(refused[1]),
                "see what can be resumed:  hookcore explain SCRIPT",
            )
        return (
            "there is nothing to verify: no checkpoint was taken that a run can go on from",
            f"the training took {_count(self.ours.steps, 'step')}",
            "have more of them:  -o checkpoint.every_n_epochs=1     all options:  hookcore plugins",
        )

    def _too_early(self, taken: Sequence[int], steps: int) -> tuple[str, str, str]:
        return (
            "there is nothing to verify: no checkpoint lay there when the run was killed",
            f"the first is taken after step {taken[0]} of {steps}",
            f"kill it later:  --kill-at {taken[0]}+     let it run longer, with more epochs",
        )


def _doing(before: Kill | None, kill: Kill | None, account: Account) -> str:
    if before is None:
        assert kill is not None
        return f"killed {kill.words}"
    place = account.resumed
    went = "begun anew" if place is None else f"resumed after step {place[1]}"
    return went if kill is None else f"{went}, killed {kill.words}"


def _death(account: Account) -> str:
    code = account.outcome.code
    if account.killed:
        return "dead"
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _stand(account: Account) -> str:
    if not account.outcome.stack:
        return ""
    path, line = account.outcome.stack[0]
    return f" and stands at {path}:{line}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
