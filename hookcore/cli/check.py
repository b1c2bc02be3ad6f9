"""``hookcore check``: a script with plugins and without them, compared bit for bit."""

from __future__ import annotations

from typing import Any

import click

from hookcore.cli.probing import decorated, plugin_options, split
from hookcore.cli.proving import progress, proof_options, shown, subject_of, target_of
from hookcore.cli.run import LikePython
from hookcore.evidence import Bench
from hookcore.evidence.proof import Proof
from hookcore.evidence.result import Result


@click.command(cls=LikePython, context_settings={"allow_interspersed_args": False})
@decorated(
    *plugin_options,
    click.option("--stdout", "printed", is_flag=True, help="Compare what it prints, too."),
    *proof_options,
)
def check(
    plugins: tuple[str, ...],
    options: tuple[str, ...],
    printed: bool,
    as_json: bool,
    module: str | None,
    target: tuple[str, ...],
    **how: Any,
) -> int:
    """Prove that the plugins change nothing in a script.

    It runs to its end without hookcore and with the plugins, each time in a copy of the working
    folder, and everything is compared bit for bit: batches, losses, weights, optimizers, random
    streams, variables, exit code. Exit code 0: equal; 1: something differs, or there was nothing
    to compare; 2: wrong usage. Everything after the script's name, or after -m MODULE, belongs to
    the script.
    """
    name, argv, is_module = split(module, target)
    subject, active = subject_of(
        "check", name, argv, is_module=is_module, plugins=plugins, options=options, **how
    )
    result = Result(target=target_of(subject), question="interference")
    with Bench(subject) as bench:
        proof = Proof(
            bench,
            result,
            [record.name for record in active.order],
            progress(as_json=as_json),
            print_too=printed,
        )
        proof.holds()
        result.runs = bench.runs
    return shown(result, as_json=as_json)
