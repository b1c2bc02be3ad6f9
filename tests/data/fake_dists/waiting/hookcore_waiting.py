"""A plugin that waits to be named."""

from typing import ClassVar

import attrs

from hookcore.hookspecs import hookimpl


@attrs.define(eq=False, kw_only=True)
class Waiting:
    """Sends metrics to a server."""

    autoload: ClassVar[bool] = False
    url: str = "localhost"

    @hookimpl
    def on_log(self, metrics):
        pass
