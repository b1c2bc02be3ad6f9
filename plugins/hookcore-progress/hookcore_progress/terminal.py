"""The last row of a terminal, kept for us while everything else scrolls above it.

As apt does it: a scroll region that ends one row higher keeps the user's prints out of the last
row, and each drawing saves the cursor and puts it back. So nothing of the user's is captured or
replaced, whoever writes to the terminal: prints, worker processes, C libraries.

Each change is one ``write``, which the kernel does not interleave with another.
"""

from __future__ import annotations

import os

from hookcore_progress.streams import Stream

SAVE, RESTORE = "\x1b7", "\x1b8"
PLAIN = "\x1b[0m"
WHOLE = "\x1b[r"
CLEAR_ROW = "\x1b[2K"
# One row down and up again: where the cursor stands on the last row, all scrolls up by one and the
# cursor stands on its text again. Unlike a line feed it keeps the column.
MAKE_ROOM = "\x1bD\x1b[A"

FEWEST_ROWS = 4
FEWEST_COLUMNS = 8


class Terminal:
    """The last row of the terminal behind a stream.

    Args:
        stream: A stream with a descriptor.

    Attributes:
        rows: Rows of the terminal while its last one is ours, else 0.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.rows = 0

    def size(self) -> tuple[int, int]:
        """Columns and rows now; zeros where there is no room for us."""
        if self.stream.descriptor is None:
            return 0, 0
        try:
            columns, rows = os.get_terminal_size(self.stream.descriptor)
        except OSError:
            return 0, 0
        if columns < FEWEST_COLUMNS or rows < FEWEST_ROWS:
            return 0, 0
        return columns, rows

    def in_foreground(self) -> bool:
        """Whether the terminal is ours to draw on, not the shell's that runs us with ``&``."""
        if self.stream.descriptor is None:
            return False
        try:
            return os.tcgetpgrp(self.stream.descriptor) == os.getpgrp()
        except OSError:
            return True  # no job control on this terminal: nobody else is in front

    def draw(self, text: str, rows: int) -> None:
        """Show a line in the last row, taking the row first.

        Args:
            text: At most as wide as the terminal.
            rows: Of the terminal now.
        """
        take = ""
        if rows != self.rows:
            reset = f"{SAVE}{WHOLE}{RESTORE}" if self.rows else ""
            take = f"{reset}\x1bD{SAVE}\x1b[1;{rows - 1}r{RESTORE}\x1b[A"
            self.rows = rows
        self.stream.write(f"{take}{SAVE}\x1b[{rows};1H{PLAIN}{CLEAR_ROW}{text}{PLAIN}{RESTORE}")

    def insert(self, text: str) -> None:
        """Put a line that stays above the one the cursor is in, which may hold half a print."""
        if not self.rows:
            self.stream.write(f"{text}\n")
            return
        # The cursor's row moves down by one; where it is the region's last, the rest has moved up
        # instead, and "one down" stays where it is: both end in the same column of the same text.
        self.stream.write(f"{SAVE}{MAKE_ROOM}\r{PLAIN}\x1b[L{text}{PLAIN}{RESTORE}\x1b[B")

    def release(self) -> None:
        """Give the row back, empty."""
        if self.rows:
            rows, self.rows = self.rows, 0
            self.stream.write(f"{SAVE}{WHOLE}\x1b[{rows};1H{PLAIN}{CLEAR_ROW}{RESTORE}")
