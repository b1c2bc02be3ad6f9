"""A plugin with a valid hook, and one that takes what the event does not give."""

from hookcore.hookspecs import hookimpl


class Plugin:
    @hookimpl
    def on_batch_end(self, batch):
        pass

    @hookimpl
    def on_epoch_end(self, run, epcoh):
        pass
