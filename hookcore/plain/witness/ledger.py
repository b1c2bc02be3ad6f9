"""The file that a witness writes: one line of JSON for each thing seen, kept whatever comes."""

from __future__ import annotations

import json
import os
from typing import Any


class Ledger:
    """Appends lines. What has been written survives the process, however that ends.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._process = os.getpid()

    @property
    def mine(self) -> bool:
        """Whether this is the process that is watched, and no child that it has forked."""
        return os.getpid() == self._process

    def write(self, kind: str, **content: Any) -> None:
        """Add a line."""
        if self.mine:
            os.write(self._file, (json.dumps({"kind": kind, **content}) + "\n").encode())
