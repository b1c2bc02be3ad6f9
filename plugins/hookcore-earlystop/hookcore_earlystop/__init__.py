"""hookcore plugin: ends a training loop when its monitored value no longer improves."""

from hookcore_earlystop.plugin import EarlyStop

__all__ = ["EarlyStop"]
