"""A plugin as it should be: a class, two hooks, no options."""

from hookcore.hookspecs import hookimpl


class Good:
    """Counts epochs."""

    def __init__(self):
        self.epochs = 0

    @property
    def costly(self):
        raise RuntimeError("a property ran while hooks were looked for")

    @hookimpl
    def on_epoch_end(self, run, epoch):
        self.epochs += 1

    @hookimpl
    def on_run_start(self, run):
        self.epochs = 0
