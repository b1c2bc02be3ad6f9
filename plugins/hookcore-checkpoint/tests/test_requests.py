"""A checkpoint when somebody asks for one: a file, a signal."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest

from hookcore_checkpoint.requests import SAVE, Requests

SLOW = """
import os, signal, sys, time, torch
from pathlib import Path
from torch import nn

def main():
    heard = []
    if "handler" in sys.argv:
        signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(40):
        model(torch.ones(3, 2)).sum().backward()
        optimizer.step()
        if step == 5 and "file" in sys.argv:
            Path("checkpoints/slow").mkdir(parents=True)
            Path("checkpoints/slow/SAVE").touch()
        if step == 5 and "signal" in sys.argv:
            os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
    print(len(heard), signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)

main()
"""


def wait_for(condition):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.torch
def test_a_file_asks_for_a_checkpoint(desk):
    name = desk.put("slow.py", SLOW)
    ended = desk.run("-o", "checkpoint.every_n_steps=1000", name, "file")

    assert ended.out == "0 True\n"
    (line,) = re.findall(r"the file SAVE: wrote (checkpoints/slow/step-0000\d\d)\n", ended.err)
    assert (desk.folder / line / "manifest.json").is_file()
    assert not (desk.folder / "checkpoints/slow/SAVE").exists()


@pytest.mark.torch
def test_a_signal_asks_for_a_checkpoint_and_the_run_goes_on(desk):
    name = desk.put("slow.py", SLOW)
    ended = desk.run("-o", "checkpoint.every_n_steps=1000", name, "signal")

    assert (ended.status, ended.out) == (0, "0 True\n")
    assert re.search("SIGUSR1: wrote checkpoints/slow/step-00000[678]\n", ended.err)


@pytest.mark.torch
def test_the_users_own_handler_runs_too(desk):
    name = desk.put("slow.py", SLOW)
    ended = desk.run("-o", "checkpoint.every_n_steps=1000", name, "signal", "handler")

    assert ended.out == "1 False\n"
    assert "SIGUSR1: wrote" in ended.err


@pytest.mark.torch
def test_requests_can_be_left_alone(desk):
    name = desk.put("slow.py", SLOW)
    options = "-o", "checkpoint.every_n_steps=1000", "-o", "checkpoint.save_on_request=no"
    ended = desk.run(*options, name, "signal")

    assert ended.status == -signal.SIGUSR1


def test_a_file_is_seen_in_any_of_the_places(tmp_path):
    heard = []
    places = [tmp_path / "a", tmp_path / "b"]
    places[1].mkdir()
    requests = Requests(lambda: places, heard.append)
    requests.start()
    try:
        (places[1] / SAVE).touch()
        wait_for(lambda: heard == ["the file SAVE"])
    finally:
        requests.stop()
    assert list(places[1].iterdir()) == []


def test_outside_the_main_thread_only_the_file_is_listened_to(tmp_path):
    requests = Requests(lambda: [tmp_path], lambda _: None)
    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=requests.start)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGUSR1) == before
    requests.stop()


def test_a_handler_that_the_user_sets_meanwhile_stays(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    requests = Requests(lambda: [tmp_path], lambda _: None)
    requests.start()
    mine = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert mine != before
    requests.stop()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    signal.signal(signal.SIGUSR1, before)


def test_a_child_is_not_asked(tmp_path):
    heard = []
    requests = Requests(lambda: [tmp_path], heard.append)
    requests.start()
    try:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(len(heard))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        requests.stop()
