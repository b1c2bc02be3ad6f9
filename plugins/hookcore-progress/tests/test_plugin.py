"""The hooks: standing down, resuming, replaying, and what the README says of the options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

import hookcore
from hookcore_progress import Progress

README = (Path(__file__).parents[1] / "README.md").read_text()


def train(*plugins, epochs=2, batches=3):
    with hookcore.run(only=[], plugins=plugins) as run:
        for _ in hookcore.epochs(range(epochs)):
            for batch in hookcore.batches(range(batches)):
                hookcore.log(loss=batch)
    return run


class Bar:
    """Takes the terminal, as the core does for a loop that draws its own bar."""

    before = ("progress",)

    @hookcore.hookimpl
    def on_train_start(self, run):
        run.take("terminal", "the loop's own bar at train.py:9")


def test_stands_down_and_says_so_once(capfd):
    with hookcore.run(only=[], plugins=[Bar(), Progress()]):
        for _ in range(2):
            for _ in hookcore.epochs(range(2)):
                for _ in hookcore.batches(range(3)):
                    pass
    err = capfd.readouterr().err
    said = "progress draws nothing: the loop's own bar at train.py:9 is on the terminal"
    assert err.count(said) == 1
    assert "done in" not in err


def test_json_goes_on_beside_the_loops_bar(capfd):
    train(Bar(), Progress(mode="json"))
    assert '"event": "end"' in capfd.readouterr().err


def test_a_bar_that_comes_later(capfd):
    class Late:
        @hookcore.hookimpl
        def on_epoch_end(self, run, epoch):
            if epoch == 1:
                run.take("terminal", "a bar")

    train(Late(), Progress(), epochs=4)
    err = capfd.readouterr().err
    assert "epoch 4/4 done" not in err


def test_it_observes_and_has_no_hook_in_a_batch():
    hooks = {name for name in dir(Progress) if name.startswith("on_")}
    assert Progress.role == "observe"
    assert Progress.claims == ("terminal",)
    assert not [n for n in hooks if re.search("batch|forward|backward|step|zero|clip", n)]


def test_elapsed_goes_on_after_a_resume(capfd):
    """As the core does it: states first, then the fit, then on_resume."""

    class Resume:
        after = ("progress",)

        @hookcore.hookimpl
        def on_run_start(self):
            progress.load_state_dict({"elapsed": 3600.0})

        @hookcore.hookimpl
        def on_train_start(self, run, fit):
            progress.on_resume(run=run, fit=fit)

    progress = Progress(mode="json")
    train(Resume(), progress)
    records = [json.loads(x) for x in capfd.readouterr().err.splitlines() if x.startswith("{")]
    assert [r["event"] for r in records][:2] == ["start", "resume"]
    assert 3600 <= records[-1]["elapsed"] < 3660
    assert 3600 <= progress.state_dict()["elapsed"] < 3660


def test_state_counts_while_it_runs():
    class Saver:
        found = None

        @hookcore.hookimpl
        def on_epoch_end(self):
            Saver.found = progress.state_dict()

    progress = Progress(mode="json", file=None)
    train(Saver(), progress)
    assert Saver.found["elapsed"] > 0


def test_replayed_events_draw_nothing(capfd):
    """Iterations before the first step are delivered late, all at once."""

    class Replays:
        before = ("progress",)

        @hookcore.hookimpl
        def on_epoch_start(self, fit, epoch):
            fit.replaying = epoch == 1

    train(Replays(), Progress(mode="json"))
    events = [json.loads(x) for x in capfd.readouterr().err.splitlines() if x.startswith("{")]
    assert [r["epoch"] for r in events if r["event"] == "epoch"] == [0]


def test_about(monkeypatch, capfd):
    train(Progress(mode="json"))
    assert "writes JSON lines to stderr every 10 s  (off: -p no:progress)" in capfd.readouterr().err


def test_a_broken_display_is_told_and_the_loop_goes_on(monkeypatch, capfd):
    from hookcore_progress import surfaces

    def fails(self, view):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(surfaces.Lines, "line", fails)

    class Waits:
        after = ("progress",)

        @hookcore.hookimpl
        def on_epoch_start(self):
            import time

            time.sleep(0.1)

    run = train(Waits(), Progress(mode="lines"), epochs=3)
    err = capfd.readouterr().err
    assert "on purpose" in err
    assert "switched off" in err
    assert run.fit.batches == 9


def test_readme_has_every_option():
    table = README.partition("## Options")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", table, re.MULTILINE)
    words = {(): "empty", None: "none", True: "yes"}
    fields = [field for field in attrs.fields(Progress) if field.init]
    assert rows == [(f.name, str(words.get(f.default, f.default))) for f in fields]


@pytest.mark.parametrize("mode", ["auto", "live", "notebook", "lines", "json"])
def test_readme_names_each_mode(mode):
    assert f"`{mode}`" in README
