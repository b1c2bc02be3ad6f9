"""hookcore: the life of a training, injected into a plain PyTorch loop, for plugins to act on.

    train = hookcore.instrument(train)       # or, with no edit at all:  hookcore run train.py

Importing it loads neither torch nor any plugin: each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hookcore.errors import (
        BrokenPluginWarning,
        HookcoreError,
        HookcoreWarning,
        NotRewritable,
        PluginError,
        SnapshotError,
        UsageError,
    )
    from hookcore.hookspecs import EVENTS, WAYS_OUT, hookimpl, hookspec
    from hookcore.metrics import Metrics, Readings
    from hookcore.plain.explicit import batches, epochs, log, run, validation
    from hookcore.plain.instrument import instrument
    from hookcore.plugins import PluginRecord
    from hookcore.settings import Settings
    from hookcore.training import Fit, Run, Stop

_PLACES = {
    "BrokenPluginWarning": "errors",
    "EVENTS": "hookspecs",
    "Fit": "training",
    "HookcoreError": "errors",
    "HookcoreWarning": "errors",
    "Metrics": "metrics",
    "NotRewritable": "errors",
    "PluginError": "errors",
    "PluginRecord": "plugins",
    "Readings": "metrics",
    "Run": "training",
    "Settings": "settings",
    "SnapshotError": "errors",
    "Stop": "training",
    "UsageError": "errors",
    "WAYS_OUT": "hookspecs",
    "batches": "plain.explicit",
    "epochs": "plain.explicit",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
    "instrument": "plain.instrument",
    "log": "plain.explicit",
    "run": "plain.explicit",
    "validation": "plain.explicit",
}

__all__ = [
    "EVENTS",
    "WAYS_OUT",
    "BrokenPluginWarning",
    "Fit",
    "HookcoreError",
    "HookcoreWarning",
    "Metrics",
    "NotRewritable",
    "PluginError",
    "PluginRecord",
    "Readings",
    "Run",
    "Settings",
    "SnapshotError",
    "Stop",
    "UsageError",
    "__version__",
    "batches",
    "epochs",
    "hookimpl",
    "hookspec",
    "instrument",
    "log",
    "run",
    "validation",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is not None:
        value = getattr(importlib.import_module(f"{__name__}.{place}"), name)
    elif name == "__version__":
        from hookcore.discovery import core_version

        value = core_version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
