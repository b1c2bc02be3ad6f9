"""Where stderr is no terminal: lines, JSON, files, and places that break."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def ours(text):
    return [
        line for line in text.splitlines() if re.match(r"hookcore: (fit|epoch|\d|val|step)", line)
    ]


def test_lines(run_script):
    ran = run_script("train(every_seconds=0.2, body=lambda e, b: b or print('epoch', e))")
    assert ran.returncode == 0
    assert ran.stdout == "epoch 0\nepoch 1\n"
    assert "\x1b" not in ran.stderr
    lines = ours(ran.stderr)
    assert any(re.search(r"epoch 1/2, batch \d+/12, \d+%, .*batches/s, loss 0", x) for x in lines)
    assert sum("done in" in line for line in lines) == 2
    assert all("val_loss 0.5" in line for line in lines if "done in" in line)
    assert re.search(r"^hookcore: 2 epochs, 24 batches in \d\.\d s", lines[-1])


@pytest.mark.torch
def test_steps_that_are_observed(run_script):
    """Where a training's loops are not seen, its steps are what is counted."""
    ran = run_script("""
        import torch
        class Trained:
            model = torch.nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            def train(self):
                exec("for i in range(5): self.optimizer.step()")
        train = hookcore.instrument(Trained().train, only=[], plugins=[Progress()])
        train()
    """)
    assert re.search(r"hookcore: 5 steps in \d\.\d s", ran.stderr)


def test_seldom_by_default(run_script):
    ran = run_script("train(pause=0.01)")
    assert [("done" in x, "batches in" in x) for x in ours(ran.stderr)] == [
        (True, False), (True, False), (False, True),
    ]  # fmt: skip


def test_a_validation_within_an_epoch_has_its_line(run_script):
    ran = run_script("""
        def body(epoch, batch):
            if batch == 3:
                with hookcore.validation():
                    hookcore.log(val_acc=0.25)
        train(epochs=1, pause=0.2, body=body)
    """)
    line = next(line for line in ours(ran.stderr) if "validation" in line)
    assert line == "hookcore: validation at epoch 1/1, batch 4/12, val_acc 0.2500"


def test_metrics_by_name(run_script):
    ran = run_script("train(metrics=('speed', 'nothing'), body=lambda *_: hookcore.log(speed=7))")
    assert ours(ran.stderr)[-1].endswith(", speed 7")


def test_stop_and_its_reason(run_script):
    ran = run_script("""
        class Stopper:
            @hookcore.hookimpl
            def on_epoch_end(self, fit):
                fit.stop("enough")
        with hookcore.run(only=[], plugins=[Progress(), Stopper()]):
            for epoch in hookcore.epochs(range(5)):
                for batch in hookcore.batches(range(3)):
                    pass
    """)
    lines = ours(ran.stderr) + [x for x in ran.stderr.splitlines() if "stopping" in x]
    assert "hookcore: stopping: enough (stopper), epoch 1/5, batch 3/3" in lines
    assert any(re.search(r"1 epoch, 3 batches in .* stopped$", line) for line in lines)


def test_fits_are_numbered(run_script):
    ran = run_script("""
        with hookcore.run(only=[], plugins=[Progress()]):
            for fold in range(3):
                for epoch in hookcore.epochs(range(2)):
                    for batch in hookcore.batches(range(3)):
                        pass
    """)
    ends = [line for line in ours(ran.stderr) if "batches in" in line]
    assert [line.partition(" batches")[0] for line in ends] == [
        "hookcore: 2 epochs, 6",
        "hookcore: fit 2: 2 epochs, 6",
        "hookcore: fit 3: 2 epochs, 6",
    ]


def test_steps_without_epochs(run_script):
    ran = run_script(
        """
        with hookcore.run(only=[], plugins=[Progress(mode="json", every_seconds=0.1)]):
            for batch in hookcore.batches(iter(int, 1)):
                time.sleep(0.01)
                if batch is not None and time.monotonic() > END: break
    """.replace("with hook", "END = time.monotonic() + 0.5\n        with hook", 1)
    )
    records = [json.loads(x) for x in ran.stderr.splitlines() if x.startswith("{")]
    assert {r["epoch"] for r in records} == {None}
    assert {r["total_batches"] for r in records} == {None}
    assert records[-1]["fraction"] is records[-1]["seconds_left"] is None
    assert records[-1]["batches_per_second"] > 1
    assert records[-1]["text"] == "left by break"


def test_json(run_script):
    ran = run_script(
        "train(mode='json', every_seconds=0.1, body=lambda *_: hookcore.log(x=float('inf')))"
    )
    records = [json.loads(x) for x in ran.stderr.splitlines() if x.startswith("{")]
    events = [record["event"] for record in records]
    assert events[0] == "start"
    assert events[-1] == "end"
    assert events.count("epoch") == events.count("validation") == 2
    assert "progress" in events
    assert records[-1]["metrics"]["x"] == "inf"
    assert records[-1]["batches_done"] == 24
    keys = re.findall(r"^\| `(\w+)` \|", README.read_text().partition("## JSON")[2], re.MULTILINE)
    assert list(records[0]) == keys


def test_file(run_script, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    ran = run_script(f"from pathlib import Path\ntrain(pause=0, file=Path({str(log)!r}))")
    assert ours(ran.stderr) == []
    assert log.read_text().startswith("before\nhookcore: epoch 1/2 done")


def test_quiet_keeps_json_and_files(run_script, tmp_path):
    script = """
        from pathlib import Path
        with hookcore.run(only=[], quiet=True, plugins=[Progress(OPTIONS)]):
            for batch in hookcore.batches(range(3)):
                pass
    """
    assert run_script(script.replace("OPTIONS", "")).stderr == ""
    assert '"event": "end"' in run_script(script.replace("OPTIONS", "mode='json'")).stderr
    log = str(tmp_path / "log")
    assert run_script(script.replace("OPTIONS", f"file=Path({log!r})")).stderr == ""
    assert "3 batches" in Path(log).read_text()


def test_only_rank_0(run_script):
    ran = run_script("train(pause=0)", RANK="1", WORLD_SIZE="2")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "what"),
    [("file=Path('no/such/folder/log')", "cannot write to"),
     ("mode='live', file=Path('log')", "does not draw into a file")],
)  # fmt: skip
def test_what_cannot_work_is_said_first(run_script, options, what):
    ran = run_script(f"from pathlib import Path\ntrain({options}, body=lambda *_: print('ran'))")
    assert ran.stdout == ""
    assert (
        f"UsageError: progress: {'' if 'mode' not in options else 'mode live '}{what}" in ran.stderr
    )


@pytest.mark.parametrize("option", ["mode='bars'", "every_seconds=0"])
def test_wrong_values_are_refused(run_script, option):
    assert "ValueError" in run_script(f"Progress({option})").stderr


def test_closed_stderr(run_script, environ, tmp_path, loop):
    script = tmp_path / "script.py"
    script.write_text(f"{loop}\ntrain(pause=0, mode='json')\nprint('done')\n")
    command = f"HOOKCORE_QUIET=1 {sys.executable} {script} 2>&-"
    ran = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, env=environ()
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes")
@pytest.mark.parametrize("mode", ["lines", "json"])
def test_broken_pipe(environ, loop, mode):
    """Who read our stderr is gone. The training does not notice."""
    read, write = os.pipe()
    script = f"""{loop}
def body(epoch, batch):
    if epoch == 0 and batch == 3:
        sys.stdin.read(1)
        sys.stderr = open("/dev/null", "w")  # only the display's own lines are under test
train(body=body, mode={mode!r}, every_seconds=0.05)
print("done")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=write, env=environ(), text=True,
    )  # fmt: skip
    os.close(write)
    os.read(read, 100)
    os.close(read)
    out, _ = process.communicate("x", timeout=30)
    assert out == "done\n"


def test_a_stderr_of_the_users_own(run_script):
    """No descriptor: what the user put in its place gets our lines, and may fail."""
    ran = run_script("""
        import io
        class Broken(io.StringIO):
            def write(self, text):
                if "epoch 2" in text: raise ZeroDivisionError
                return super().write(text)
        kept, sys.stderr = sys.stderr, Broken()
        mine = sys.stderr
        train(pause=0.01)
        assert sys.stderr is mine
        sys.stderr = kept
        print("epoch 1/2 done" in mine.getvalue(), "24 batches in" in mine.getvalue())
    """)
    assert ran.stdout == "True False\n"
