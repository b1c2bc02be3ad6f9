"""One job at a time, beside the training: a thread that lives as long as it writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from . import forks

T = TypeVar("T")


class Job(Generic[T]):
    """A function that runs in a thread of its own; what it gives or raises is asked for later.

    Args:
        function: Holds no lock that a child could wait for, but in between two of its writes.
        done: Called in that thread when it is over.
    """

    def __init__(self, function: Callable[[], T], done: Callable[[], object]) -> None:
        self._function, self._done = function, done
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="hookcore-writer", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether :meth:`result` comes without waiting."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What the function gave; waits for it.

        Raises:
            BaseException: What the function raised.
            RuntimeError: This process is a child, which the thread did not follow into.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("the thread is the parent process's")
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            with forks.working():
                self._result.append(self._function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error
        self._done()
