"""An event to its listeners: frozen before the loop, isolated per plugin.

pluggy is registry, validator and ordering authority. Its call costs microseconds even where nobody
listens, so each hook is frozen into one plain function, written for just these listeners, or into
None. Whoever fires an event asks ``if events.on_x is not None`` first.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs

from hookcore.errors import PluginError, UsageError
from hookcore.hookspecs import EVENTS, Event

if TYPE_CHECKING:
    import pluggy

    from hookcore.ledger import Ledger
    from hookcore.plugins import PluginRecord


class Events:
    """One attribute an event: None, or a function of the spec's arguments in their order."""

    __slots__ = tuple(EVENTS)

    def __init__(self) -> None:
        for name in EVENTS:
            setattr(self, name, None)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None] | None: ...


@attrs.frozen
class Failure:
    """A plugin that raised, as text: the exception itself would pin the loop's tensors.

    Attributes:
        plugin: Its name.
        label: Name, distribution and version, as messages give them.
        event: The event whose hook raised.
        text: The traceback.
        line: The traceback's last line.
    """

    plugin: str
    label: str
    event: str
    text: str
    line: str


class Dispatch:
    """Fires events to the listeners of one run.

    Args:
        manager: pluggy's manager, with the plugins registered by name.
        order: Records of the active plugins, in the order of starts.
        strict: Whether a plugin's exception ends the run.
        on_failure: Called with each failure that is isolated, and the plugin's role.
        on_pending: Called when an error waits to be raised at a loop's head.
        ledger: Keeps account of the hooks; None where nobody asked what they cost.

    Attributes:
        events: What to fire.
        ledger: As given.
        speaker: Name of the plugin whose hook is running, or None.
        pending: An error to raise at the next head: what was typed wrongly, or strict mode.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        order: Sequence[PluginRecord],
        *,
        strict: bool = False,
        on_failure: Callable[[Failure, str], None],
        on_pending: Callable[[], None],
        ledger: Ledger | None = None,
    ) -> None:
        self.events = Events()
        self.ledger = ledger
        self.speaker: str | None = None
        self.pending: BaseException | None = None
        self._manager = manager
        self._order = tuple(order)
        self._strict = strict
        self._on_failure = on_failure
        self._on_pending = on_pending
        self._rates: dict[tuple[str, str], _Rate] = {}
        self.freeze()

    def freeze(self) -> None:
        """Freeze every event anew; called when the set of plugins has changed."""
        for event in EVENTS.values():
            setattr(self.events, event.name, self._function(event))

    def listens(self, name: str) -> bool:
        """Whether anybody listens to the event."""
        return getattr(self.events, name) is not None

    def switch_off(self, plugin: str) -> None:
        """Take a plugin out; the events fired from now on do not reach it."""
        if self._manager.has_plugin(plugin):
            self._manager.unregister(name=plugin)
            self.freeze()

    @property
    def counted(self) -> dict[str, dict[str, int]]:
        """By plugin and event, how many events went by since the last one that was wanted.

        Of those of which only each n-th one is wanted: where a resume counts on.
        """
        found: dict[str, dict[str, int]] = {}
        for (plugin, event), rate in self._rates.items():
            if rate.counts:
                found.setdefault(plugin, {})[event] = rate.seen
        return found

    def count_on(self, counted: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from another run's :attr:`counted`, as far as it is still asked for."""
        for (plugin, event), rate in self._rates.items():
            seen = counted.get(plugin, {}).get(event)
            if seen is not None:
                rate.count_on(seen)

    def own(self, work: str) -> AbstractContextManager[None]:
        """A piece of hookcore's own work, for the ledger where there is one."""
        return contextlib.nullcontext() if self.ledger is None else self.ledger.own(work)

    def call(self, plugin: str, what: str, function: Callable[[], object]) -> None:
        """Call a function for a plugin, isolated as its hooks are.

        Args:
            plugin: Its name.
            what: What a failure is said to have happened in.
            function: To call.
        """
        record = next((record for record in self._order if record.name == plugin), None)
        if record is None or not self._manager.has_plugin(plugin):
            return  # it has been switched off since it asked
        if self.ledger is not None:
            function = self.ledger.measured(record, what, function)
        previous, self.speaker = self.speaker, plugin
        try:
            function()
        except Exception as error:  # noqa: BLE001 - a plugin fails alone
            self._failed(record, what, error)
        finally:
            self.speaker = previous

    def raise_pending(self) -> None:
        """Raise the error that waits, if one does."""
        if self.pending is not None:
            error, self.pending = self.pending, None
            raise error

    def _function(self, event: Event) -> Callable[..., None] | None:
        """One function for the event, written out for its listeners.

        Generated like the methods of attrs: a loop over listeners would build an argument list
        for each of them, and be paid in every batch. So would a call that only counts: how often
        a listener wants to be called is written out too.
        """
        listeners = self._listeners(event)
        if not listeners:
            return None
        arguments = ", ".join(event.arguments)
        lines = [f"def {event.name}({arguments}):", "    previous = dispatch.speaker"]
        names: dict[str, Any] = {"dispatch": self, "clock": time.monotonic}
        for i, (record, function, wanted) in enumerate(listeners):
            names[f"hook{i}"], names[f"record{i}"] = function, record
            names[f"rate{i}"] = rate = self._rate(record, event.name)
            indent = "    "
            for condition, then in rate.conditions(f"rate{i}"):
                lines += [f"{indent}{line}" for line in condition]
                indent += "    "
                lines += [f"{indent}{line}" for line in then]
            lines += [
                f"{indent}dispatch.speaker = {record.name!r}",
                f"{indent}try: hook{i}({', '.join(wanted)})",
                f"{indent}except Exception as e: dispatch._failed(record{i}, {event.name!r}, e)",
            ]
        lines.append("    dispatch.speaker = previous")
        code = compile("\n".join(lines), f"<hookcore fires {event.name}>", "exec")
        exec(code, names)  # noqa: S102 - our own text: names of the contract, no input
        fire: Callable[..., None] = names[event.name]
        return fire

    def _listeners(self, event: Event) -> list[tuple[PluginRecord, Callable[..., None], Any]]:
        places = {record.name: i for i, record in enumerate(self._order)}
        direction = -1 if event.is_end else 1
        found = []
        for impl in getattr(self._manager.hook, event.name).get_hookimpls():
            place = places.get(impl.plugin_name)
            if place is None:
                continue
            rank = 0 if impl.tryfirst else 2 if impl.trylast else 1
            record = self._order[place]
            function = impl.function
            if self.ledger is not None:
                function = self.ledger.measured(record, event.name, function)
            found.append(((rank, direction * place), (record, function, impl.argnames)))
        return [listener for _, listener in sorted(found, key=lambda pair: pair[0])]

    def _rate(self, record: PluginRecord, event: str) -> _Rate:
        """It counts on where another plugin has been switched off."""
        which = record.name, event
        if which not in self._rates:
            every, seconds = record.every.get(event, 1), record.at_most_every.get(event, 0.0)
            self._rates[which] = _Rate(every, seconds)
        return self._rates[which]

    def _failed(self, record: PluginRecord, event: str, error: Exception) -> None:
        if isinstance(error, UsageError):
            self._wait(error)
            return
        text = "".join(traceback.format_exception(error))
        line = traceback.format_exception_only(error)[-1].strip()
        failure = Failure(record.name, record.label, event, text, line)
        if self._strict:
            refusal = PluginError(
                f"plugin {record.label} raised in {event}",
                line,
                f"run without it:  hookcore run -p no:{record.name} ...     "
                "go on without it:  leave out --strict",
            )
            refusal.__cause__ = error
            self._wait(refusal)
            return
        if record.role != "persist":
            self.switch_off(record.name)
        self._on_failure(failure, record.role)

    def _wait(self, error: BaseException) -> None:
        if self.pending is None:
            self.pending = error
            self._on_pending()


class _Rate:
    """How often a hook is called: as its plugin declares, and no more.

    Attributes:
        seen: Events since the last one that was wanted, where each n-th one is.
        last: When the last call was, where seconds lie between two.
    """

    __slots__ = ("_every", "_seconds", "last", "seen")

    def __init__(self, every: int, seconds: float) -> None:
        self._every, self._seconds = every, seconds
        self.seen = 0
        self.last = time.monotonic()

    @property
    def counts(self) -> bool:
        """Whether only each n-th event is wanted."""
        return self._every > 1

    def count_on(self, seen: int) -> None:
        """So many events went by since the last one that was wanted; ``n`` may be another now."""
        self.seen = seen % self._every

    def conditions(self, name: str) -> Iterator[tuple[list[str], list[str]]]:
        """Code: what ends in an ``if``, and what its body begins with.

        Args:
            name: How the code calls this object.
        """
        if self._every > 1:
            yield [f"{name}.seen += 1", f"if {name}.seen == {self._every}:"], [f"{name}.seen = 0"]
        if self._seconds > 0:
            yield (
                ["now = clock()", f"if now - {name}.last >= {self._seconds!r}:"],
                [f"{name}.last = now"],
            )
