"""A plugin that is a module."""

from hookcore.hookspecs import hookimpl

role = "control"


@hookimpl
def on_run_end(run, how):
    pass
