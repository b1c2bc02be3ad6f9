"""Writing beside the training: a thread for a job, memory that is used again, forks in between."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

from hookcore.snapshot import (
    Header,
    Hold,
    Job,
    Memory,
    Snapshot,
    clean_stale,
    forks,
    mark_latest,
    read,
    stage,
    write,
)
from hookcore.snapshot.draft import hidden_name


def snapshot(**variables):
    return Snapshot(header=Header(kind="epoch"), variables=variables)


def test_a_job_gives_what_its_function_gives():
    heard = threading.Event()
    job = Job(lambda: threading.current_thread().name, heard.set)
    assert job.result() == "hookcore-writer"
    assert job.over
    assert heard.is_set()


def test_a_job_raises_what_its_function_raises():
    job = Job(lambda: 1 / 0, lambda: None)
    with pytest.raises(ZeroDivisionError):
        job.result()


def test_training_goes_on_while_a_staged_snapshot_is_written(tmp_path):
    weights = torch.zeros(1000)
    staged = stage(snapshot(weights=weights))
    weights += 1
    job = Job(lambda: write(staged, tmp_path / "x"), lambda: None)
    weights += 1
    assert read(job.result()).variables["weights"].sum() == 0


def test_memory_is_used_again_when_it_is_free():
    memory = Memory()
    weights = torch.zeros(1000)
    first = stage(snapshot(weights=weights), memory)
    places = {blob.data_ptr() for blob in first.inner.blobs.values()}
    second = stage(snapshot(weights=weights), memory)
    assert not places & {blob.data_ptr() for blob in second.inner.blobs.values()}
    memory.begin(first.inner.blobs.values())
    third = stage(snapshot(weights=weights + 1), memory)
    assert {blob.data_ptr() for blob in third.inner.blobs.values()} == places
    assert third.snapshot().variables["weights"].sum() == 1000
    assert third.size == 4000


def test_memory_keeps_no_more_than_the_last():
    memory = Memory()
    one = stage(snapshot(weights=torch.zeros(1000)), memory)
    two = stage(snapshot(weights=torch.zeros(10)), memory)
    memory.begin(one.inner.blobs.values())
    memory.begin(two.inner.blobs.values())
    assert memory.take(4000).data_ptr() not in {b.data_ptr() for b in one.inner.blobs.values()}


# -- forks ------------------------------------------------------------------------------------

LOCKED = threading.Lock()


def busy(until, forked):
    """A thread that nearly always holds a lock, and takes breaks."""
    while not until.is_set():
        with LOCKED:
            time.sleep(0.001)
        forks.breathe()


def test_a_fork_waits_for_a_break():
    """Without one, nearly every child would find the lock held for ever."""
    over = threading.Event()
    job = Job(lambda: busy(over, None), lambda: None)
    try:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                os._exit(0 if LOCKED.acquire(timeout=1) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
        job.result()


def test_a_fork_goes_on_while_the_writer_waits_for_the_system():
    over = threading.Event()

    def wait():
        with forks.at_rest():
            over.wait(10)

    job = Job(wait, lambda: None)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert time.monotonic() - began < forks._PATIENCE
    over.set()
    job.result()


def test_a_child_is_told_that_the_job_is_not_its_own():
    over = threading.Event()
    job = Job(lambda: over.wait(10), lambda: None)
    child = os.fork()
    if child == 0:
        try:
            job.result()
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    over.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    job.result()


# -- directories in use -----------------------------------------------------------------------


def test_a_directory_is_held_by_one(tmp_path):
    hold = Hold(tmp_path)
    with pytest.raises(BlockingIOError):
        Hold(tmp_path)
    hold.let_go()
    Hold(tmp_path).let_go()


def test_a_directory_is_free_when_its_process_is_killed_though_a_child_of_it_lives(tmp_path):
    """DataLoader workers notice only after seconds that they are orphans."""
    program = f"""
        import os, signal, sys, time
        from hookcore.snapshot import Hold
        hold = Hold({str(tmp_path)!r})
        if os.fork() == 0:
            print("ready", flush=True)
            time.sleep(30)
            os._exit(0)
        time.sleep(30)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout.readline() == b"ready\n"
        with pytest.raises(BlockingIOError):
            Hold(tmp_path)
        parent.kill()
        parent.wait()
        Hold(tmp_path).let_go()
        os.killpg(parent.pid, 9)


def test_latest_leads_to_the_newest(tmp_path):
    for name in ("a", "b"):
        mark_latest(write(snapshot(), tmp_path / name))
    assert (tmp_path / "latest").resolve() == tmp_path / "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_something_else_called_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").write_text("mine")
    mark_latest(write(snapshot(), tmp_path / "a"))
    assert (tmp_path / "latest").read_text() == "mine"


def test_a_link_that_a_dead_process_left_goes(tmp_path):
    name = hidden_name("latest")
    living = tmp_path / name
    dead = tmp_path / name.replace(f"-{os.getpid()}-", "-4194305-")  # above Linux's highest number
    for path in (living, dead):
        path.symlink_to("a")
    assert clean_stale(tmp_path) == [dead]
    assert living.is_symlink()
