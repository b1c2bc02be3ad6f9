"""A plugin with a valid hook, and one whose name is misspelt."""

from hookcore.hookspecs import hookimpl


class Plugin:
    @hookimpl
    def on_batch_end(self, batch):
        pass

    @hookimpl
    def on_epoch_endd(self, epoch):
        pass
