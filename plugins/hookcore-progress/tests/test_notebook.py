"""A bar in a cell's output, through IPython's display publisher."""

from __future__ import annotations

import sys
import types

import pytest

import hookcore
from hookcore_progress import Progress, modes

SHOWN = {
    "file": None,
    "quiet": False,
    "rank": 0,
    "environ": {"TERM": "xterm"},
    "stderr": sys.stderr,
}


@pytest.fixture
def outputs(monkeypatch):
    """A stand-in for IPython in a kernel: what was displayed, in order."""
    found = []

    def display(bundle, *, raw, display_id):
        assert raw
        found.append((display_id, "new", bundle))

    def update_display(bundle, *, raw, display_id):
        assert raw
        found.append((display_id, "update", bundle))

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display, ipython.display.update_display = display, update_display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return found


def train(**options):
    with hookcore.run(only=[], plugins=[Progress(**options)]):
        for _ in hookcore.epochs(range(2)):
            for batch in hookcore.batches(range(12)):
                import time

                time.sleep(0.06)
                hookcore.log(loss=1 / (1 + batch))


def test_a_kernel_is_told_from_a_shell(monkeypatch, outputs):
    assert modes.resolve("auto", **SHOWN) == "notebook"
    sys.modules["IPython"].get_ipython = types.SimpleNamespace
    assert modes.resolve("auto", **SHOWN) == "lines"
    sys.modules["IPython"].get_ipython = lambda: None
    assert modes.resolve("auto", **SHOWN) == "lines"


def test_one_output_replaced_in_place(outputs, capsys):
    train()
    assert [how for _, how, _ in outputs][:2] == ["new", "update"]
    assert len({name for name, _, _ in outputs}) == 1
    bars = [bundle for _, _, bundle in outputs if "<progress" in bundle["text/html"]]
    assert any('value="0.' in bundle["text/html"] for bundle in bars)
    last = outputs[-1][2]
    assert "<progress" not in last["text/html"]
    lines = last["text/plain"].splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "epoch 1/2 done", "epoch 2/2 done", "2 epochs, 24 batches",
    ]  # fmt: skip
    assert "epoch 1/2" not in capsys.readouterr().err


def test_without_ipython(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(hookcore.UsageError, match="needs IPython"):
        train(mode="notebook")


def test_in_a_real_shell():
    """IPython's own publisher takes what we give it."""
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    try:
        InteractiveShell.instance()
        with capture_output(stdout=False, stderr=False) as captured:
            train(mode="notebook")
    finally:
        InteractiveShell.clear_instance()
    assert "epoch 2/2 done" in captured.outputs[-1].data["text/plain"]
    assert captured.outputs[-1].data["text/html"].startswith("<pre>")
