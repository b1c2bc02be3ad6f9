"""Checkpoints are written beside the training: what is said of it, when, and by whom."""

from __future__ import annotations

import os
import re
import shlex
import signal
import threading

import pytest

pytestmark = pytest.mark.torch


def option(**options):
    return [part for k, v in options.items() for part in ("-o", f"checkpoint.{k}={v}")]


STEADY = """
import sys, time, torch
from torch import nn

def main():
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(3):
        for part in torch.randn(40, 2).split(1):
            optimizer.zero_grad()
            (model(part) ** 2).mean().backward()
            optimizer.step()
            time.sleep(0.005)
        print("epoch", epoch, file=sys.stderr)
    print([p.tolist() for p in model.parameters()])

main()
"""


def test_an_error_of_the_writer_is_said_at_the_next_head(desk, monkeypatch):
    """In the middle of the next epoch, and not only when the next checkpoint is due."""
    import hookcore.snapshot

    def full(*_):
        raise OSError(28, "No space left on device")

    name = desk.put("steady.py", STEADY)
    bare = desk.bare(name)
    monkeypatch.setattr(hookcore.snapshot, "write", full)
    ended = desk.run(name)

    assert ended.status == 1
    assert ended.out == bare.out
    assert ended.err.count("was not saved (each epoch)") == 3
    first, second = (ended.err.index(text) for text in ("was not saved", "\nepoch 1\n"))
    assert first < second


def test_there_is_one_writer_at_a_time_and_the_end_waits_for_it(desk, monkeypatch):
    import hookcore.snapshot

    write, under_way, most = hookcore.snapshot.write, [], []

    def slow(*args):
        under_way.append(1)
        most.append(len(under_way))
        threading.Event().wait(0.2)
        path = write(*args)
        under_way.pop()
        print("MOST", max(most), "IN", threading.current_thread().name)
        return path

    name = desk.put("steady.py", STEADY)
    monkeypatch.setattr(hookcore.snapshot, "write", slow)
    ended = desk.run(*option(every_n_steps=10, keep_last=0), name)

    assert len(desk.checkpoints("steady")) == 12
    assert ended.out.count("MOST 1 IN hookcore-writer") == 12


def test_what_a_killed_writer_left_goes_though_the_next_run_saves_elsewhere(desk, monkeypatch):
    from hookcore.snapshot.draft import Draft

    name = desk.put("helpers.py")
    publish, done = Draft.publish, []

    def killed(draft):
        if done:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(publish(draft))

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "publish", killed)
        assert desk.run(*option(every_n_steps=2), name).status == -9
    place = desk.folder / "checkpoints/helpers"
    assert [path for path in place.iterdir() if path.name.startswith(".")]
    desk.run(name)

    assert desk.checkpoints("helpers", "run-2")
    assert [path for path in place.iterdir() if path.name.startswith(".")] == []


def test_at_once_without_a_thread_to_wait_for(desk, monkeypatch):
    import hookcore.snapshot

    write = hookcore.snapshot.write

    def told(*args):
        path = write(*args)
        print("written", path.name)
        return path

    name = desk.put("helpers.py")
    monkeypatch.setattr(hookcore.snapshot, "write", told)
    ended = desk.run(*option(background="no"), name, "--epochs", 2)

    assert ended.out.index("written epoch-0001") < ended.out.index("written epoch-0002")


def test_latest_leads_to_the_newest_to_resume_from(desk):
    name = desk.put("helpers.py")
    desk.run(*option(every_n_steps=5), name, "--epochs", 2)
    place = desk.folder / "checkpoints/helpers"

    assert str((place / "latest").readlink()) == "epoch-0002-step-000012"


def test_at_validations_too(desk):
    name = desk.put("steps.py")
    ended = desk.run(*option(every_n_validations=2, keep_last=0), name, "--steps", 60)

    assert "saves each epoch and every 2 validations" in ended.err
    assert desk.checkpoints("steps") == ["step-000020", "step-000040", "step-000060"]


def test_two_runs_in_one_directory(desk):
    """Each keeps to a folder of its own, and says so where it is not the one it had said."""
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    from hookcore.snapshot import Hold

    place = desk.folder / "checkpoints/helpers"
    place.mkdir(parents=True)
    first = Hold(place)  # as the other run does that has begun to save
    second = desk.run(name)
    first.let_go()

    assert second.result == bare.result
    assert (
        "another run saves in checkpoints/helpers: this one saves in checkpoints/helpers/run-2"
        in second.err
    )
    assert len(desk.checkpoints("helpers", "run-2")) == 3
    assert desk.checkpoints("helpers") == []


def test_a_run_that_has_not_ended_cannot_be_continued(desk):
    from hookcore.snapshot import Hold

    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 1)
    first = Hold(desk.folder / "checkpoints/helpers")
    second = desk.run("--resume", name)
    first.let_go()

    assert (second.status, second.out) == (2, "")
    assert re.search("(?s)cannot be continued.*another process saves there.*wait", second.err)


WORSE = """
import sys, torch
from pathlib import Path
from torch import nn

def main():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for epoch in range(5):
        optimizer.zero_grad()
        model(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        val_loss = [5.0, 3.0, 1.0, 2.0, 4.0][epoch]
        if epoch == 4:
            for path in sys.argv[1:]:
                Path(path).write_bytes(bytes(Path(path).stat().st_size))
    print(model.weight.item())

main()
"""
best = *option(keep_best=1, monitor="val_loss", mode="min", every_n_epochs=1),


def test_the_best_weights_are_put_back_at_the_end(desk):
    name = desk.put("worse.py", WORSE)
    kept, loaded = desk.run(*best, name), desk.run(*best, *option(load_best="yes"), name)

    assert kept.out == "-5.0\n"
    assert loaded.out == "-3.0\n"
    assert "checkpoint puts back the weights of the best val_loss, 1, of checkpoints" in loaded.err
    refused = desk.run(*option(load_best="yes"), name)
    assert (refused.status, refused.out) == (2, "")
    assert "keep one:  -o checkpoint.keep_best=1" in refused.err


def test_a_value_that_is_no_number_is_no_best(desk):
    name = desk.put("worse.py", WORSE.replace("[5.0, 3.0, 1.0, 2.0, 4.0][epoch]", "float('nan')"))
    ended = desk.run(*best, *option(load_best="yes"), "-p", "no:earlystop", name)

    assert ended.out == "-5.0\n"
    assert "no checkpoint has a value of the monitored metric that is a number" in ended.err


def test_the_best_weights_are_put_back_after_a_resume_of_the_end_too(desk):
    """The run was killed behind its loop: what follows the loop gets the same weights again."""
    name = desk.put("worse.py", WORSE)
    desk.run(*best, *option(load_best="yes"), name)
    ended = desk.run("--resume", *best, *option(load_best="yes"), name)

    assert (ended.status, ended.out) == (0, "-3.0\n")
    assert "nothing was left to train" in ended.err
    assert "the best (val_loss 1):  checkpoints/worse/epoch-0003-step-000003" in ended.err
    assert "not resumed from" not in ended.err


def test_best_weights_that_cannot_be_read_any_more_are_named(desk):
    name = desk.put("worse.py", WORSE)
    place = "checkpoints/worse/epoch-0003-step-000003"
    ended = desk.run(*best, *option(load_best="yes"), name, f"{place}/tensors.pt")

    assert (ended.status, ended.out) == (1, "-5.0\n")
    assert re.search(
        "(?s)of the best val_loss were not put back, the last ones stay\n"
        f" +{place}: tensors.pt is altered.*hookcore checkpoint verify ",
        ended.err,
    )
    assert "Traceback" not in ended.err
    (command,) = re.findall("look at the others:  hookcore (.*)\n", ended.err)
    verified = desk.command(*shlex.split(command))
    assert verified.status == 1
    assert verified.out.count("whole") == 2
