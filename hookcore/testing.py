"""What plugin authors test with: a recorder, a tiny run, an isolated manager, the contract test.

::

    from hookcore.testing import Recorder, assert_plugin_contract, tiny_run

    def test_contract():
        assert_plugin_contract(LossMonitor)

    def test_it_stops_a_loop_that_gets_worse():
        run = tiny_run(LossMonitor(patience=2), losses=[3.0, 2.0, 2.5, 2.6, 2.7])

        assert run.fit.epochs_done == 4

Nothing here discovers installed plugins, reads the environment or needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import attrs

from hookcore import checks
from hookcore.hookspecs import EVENTS, hookimpl
from hookcore.plain.adapter import Plain
from hookcore.plain.explicit import batches, epochs, log, validation, way_of
from hookcore.plugins import Plugins, load
from hookcore.session import Session
from hookcore.settings import Settings, resolve
from hookcore.training import Run

__all__ = ["Recorder", "assert_plugin_contract", "isolated_manager", "isolated_run", "tiny_run"]


class Recorder:
    """A plugin that writes down every event it receives.

    Attributes:
        calls: One ``(event, arguments)`` a call, in order. Of the arguments only plain values are
            kept; objects, tensors among them, appear as the name of their type.
        names: The events alone.
    """

    name = "recorder"

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    @property
    def names(self) -> list[str]:
        """The events received, in order."""
        return [name for name, _ in self.calls]

    def count(self, event: str) -> int:
        """How often an event was received."""
        return self.names.count(event)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The arguments of every call of one event."""
        return [arguments for name, arguments in self.calls if name == event]


def _recording(event: str, arguments: tuple[str, ...]) -> Any:
    """A hook that records; its parameters must be named, for pluggy reads the signature."""
    names: dict[str, Any] = {"plain": _plain}
    given = "".join(f"'{name}': plain({name}), " for name in arguments)
    exec(  # noqa: S102 - our own text: names of the contract
        f"def {event}(self, {', '.join(arguments)}):\n"
        f"    self.calls.append(({event!r}, {{{given}}}))\n",
        names,
    )
    return hookimpl(names[event])


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return type(value).__name__


for _event in EVENTS.values():
    setattr(Recorder, _event.name, _recording(_event.name, _event.arguments))


def isolated_manager(
    *plugins: Any, options: Mapping[str, Mapping[str, Any]] | None = None
) -> Plugins:
    """Load these plugins and no installed one; the environment and pyproject.toml are not read.

    Args:
        *plugins: Instances or classes.
        options: Options for the classes, by plugin and name.

    Raises:
        UsageError: A plugin or an option is wrong, as a user would see it.
    """
    return load(_settings(plugins, options), distributions=())


class isolated_run:  # noqa: N801 - used as a context manager, like contextlib's own
    """``with isolated_run(plugin) as run``: a run with these plugins alone, opened by hand.

    Args:
        *plugins: Instances or classes.
        options: Options for the classes.
        strict: Whether a plugin's exception is raised; by default it is, so that tests see it.
        name: The run's name.
    """

    def __init__(
        self,
        *plugins: Any,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        strict: bool = True,
        name: str = "tiny",
    ) -> None:
        self._settings = attrs.evolve(_settings(plugins, options), strict=strict)
        self._name = name
        self._session: Session | None = None

    def __enter__(self) -> Run:
        self._session = Session(self._settings, self._name, Plain(), distributions=())
        return self._session.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._session is not None
        self._session.close(way_of(error), error)


def tiny_run(
    *plugins: Any,
    losses: Sequence[float] = (3.0, 2.0, 1.0),
    batches_per_epoch: int = 2,
    validations: Sequence[float] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool = True,
) -> Run:
    """A training of no torch: one epoch a loss, which is logged as ``loss`` in each batch.

    Args:
        *plugins: Instances or classes to run, and no others.
        losses: The loss of each epoch.
        batches_per_epoch: Batches in each.
        validations: ``val_loss`` of each epoch's validation; none where left out.
        options: Options for the classes.
        strict: Whether a plugin's exception is raised.

    Returns:
        The run, over; ``run.fit`` and ``run.metrics`` can be read.
    """
    with isolated_run(*plugins, options=options, strict=strict) as run:
        for epoch in epochs(range(len(losses))):
            for _ in batches(range(batches_per_epoch)):
                log(loss=losses[epoch])
            if validations is not None:
                with validation():
                    log(val_loss=validations[epoch])
    return run


def assert_plugin_contract(plugin: Any) -> None:
    """Check what hookcore asks of every plugin; raises AssertionError naming what is wrong.

    It loads without arguments, compares by identity, implements at least one hook of the contract
    with the contract's arguments, declares what makes sense, survives a tiny run with each of its
    events, and its state survives a round trip.

    Args:
        plugin: The class, as its entry point names it.
    """
    try:
        checks.kind_of(plugin)
        hooks = checks.hooks_of(plugin)
        made = isolated_manager(plugin).records[0].plugin
    except Exception as error:
        raise AssertionError(f"{plugin!r} is no plugin: {error}") from error
    assert hooks, f"{plugin!r} implements no hook"
    tiny_run(made)
    state = getattr(made, "state_dict", None)
    assert (state is None) == (getattr(made, "load_state_dict", None) is None), (
        f"{plugin!r} has one of state_dict and load_state_dict, and needs both or none"
    )
    if state is not None:
        made.load_state_dict(state())


def _settings(plugins: Iterable[Any], options: Mapping[str, Mapping[str, Any]] | None) -> Settings:
    call = {"plugins": list(plugins), "options": options, "quiet": True}
    return resolve(call=call, command=None, environ=None, folder=None, caller="testing")
