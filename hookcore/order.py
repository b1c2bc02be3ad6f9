"""The order in which starts reach plugins: declared before and after, then name."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence

from hookcore.layers import key


class Cycle(Exception):
    """Declarations contradict each other.

    Args:
        path: The names in the circle, the first one again at its end.
        culprit: The plugin without which there is no circle: the one that declares most of it.
    """

    def __init__(self, path: Sequence[str], culprit: str) -> None:
        super().__init__(path, culprit)
        self.path, self.culprit = path, culprit


def start_order(declared: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """Sort plugins.

    Args:
        declared: Each plugin's key, with the plugins that it goes before and after. Those that
            are not there do not count.

    Raises:
        Cycle: There is no such order.
    """
    edges: dict[tuple[str, str], str] = {}  # (earlier, later) -> who says so
    for name, (before, after) in declared.items():
        pairs = [(name, key(later)) for later in before] + [
            (key(earlier), name) for earlier in after
        ]
        for pair in pairs:
            if pair[0] in declared and pair[1] in declared and pair[0] != pair[1]:
                edges.setdefault(pair, name)
    waits = {name: {a for a, b in edges if b == name} for name in declared}
    ready = [name for name, earlier in waits.items() if not earlier]
    heapq.heapify(ready)
    order = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for other, earlier in waits.items():
            if name in earlier:
                earlier.remove(name)
                if not earlier:
                    heapq.heappush(ready, other)
    if len(order) < len(declared):
        raise _cycle({name: e for name, e in waits.items() if e}, edges)
    return order


def _cycle(waits: Mapping[str, set[str]], edges: Mapping[tuple[str, str], str]) -> Cycle:
    """Walk from one that waits to one it waits for until a name comes again."""
    walked = [min(waits)]
    while (earlier := min(waits[walked[-1]])) not in walked:
        walked.append(earlier)
    circle = [*walked[walked.index(earlier) :], earlier][::-1]
    speakers = [edges[pair] for pair in itertools.pairwise(circle)]
    culprit = max(sorted(set(speakers)), key=lambda name: (speakers.count(name), name))
    return Cycle(circle, culprit)
