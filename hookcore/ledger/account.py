"""One account, and the span of one call that is entered in it."""

from __future__ import annotations

import threading
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
        training_ns: Of these, the ones of calls that began inside a fit.
        reads: Tensors' values that it read, each of which waits for the device it lives on.
    """

    __slots__ = ("calls", "event", "ns", "plugin", "reads", "training_ns")

    def __init__(self, plugin: str, event: str) -> None:
        self.plugin, self.event = plugin, event
        self.calls = self.ns = self.training_ns = self.reads = 0


class Tally(threading.local):
    """What is counted in one thread: a span of another one is no part of this one's.

    Attributes:
        reads: Tensors' values read so far; whoever watches them counts here.
        watching: Whether they are watched.
        inner_ns: Nanoseconds of the spans that are over, inside the one that is open.
        inner_reads: Reads of the same.
    """

    reads = 0
    watching = False
    inner_ns = 0
    inner_reads = 0


class Meter:
    """What the spans of one run share.

    Attributes:
        here: The calling thread's tally.
        watch: A context in which reads are counted; None where there are no tensors.
        in_fit: Whether a fit is open.
    """

    __slots__ = ("here", "in_fit", "watch")

    def __init__(self) -> None:
        self.here = Tally()
        self.watch: AbstractContextManager[Any] | None = None
        self.in_fit = False


class Span:
    """One call, entered in an account however it ends: what it leads to is not its own.

    Args:
        meter: The run's.
        account: Where it is entered.
        watches: Whether reads are counted in it.
    """

    __slots__ = ("_account", "_began", "_in_fit", "_outer", "_reads", "_tally", "_watch")

    def __init__(self, meter: Meter, account: Account, *, watches: bool = True) -> None:
        self._tally, self._account = meter.here, account
        self._watch = meter.watch if watches and not meter.here.watching else None
        self._in_fit = meter.in_fit
        self._outer = (0, 0)
        self._reads = self._began = 0

    def __enter__(self) -> None:
        tally = self._tally
        if self._watch is not None:
            self._watch.__enter__()
            tally.watching = True
        self._outer = tally.inner_ns, tally.inner_reads
        tally.inner_ns = tally.inner_reads = 0
        self._reads = tally.reads
        self._began = perf_counter_ns()

    def __exit__(self, *error: object) -> None:
        took = perf_counter_ns() - self._began
        tally, account = self._tally, self._account
        reads, own = tally.reads - self._reads, took - tally.inner_ns
        account.calls += 1
        account.ns += own
        account.training_ns += own if self._in_fit else 0
        account.reads += reads - tally.inner_reads
        tally.inner_ns = self._outer[0] + took
        tally.inner_reads = self._outer[1] + reads
        if self._watch is not None:
            tally.watching = False
            self._watch.__exit__(None, None, None)
