"""The thread that draws: what comes last stays last."""

from __future__ import annotations

import threading
import types

from hookcore_progress.display import Display


class Surface:
    """Writes down what it is told; hungry for ticks."""

    interval = 0.001
    tells = frozenset({"end"})
    merges = True

    def __init__(self):
        self.seen, self.ended = [], threading.Event()

    def tick(self, view):
        self.seen.append("tick")

    def line(self, view):
        self.seen.append("line")
        self.ended.set()

    def hide(self):
        pass

    def close(self):
        pass


def test_nothing_is_drawn_after_the_last_line():
    """The fit's counters can still be read when its end has been shown."""
    surface, looked = Surface(), threading.Event()

    def look():
        looked.set()
        return types.SimpleNamespace(kind="tick", batches=1)

    meter = types.SimpleNamespace(view=lambda moment: moment, follow=lambda moment: None)
    display = Display(surface, meter, look=look, ask=lambda: None, allowed=lambda: True)
    display.start()
    try:
        assert looked.wait(5)
        display.post(types.SimpleNamespace(kind="end", batches=1))
        assert surface.ended.wait(5)
        looked.clear()
        assert not looked.wait(0.1)
    finally:
        display.close()
    assert surface.seen[-1] == "line"
