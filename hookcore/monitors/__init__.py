"""Which value a plugin watches, which way is better, and when a new one has arrived.

Shared by every plugin that decides by a metric: what counts as an arrival, and what is said where
a name resolves to nothing, is the same for all of them.
"""

from __future__ import annotations

from hookcore.monitors.monitor import Mode, Monitor, better
from hookcore.monitors.names import Direction, direction_of, is_held_out
from hookcore.monitors.watch import Watch

__all__ = ["Direction", "Mode", "Monitor", "Watch", "better", "direction_of", "is_held_out"]
