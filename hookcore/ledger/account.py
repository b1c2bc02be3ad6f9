"""One account, and the span of one call that is entered in it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter_ns
from typing import Any


class Account:
    """One plugin's hook of one event, or one piece of hookcore's own work.

    Attributes:
        plugin: The plugin's name; ``hookcore`` for its own work.
        event: The event, or what the work is.
        calls: How often it ran.
        ns: Nanoseconds in it, without those of hooks that it led to.
        reads: Tensors' values that it read, each of which waits for the device it lives on.
    """

    __slots__ = ("calls", "event", "ns", "plugin", "reads")

    def __init__(self, plugin: str, event: str) -> None:
        self.plugin, self.event = plugin, event
        self.calls = self.ns = self.reads = 0


class Meter:
    """What the spans of one run share.

    Attributes:
        reads: Tensors' values read so far; whoever watches them counts here.
        watch: A context in which reads are counted; None where there are no tensors.
        watching: Whether it is entered.
        inner_ns: Nanoseconds of the spans that are over, inside the one that is open.
        inner_reads: Reads of the same.
    """

    __slots__ = ("inner_ns", "inner_reads", "reads", "watch", "watching")

    def __init__(self) -> None:
        self.reads = self.inner_ns = self.inner_reads = 0
        self.watch: AbstractContextManager[Any] | None = None
        self.watching = False


class Span:
    """One call, entered in an account however it ends: what it leads to is not its own.

    Args:
        meter: The run's.
        account: Where it is entered.
        watches: Whether reads are counted in it.
    """

    __slots__ = ("_account", "_began", "_meter", "_outer", "_reads", "_watch")

    def __init__(self, meter: Meter, account: Account, *, watches: bool = True) -> None:
        self._meter, self._account = meter, account
        self._watch = meter.watch if watches and not meter.watching else None
        self._outer = (0, 0)
        self._reads = self._began = 0

    def __enter__(self) -> None:
        meter = self._meter
        if self._watch is not None:
            self._watch.__enter__()
            meter.watching = True
        self._outer = meter.inner_ns, meter.inner_reads
        meter.inner_ns = meter.inner_reads = 0
        self._reads = meter.reads
        self._began = perf_counter_ns()

    def __exit__(self, *error: object) -> None:
        took = perf_counter_ns() - self._began
        meter, account = self._meter, self._account
        reads = meter.reads - self._reads
        account.calls += 1
        account.ns += took - meter.inner_ns
        account.reads += reads - meter.inner_reads
        meter.inner_ns = self._outer[0] + took
        meter.inner_reads = self._outer[1] + reads
        if self._watch is not None:
            meter.watching = False
            self._watch.__exit__(None, None, None)
