"""An attrs plugin without eq=False: it has no hash."""

import attrs

from hookcore.hookspecs import hookimpl


@attrs.define(kw_only=True)
class Plugin:
    patience: int = 3

    @hookimpl
    def on_epoch_end(self, epoch):
        pass
