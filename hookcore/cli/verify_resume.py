"""``hookcore verify-resume``: a script killed and resumed, compared bit for bit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import attrs
import click

from hookcore.cli.probing import decorated, plugin_options, split
from hookcore.cli.proving import progress, proof_options, shown, subject_of, target_of
from hookcore.cli.run import LikePython
from hookcore.errors import UsageError
from hookcore.evidence import Bench, Kill
from hookcore.evidence.proof import ResumeProof
from hookcore.evidence.result import Result
from hookcore.plugins import Plugins


@attrs.frozen
class Wish:
    """What ``--kill-at`` asks for.

    Attributes:
        kills: The kills that were named.
        count: How many are to be drawn instead; 0: none.
        seed: What they are drawn from.
    """

    kills: tuple[Kill, ...] = ()
    count: int = 0
    seed: int | None = None

    def choose(self, taken: Sequence[int], steps: int) -> Sequence[Kill]:
        """The kills of a run, in their order.

        Args:
            taken: Steps after which a checkpoint is taken.
            steps: Steps of the run.

        Raises:
            UsageError: The run has no such step.
        """
        beyond = [kill for kill in self.kills if kill.step > steps]
        if beyond:
            raise UsageError(
                f"--kill-at {beyond[0]}: there is no such step",
                f"the script takes {steps}",
                f"name one up to {steps}:  --kill-at {steps}     draw one:  --kill-at random",
            )
        possible = [Kill(taken[0], after=True)] if taken[0] else []
        for step in range(taken[0] + 1, steps + 1):
            possible += [Kill(step), Kill(step, after=True)]
        drawn = random.Random(self.seed).sample(possible, min(self.count, len(possible)))  # noqa: S311 - no secrets
        return sorted((*self.kills, *drawn), key=lambda kill: (kill.step, kill.after))


def _written_at_once(active: Plugins) -> tuple[str, ...]:
    """Options by which a checkpoint is on disk before the training goes on.

    The steps of a small script are faster than a disk: what is written beside them would not be
    there yet when it is killed. An option that the user gives comes later, and counts.
    """
    return tuple(
        f"{record.name}.background=false"
        for record in active.order
        if any(option.name == "background" for option in record.options)
    )


class _Moments(click.ParamType):  # type: ignore[type-arg] # generic in some versions alone
    """``STEP[+][,...]`` or ``random[:N]``."""

    name = "moments"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Wish:
        """Read it."""
        if isinstance(value, Wish):
            return value
        word, colon, number = str(value).partition(":")
        if word == "random" and (number.isdigit() if colon else not number) and number != "0":
            return Wish(count=int(number or 1))
        kills = []
        for part in str(value).split(","):
            step = part.strip().removesuffix("+")
            if not step.isdigit() or int(step) < 1:
                self.fail(
                    f"{value!r} is neither a step, such as 17 (in its middle) or 17+ (after it), "
                    "nor random[:N]",
                    param,
                    ctx,
                )
            kills.append(Kill(int(step), part.strip().endswith("+")))
        return Wish(tuple(dict.fromkeys(kills)))


@click.command(cls=LikePython, context_settings={"allow_interspersed_args": False})
@decorated(
    click.option(
        "--kill-at",
        "wish",
        type=_Moments(),
        metavar="STEP[+][,...]|random[:N]",
        default="random",
        show_default=True,
        help="Kill in the middle of these optimizer steps; STEP+: right after it.",
    ),
    click.option("--seed", type=int, help="Draw the same steps again."),
    *plugin_options,
    *proof_options,
)
def verify_resume(
    wish: Wish,
    seed: int | None,
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    as_json: bool,
    module: str | None,
    target: tuple[str, ...],
    **how: Any,
) -> int:
    """Prove that a script can be killed at any moment and resumed.

    It runs to its end without hookcore and with the plugins, then it is killed (SIGKILL) and
    resumed, each time in a copy of the working folder; from where it went on everything is
    compared bit for bit: batches, losses, weights, optimizers, random streams, variables, exit
    code. Exit code 0: equal; 1: something differs, or there was nothing to verify; 2: wrong
    usage. Everything after the script's name, or after -m MODULE, belongs to the script.
    """
    name, argv, is_module = split(module, target)
    subject, active = subject_of(
        "verify-resume", name, argv, is_module=is_module, plugins=plugins, options=options, **how
    )
    if not subject.keepers:
        raise UsageError(
            "hookcore verify-resume needs a plugin that keeps checkpoints, and none is active",
            f"active are: {', '.join(record.name for record in active.order) or 'none'}",
            "pip install hookcore-checkpoint     see why it is not:  hookcore plugins",
        )
    subject = attrs.evolve(subject, options=(*_written_at_once(active), *subject.options))
    result = Result(target=target_of(subject), question="resume")
    with Bench(subject) as bench:
        names = [record.name for record in active.order]
        proof = ResumeProof(bench, result, names, progress(as_json=as_json))
        proof.survives(attrs.evolve(wish, seed=seed).choose)
        result.runs = bench.runs
    return shown(result, as_json=as_json)
