"""Killed at any moment, continued, and the end is the same to the last bit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

SHAPES = {
    "helpers": ("helpers.py",),
    "workers": ("helpers.py", "--workers", 2, "--epochs", 3),
    "trainer": ("trainer.py",),
    "flat": ("flat.py",),
    "odd": ("odd.py",),
    "while": ("steps.py", "--form", "while"),
    "for": ("steps.py", "--form", "for"),
    "folds": ("folds.py",),
}
"""Loops in helpers, with workers, in methods, at module level, with odd locals, without epochs."""

STEPS = {
    "write": ("hookcore.snapshot.draft:Sink", "write"),
    "fsync": ("os", "fsync"),
    "mkdir": ("pathlib:Path", "mkdir"),
    "rename": ("pathlib:Path", "rename"),
    "replace": ("pathlib:Path", "replace"),
    "link": ("pathlib:Path", "symlink_to"),
    "unlink": ("pathlib:Path", "unlink"),
    "rmdir": ("pathlib:Path", "rmdir"),
    "step": ("torch.optim:Optimizer", "zero_grad"),
}
"""What a process does on its way to a checkpoint; it is killed before or after one of these."""


def strike(step: str, number: int, *, after: bool):
    """Has this process killed at one of its calls of a function, before or after it."""
    import importlib

    where, name = STEPS[step]
    module, _, attribute = where.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, attribute) if attribute else owner
    original, pid, calls = getattr(owner, name), os.getpid(), []

    def call(*args, **options):
        calls.append(1)
        hit = len(calls) == number and os.getpid() == pid
        if hit and not after:
            os.kill(pid, signal.SIGKILL)
        result = original(*args, **options)
        if hit:
            os.kill(pid, signal.SIGKILL)
        return result

    setattr(owner, name, call)


def kills(yard, chance, shape, seconds, resume):
    """One run that is killed, at a moment by the clock or at a step of the writer's."""
    command = [*(["--resume"] if resume else []), "-o", "checkpoint.every_n_steps=3"]
    command += ["-o", "checkpoint.keep_last=2", *SHAPES[shape]]
    if chance.random() < 0.5:
        child = yard.begin(*command)
        yard.kill(child, chance.uniform(0, seconds))
    else:
        step, number = chance.choice(list(STEPS)), chance.randint(1, 12)
        after = chance.random() < 0.5
        child = yard.begin(*command, before=lambda: strike(step, number, after=after))
    return yard.wait(child)


@pytest.mark.parametrize("shape", SHAPES)
def test_killed_at_any_moment(yard, chance, times, shape):
    yard.put(SHAPES[shape][0])
    bare = yard.bare(*SHAPES[shape])
    began = time.monotonic()
    whole = yard.run("-o", "checkpoint.directory=whole", *SHAPES[shape])
    seconds = time.monotonic() - began
    assert whole.result == bare.result

    wanted, killed, rounds = times(5, 25), 0, 0
    while killed < wanted:
        rounds += 1
        chain = chance.randint(1, 3)
        for link in range(chain):
            ended = kills(yard, chance, shape, seconds, resume=link > 0)
            assert ended.status in (0, -signal.SIGKILL), ended.err
            assert "damaged" not in ended.err
            killed += ended.status != 0
        resumed = yard.run("--resume", "-o", "checkpoint.keep_last=2", *SHAPES[shape])
        assert resumed.result == bare.result, resumed.err
        assert "damaged" not in resumed.err
        check(yard)
        forget(yard.folder / "checkpoints")
    print(f"{shape}: {killed} kills in {rounds} rounds, {rounds} equal ends")


def check(yard):
    """All that lies there is whole, and nothing else lies there."""
    from hookcore.snapshot import list_checkpoints, verify

    assert yard.strays() == []
    for place in {path.parent.parent for path in yard.folder.glob("checkpoints/**/manifest.json")}:
        if place.name == "latest":
            continue
        for entry in list_checkpoints(place):
            verify(entry.path)
        latest = place / "latest"
        assert not latest.is_symlink() or (latest / "manifest.json").is_file()


def forget(folder: Path):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
