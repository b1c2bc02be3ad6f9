"""One of two packages with a plugin named double."""

from hookcore.hookspecs import hookimpl


class Plugin:
    @hookimpl
    def on_run_start(self):
        pass
