"""A child that is forked while we draw finds no lock held."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

LOCKED = """
    import io, os, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking beside any thread
    class Locked(io.TextIOBase):
        # A stderr as logging libraries put in its place: each write under a lock.
        def __init__(self): self.lock = threading.RLock()
        def write(self, text):
            with self.lock:
                time.sleep(0.002)
            return len(text)
    kept, sys.stderr = sys.stderr, Locked()

    def child_ends(pid):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
            time.sleep(0.002)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return False
"""


def test_children_that_print_never_hang(run_script):
    ran = run_script(f"""{LOCKED}
    hung = 0
    def body(epoch, batch):
        global hung
        pid = os.fork()
        if pid == 0:
            print("in the child", file=sys.stderr)
            os._exit(0)
        hung += not child_ends(pid)
    train(epochs=2, batches=30, pause=0.003, body=body, mode="lines", every_seconds=0.0001)
    print("hung", hung)
    """)
    assert ran.stdout == "hung 0\n", ran.stderr


def test_a_child_draws_nothing_and_ends(run_script):
    """One that leaves through Python's own exit runs what is registered there."""
    ran = run_script("""
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        def body(epoch, batch):
            if epoch == 0 and batch == 5:
                if os.fork() == 0:
                    time.sleep(0.5)
                    sys.exit(0)
                os.wait()
        train(body=body, mode="lines", every_seconds=0.1)
    """)
    assert ran.returncode == 0
    assert ran.stderr.count("24 batches in") == 1
    assert "Traceback" not in ran.stderr


def test_a_child_can_train_itself(run_script):
    ran = run_script("""
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        def body(epoch, batch):
            if epoch == 0 and batch == 5 and os.fork() == 0:
                train(epochs=3, pause=0, mode="lines")
                os._exit(0)
        train(body=body, mode="lines")
        os.wait()
    """)
    assert "3 epochs, 36 batches" in ran.stderr
    assert "2 epochs, 24 batches" in ran.stderr


def test_a_stopped_place_stops_no_fork(run_script):
    """A terminal held with Ctrl-S: the fork waits a second, and goes on."""
    ran = run_script(f"""{LOCKED}
    held = threading.Event()
    def write(text):
        if "done" in text:
            held.wait(20)
        return len(text)
    sys.stderr.write = write
    def body(epoch, batch):
        if epoch == 1 and batch == 5:
            began = time.monotonic()
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            print("waited", round(time.monotonic() - began))
            held.set()
    train(body=body, pause=0.02, mode="lines")
    """)
    assert ran.stdout == "waited 1\n", ran.stderr


@pytest.mark.torch
def test_workers_of_a_dataloader(run_script):
    ran = run_script("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch
        class Data(torch.utils.data.Dataset):
            def __len__(self): return 8
            def __getitem__(self, i):
                print("item", i, file=sys.stderr)
                return torch.ones(2) * i
        from torch.utils.data import DataLoader
        loader = DataLoader(Data(), 2, num_workers=2, multiprocessing_context="fork")
        with hookcore.run(only=[], plugins=[Progress(mode="lines", every_seconds=0.001)]):
            for epoch in hookcore.epochs(range(4)):
                for batch in hookcore.batches(loader):
                    pass
    """)
    assert ran.returncode == 0
    assert ran.stderr.count("item ") == 32
    assert "4 epochs, 16 batches" in ran.stderr
