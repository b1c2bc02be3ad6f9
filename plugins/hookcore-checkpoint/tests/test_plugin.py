"""The plugin as the core sees it."""

from __future__ import annotations

import pytest

from hookcore import UsageError
from hookcore.testing import assert_plugin_contract, isolated_manager
from hookcore_checkpoint import Checkpoint


@pytest.mark.torch
def test_contract():
    assert_plugin_contract(Checkpoint)


def test_what_the_options_do_not_need_is_no_hook():
    def hooks(**options):
        return set(isolated_manager(Checkpoint(**options)).records[0].hooks)

    hot = {"on_batch_end", "on_log", "on_validation_start"}
    assert not hot & hooks()
    assert hot <= hooks(every_n_steps=5, keep_best=1)
    assert "on_signal" in hooks()
    assert "on_signal" not in hooks(save_on_signal=False)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("keep_last", "-1"),
        ("every_n_steps", "0"),
        ("every_n_seconds", "-3"),
        ("mode", "best"),
        ("every_n_epochs", "often"),
    ],
)
def test_options_that_cannot_be(option, value):
    from hookcore.settings import resolve

    settings = resolve(
        call={"plugins": [Checkpoint]}, command={"options": [f"checkpoint.{option}={value}"]},
        environ={}, folder=None,
    )  # fmt: skip
    from hookcore.plugins import load

    with pytest.raises(UsageError, match=option):
        load(settings, distributions=())
