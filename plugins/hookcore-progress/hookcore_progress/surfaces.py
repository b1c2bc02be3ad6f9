"""Four ways to show a view: on a terminal, in a notebook, in a log, to a program."""

from __future__ import annotations

import html
import os
import textwrap
import time
from collections import deque
from typing import Any, Protocol

from hookcore_progress import cells, compose
from hookcore_progress.meter import View
from hookcore_progress.moments import Kind
from hookcore_progress.streams import Stream
from hookcore_progress.terminal import Terminal

PREFIX = "hookcore: "
EVENTS: frozenset[Kind] = frozenset({"validation", "epoch", "stop", "end"})


class Surface(Protocol):
    """Somewhere to show views. Called by one thread at a time, which holds the pen.

    Attributes:
        interval: Seconds between two looks at the counters.
        tells: Kinds of moments that get a line.
        merges: Whether it is for eyes: an epoch's line also says what a validation at its end
            found, and one that found nothing has no line.
    """

    interval: float
    tells: frozenset[Kind]
    merges: bool

    def tick(self, view: View) -> None:
        """How it stands."""

    def line(self, view: View) -> None:
        """Something that has happened: an epoch, a validation, a stop, the end."""

    def hide(self) -> None:
        """Leave the place as if nobody drew there, until the next tick."""

    def close(self) -> None:
        """Show nothing more."""


class Lines:
    """Plain lines, for a log."""

    tells = EVENTS
    merges = True

    def __init__(self, stream: Stream, interval: float) -> None:
        self._stream = stream
        self.interval = interval

    def tick(self, view: View) -> None:
        """One line every so often."""
        self.line(view)

    def line(self, view: View) -> None:
        """One line."""
        self._stream.write(f"{PREFIX}{compose.sentence(view)}\n")

    def hide(self) -> None:
        """Lines stay."""

    def close(self) -> None:
        """Give the stream back."""
        self._stream.close()


class Json(Lines):
    """One JSON object a line."""

    tells = EVENTS | {"start", "resume"}
    merges = False

    def line(self, view: View) -> None:
        """One object."""
        self._stream.write(compose.record(view, time.time()) + "\n")


class Live:
    """The last row of a terminal, and a line above it for what has happened."""

    interval = 0.25
    tells = EVENTS
    merges = True

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._terminal = Terminal(stream)
        self._ascii = not stream.can(compose.bar(0.75, 2) + compose.bar(0.0, 1))
        self._colors = cells.has_colors(os.environ)

    def tick(self, view: View) -> None:
        """Draw, while the terminal is ours and has room."""
        columns, rows = self._terminal.size()
        if not rows or not self._terminal.in_foreground():
            self.hide()
            return
        # One column short: a character in the last one would leave the cursor about to wrap.
        parts = compose.live(view, columns - 1, ascii_only=self._ascii)
        styled = [(part.text, part.style) for part in parts]
        self._terminal.draw(cells.colored(styled, compose.GAP, colors=self._colors), rows)

    def line(self, view: View) -> None:
        """A line that stays, in the flow of the user's prints."""
        columns, _ = self._terminal.size()
        text = PREFIX + compose.sentence(view)
        for row in wrapped(text, columns - 1) if columns else [text]:
            self._terminal.insert(row)

    def hide(self) -> None:
        """Give the row back."""
        self._terminal.release()

    def close(self) -> None:
        """Give row and stream back."""
        self._terminal.release()
        self._stream.close()


def wrapped(text: str, width: int) -> list[str]:
    """Text in rows of at most so many cells."""
    rows = textwrap.wrap(text, width, subsequent_indent="    " if width > 20 else "")
    return [cells.cut(row, width) for row in rows]


class Notebook:
    """An output of the cell that is replaced in place: the latest lines, and a bar below them."""

    interval = 0.5
    tells = EVENTS
    merges = True

    def __init__(self, name: str) -> None:
        # IPython is there: this runs in its kernel, or the user said so.
        import IPython.display

        ipython: Any = IPython.display
        self._update = ipython.update_display
        self._name = name
        self._lines: deque[str] = deque(maxlen=50)
        # By the thread that runs the cell, so that the output belongs to that cell.
        ipython.display(self._bundle("", ""), raw=True, display_id=name)

    def tick(self, view: View) -> None:
        """Move the bar."""
        parts = compose.live(view, 120)
        fraction = view.outlook.fraction
        text = compose.GAP.join(part.text for part in parts if part.rank != compose.BAR)
        value = "" if fraction is None else f' max="1" value="{fraction:.4f}"'
        self._show(f"<progress{value}></progress> {html.escape(text)}", text)

    def line(self, view: View) -> None:
        """A line that stays, above the bar; the last one takes the bar's place."""
        self._lines.append(compose.sentence(view))
        if view.kind == "end":
            self._show("", "")

    def hide(self) -> None:
        """A cell's output stays where it is."""

    def close(self) -> None:
        """The last lines stay."""

    def _show(self, bar: str, text: str) -> None:
        self._update(self._bundle(bar, text), raw=True, display_id=self._name)

    def _bundle(self, bar: str, text: str) -> dict[str, str]:
        rows = [html.escape(line) for line in self._lines] + [bar] * bool(bar)
        return {
            "text/plain": "\n".join([*self._lines, text]),
            "text/html": f"<pre>{'<br>'.join(rows)}</pre>",
        }
