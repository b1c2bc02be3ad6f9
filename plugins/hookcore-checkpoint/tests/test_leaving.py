"""Signals and exceptions: what is saved, and that the run still ends as it would have."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

pytestmark = pytest.mark.torch


def said(ended, pattern):
    return re.search(pattern, ended.err) is not None


def hit(what):
    return "-o", f"striker.hit={what}"


@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", -15), ("SIGINT", 130)])
@pytest.mark.parametrize("where", ["step", "batch"])
def test_a_signal_saves_and_ends_as_bare(desk, where, sent, status):
    name = desk.put("guarded.py")
    ended = desk.run(*hit(f"{where}/7/{sent}"), name)

    assert ended.status == status
    assert said(ended, f"{sent}: wrote checkpoints/guarded/epoch-0002-step-00000[78]\n")
    assert "trained" not in ended.out
    assert ("KeyboardInterrupt" in ended.err) == (sent == "SIGINT")
    # one checkpoint for it, not another one for the KeyboardInterrupt
    assert len(desk.checkpoints("guarded")) == 2
    resumed = desk.run("--resume", name)
    assert said(resumed, "continues from checkpoints/guarded/epoch-0002-step-00000[78]")
    assert resumed.status == 0


def test_a_signal_in_a_loop_over_steps_can_be_resumed_from(desk):
    name = desk.put("steps.py")
    bare = desk.bare(name)
    ended = desk.run(*hit("step/15/SIGTERM"), name)

    assert ended.status == -15
    assert said(ended, "SIGTERM: wrote checkpoints/steps/step-00001[56]\n")
    assert desk.run("--resume", name).result == bare.result


def test_a_signal_that_comes_during_a_save_waits_for_it(desk, monkeypatch):
    """Else the process ends, and with it the thread that writes."""
    import hookcore.snapshot

    stage, write, staged = hookcore.snapshot.stage, hookcore.snapshot.write, []

    def struck(*args):
        staged.append(stage(*args))
        if len(staged) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return staged[-1]

    def slow(*args):
        time.sleep(0.3)
        return write(*args)

    name = desk.put("guarded.py")
    monkeypatch.setattr(hookcore.snapshot, "stage", struck)
    monkeypatch.setattr(hookcore.snapshot, "write", slow)

    assert desk.run(name).status == -15
    assert desk.checkpoints("guarded") == ["epoch-0001-step-000004", "epoch-0002-step-000008"]


def test_the_users_handler_runs_after_the_save(desk):
    name = desk.put("guarded.py")
    asked = desk.run(*hit("step/7/SIGTERM"), name, "flag")
    left = desk.run(*hit("step/7/SIGTERM"), name, "exit")

    assert (asked.status, asked.out) == (0, "handler 15\nleft by the user\n")
    assert said(asked, "SIGTERM: wrote checkpoints/guarded/epoch-0002-step-000007\n")
    assert (left.status, left.out) == (7, "handler 15\n")
    assert said(left, "SIGTERM: wrote checkpoints/guarded/run-2/epoch-0002-step-000007\n")


def test_signals_can_be_left_alone(desk):
    name = desk.put("guarded.py")
    options = "-o", "checkpoint.save_on_signal=no", "-o", "checkpoint.background=no"
    ended = desk.run(*options, *hit("step/7/SIGTERM"), name)

    assert ended.status == -15
    assert desk.checkpoints("guarded") == ["epoch-0001-step-000004"]


def test_an_exception_leaves_the_weights(desk, monkeypatch):
    name = desk.put("guarded.py")
    monkeypatch.setenv("FAIL_AT", "2/10")
    bare, ended = desk.bare(name), desk.run(name)
    monkeypatch.delenv("FAIL_AT")

    assert ended.status == bare.status == 1
    assert ended.err.endswith("ValueError: the user's own trouble\n")
    assert said(ended, "ValueError: wrote checkpoints/guarded/epoch-0003-step-000010-emergency")
    resumed = desk.run("--resume", name)
    assert said(resumed, "continues from checkpoints/guarded/epoch-0002-step-000008")
    assert resumed.out == "trained\n"


def test_the_weights_of_an_emergency_can_be_taken(desk, monkeypatch):
    name = desk.put("guarded.py")
    monkeypatch.setenv("FAIL_AT", "0/20")
    desk.run(name)
    monkeypatch.delenv("FAIL_AT")
    taken = desk.run("--resume-mode", "weights", name)

    assert said(taken, "takes the weights of .*epoch-0001-step-000003-emergency")
    assert taken.out == "trained\n"


def test_exceptions_can_be_left_alone(desk, monkeypatch):
    name = desk.put("guarded.py")
    monkeypatch.setenv("FAIL_AT", "1/10")
    desk.run("-o", "checkpoint.save_on_exception=no", name)

    assert desk.checkpoints("guarded") == ["epoch-0001-step-000004"]


def test_a_signal_after_the_last_head_is_not_lost(desk):
    name = desk.put(
        "late.py",
        """
        import os, signal, torch
        from torch import nn

        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        n = 0
        while True:
            model(torch.ones(3, 2)).sum().backward()
            optimizer.step()
            n += 1
            if n == 5:
                os.kill(os.getpid(), signal.SIGTERM)
                break
        print("after", flush=True)
        """,
    )

    assert desk.run(name).status == -15
