"""Where text goes: straight to a file descriptor where there is one, else to a file object."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any


class Stream:
    """A place for text that may break at any time, without harm.

    Writes go around Python's buffers: their locks are not ours to hold (a fork could find them
    held), and what the user has written into them stays together. The descriptor is a copy: were
    the user's closed, its number might soon be that of another file.

    Args:
        target: ``sys.stderr`` as it is now, a path to append to, or None: nowhere.

    Attributes:
        broken: Whether writing has failed; nothing is tried again.
        encoding: Of the text.
    """

    def __init__(self, target: Any) -> None:
        self._object: Any = None
        self.descriptor: int | None = None
        self.encoding: str = getattr(target, "encoding", None) or "utf-8"
        self.broken = target is None
        if isinstance(target, Path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self.descriptor = os.open(target, flags, 0o666)
        elif target is not None:
            try:
                self.descriptor = os.dup(target.fileno())
            except (OSError, ValueError, AttributeError):
                self._object = target

    def write(self, text: str) -> None:
        """Write all of it, or find that the place is broken."""
        if self.broken:
            return
        try:
            if self.descriptor is None:
                self._object.write(text)
                self._object.flush()
                return
            data = text.encode(self.encoding, "replace")
            while data:
                data = data[os.write(self.descriptor, data) :]
        except BlockingIOError:
            return  # somebody made the terminal non-blocking, and it is full: this once, less
        except Exception:  # noqa: BLE001 - a closed pipe, a full disk, an object of the user's
            self.broken = True

    def can(self, text: str) -> bool:
        """Whether the encoding has these characters."""
        try:
            text.encode(self.encoding)
        except (UnicodeError, LookupError):
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        self.broken = True
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = None
