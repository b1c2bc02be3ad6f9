"""The explicit calls: a run opened by hand, and loops that say what they are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from hookcore.errors import HookcoreWarning
from hookcore.hookspecs import How
from hookcore.plain import gate
from hookcore.plain.adapter import Plain
from hookcore.plain.declared import Declared, declare
from hookcore.session import Session
from hookcore.settings import Settings, resolve
from hookcore.training import Run

Item = TypeVar("Item")


def settings_of_call(call: Mapping[str, Any], caller: str) -> Settings:
    """The frozen settings of one call, made where the user stands."""
    given = {name: value for name, value in call.items() if value is not None}
    return resolve(call=given, command=None, environ=os.environ, folder=Path.cwd(), caller=caller)


def way_of(error: BaseException | None) -> How:
    """How a block was left, by the exception that leaves it."""
    if error is None:
        return "finished"
    return "exit" if isinstance(error, SystemExit) else "exception"


class RunByHand:
    """What :func:`run` gives: a context manager around code that hookcore does not rewrite."""

    def __init__(self, name: str, settings: Callable[[], Settings]) -> None:
        self._name, self._settings = name, settings
        self._session: Session | None = None

    def __enter__(self) -> Run:
        joined = gate.live()
        if joined is not None:
            warnings.warn(
                HookcoreWarning(
                    "hookcore.run() inside a run joins it; its own settings do not count"
                ),
                stacklevel=2,
            )
            return joined.run
        session = Session(self._settings(), self._name, Plain())
        run = session.open()
        self._session = session
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close(way_of(error), error)


def run(
    *,
    plugins: Iterable[Any] | None = None,
    only: Iterable[str] | None = None,
    disable: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    quiet: bool | None = None,
    cost: bool | None = None,
    budget: str | None = None,
    resume: bool | str | None = None,
    loops: Mapping[str, str] | None = None,
    name: str = "run",
) -> RunByHand:
    """Open a run by hand, around code that cannot be rewritten or is no torch loop.

    ::

        with hookcore.run(plugins=["progress"]) as run:
            for epoch in hookcore.epochs(range(10)):
                for batch in hookcore.batches(loader):
                    ...
                    hookcore.log(loss=loss)

    Inside, optimizer steps are seen as everywhere; loops are seen where they are declared with
    :func:`epochs` and :func:`batches`, or belong to an instrumented function.

    Args:
        plugins: Names to add, or instances and classes to use.
        only: The only plugins to load.
        disable: Names of plugins to leave out.
        options: Options by plugin and name.
        strict: Raise a plugin's exception instead of switching it off.
        quiet: Only warnings.
        cost: End the run with a table of what each plugin cost.
        budget: Call an observer less often that takes more of the time than this, ``"1%"``.
        resume: Continue from a checkpoint: True, ``"must"`` or ``"weights"``.
        loops: What a loop is, by its place: ``{"train.py:31": "epoch"}``.
        name: What default paths are made of.

    Raises:
        UsageError: On entry, where a name, option or value is wrong.
    """
    call = {
        "plugins": plugins, "only": only, "disable": disable, "options": options,
        "strict": strict, "quiet": quiet, "cost": cost, "budget": budget, "resume": resume,
        "loops": loops,
    }  # fmt: skip
    return RunByHand(name, lambda: settings_of_call(call, "run"))


def epochs(iterable: Iterable[Item]) -> Declared[Item]:
    """Say that an iteration over ``iterable`` is an epoch. Outside a run it is just iterated.

    Cost: outside a run one call a loop, nothing an iteration.
    """
    return declare("epoch", iterable)


def batches(iterable: Iterable[Item]) -> Declared[Item]:
    """Say that an iteration over ``iterable`` is a batch. Outside a run it is just iterated.

    Cost: outside a run one call a loop, nothing an iteration.
    """
    return declare("batch", iterable)


@contextmanager
def validation() -> Iterator[None]:
    """Say that the block is a validation: its logged values are the validation's metrics.

    Outside a run, or outside a fit, it does nothing.
    """
    host = gate.live()
    life = None if host is None else host.life
    opened = life is not None and life.fit is not None and not life.in_validation
    if life is not None and opened:
        life.start_validation()
    try:
        yield
    finally:
        if life is not None and opened:
            life.end_validation()


def log(values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Deliver metrics to the run's plugins. Outside a run it does nothing.

    Args:
        values: Numbers or one-element tensors by name; kept detached, on their device.
        **named: The same, as keywords.

    Raises:
        UsageError: A value is no single number.
    """
    host = gate.live()
    if host is not None:
        host.run.log(values, **named)
