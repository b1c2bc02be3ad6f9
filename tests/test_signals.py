"""SIGTERM and SIGINT: delivered at a head, then handed on to whoever had them before."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from hookcore import batches, epochs, hookimpl
from hookcore.testing import isolated_run

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


class Listener:
    """Writes down the signals that it is told of."""

    name = "listener"

    def __init__(self):
        self.heard = []

    @hookimpl
    def on_signal(self, run, signal):
        self.heard.append((signal, run.fit.epoch, run.fit.batch))


@pytest.fixture
def handler():
    """A user's handler for SIGTERM; gives what it has received."""
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


def loop(at, what):
    """Two epochs of three batches; `what` is done in one place."""
    for epoch in epochs(range(2)):
        for batch in batches(range(3)):
            if (epoch, batch) == at:
                what()


def send():
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_waits_for_the_head(handler):
    """The batch is done when plugins hear of it, and the user's handler runs after them."""
    one = Listener()
    order = []

    class Witness:
        name = "witness"

        @hookimpl
        def on_batch_end(self, fit, batch):
            order.append((fit.epoch, batch, len(one.heard), len(handler)))

    with isolated_run(one, Witness()):
        loop((0, 1), send)
    assert one.heard == [(signal.SIGTERM, 0, 1)]
    assert handler == [signal.SIGTERM]
    assert order[1] == (0, 1, 0, 0)
    assert order[2] == (0, 2, 1, 1)


def test_a_signal_may_wait_for_ever(handler):
    """As with ``grace_seconds = inf``: no thread dies of a number that is too large for a clock."""
    listener = Listener()
    with isolated_run(listener) as run:
        run.grace_seconds = float("inf")
        for _ in epochs(range(2)):
            for _ in batches(range(2)):
                if not listener.heard:
                    signal.raise_signal(signal.SIGTERM)
    assert listener.heard and handler


def test_a_second_signal_goes_straight_through(handler):
    """Who sends twice is in a hurry."""
    one = Listener()

    def twice():
        send()
        assert handler == []
        send()
        assert handler == [signal.SIGTERM]

    with isolated_run(one):
        loop((0, 1), twice)
    assert one.heard == []


def test_outside_a_fit_it_goes_straight_through(handler):
    """No head would come that could deliver it."""
    one = Listener()
    with isolated_run(one):
        send()
        assert handler == [signal.SIGTERM]
    assert one.heard == []


def test_nobody_listens_nothing_is_installed():
    """Without a listener the user's handlers are not touched."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with isolated_run():
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_handlers_are_there_while_a_fit_is(handler):
    """Before the first step and after the loop the user's own handlers stand."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    during = []

    class Witness:
        name = "witness"

        @hookimpl
        def on_epoch_end(self):
            during.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))

    with isolated_run(Listener(), Witness()):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        loop(None, None)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert not set(during) & {before}


def test_a_handler_that_the_loop_installs_stays(handler):
    """What the user's code has set during the run is not overwritten after it."""

    def own(number, frame):
        handler.append("own")

    with isolated_run(Listener()):
        loop((0, 1), lambda: signal.signal(signal.SIGTERM, own))
    assert signal.getsignal(signal.SIGTERM) is own


def test_an_ignored_signal_stays_ignored():
    """As under nohup: nobody is told."""
    one = Listener()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with isolated_run(one):
            loop((1, 0), send)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert one.heard == []


def test_a_signal_in_the_last_batch_is_not_lost(handler):
    """No head comes after it, or the fit's last one: it reaches the user's handler all the same."""
    one = Listener()
    with isolated_run(one):
        loop((1, 2), send)
    assert handler == [signal.SIGTERM]


def test_an_interrupt_becomes_a_keyboard_interrupt():
    """Python's own handler runs at the head; the loop is left by what it raises."""
    one = Listener()
    with pytest.raises(KeyboardInterrupt), isolated_run(one):
        loop((0, 1), lambda: signal.raise_signal(signal.SIGINT))
    assert one.heard == [(signal.SIGINT, 0, 1)]


@pytest.mark.torch
def test_a_checkpoint_asked_for_is_taken_before_the_handler(handler):
    """What the plugin saves is whole, and safe before the process may end."""
    import torch  # noqa: F401 - without it there is nothing to save

    seen = []

    class Saver(Listener):
        role = "persist"

        @hookimpl
        def on_signal(self, run):
            run.capture("signal")

        @hookimpl
        def on_checkpoint_save(self, snapshot):
            seen.append(list(handler))

    with isolated_run(Saver()):
        loop((0, 2), send)
    assert seen == [[]]
    assert handler == [signal.SIGTERM]


def test_another_thread_says_that_it_does_not_listen(capsys):
    """Python allows handlers in the main thread alone."""
    from hookcore.plain.explicit import run

    def work():
        with run(only=[], plugins=[Listener()]):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "outside the main thread" in capsys.readouterr().err


# -- whole processes -------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
import hookcore
from hookcore.testing import isolated_run

class Listener:
    name = "listener"
    @hookcore.hookimpl
    def on_signal(self, signal):
        print("heard", signal, flush=True)
    @hookcore.hookimpl
    def on_run_end(self, how):
        print("end", how, flush=True)

def loop():
    for epoch in hookcore.epochs(range(3)):
        for batch in hookcore.batches(range(3)):
            if (epoch, batch) == (1, 1):
                os.kill(os.getpid(), signal.{name})
        print("epoch", epoch, flush=True)

{before}
if sys.argv[1] == "bare":
    loop()
else:
    with isolated_run(Listener()):
        loop()
"""

HANDLER = """
def own(number, frame):
    print("own", number, flush=True)
    raise SystemExit(7)

signal.signal(signal.SIGTERM, own)
"""


def process(tmp_path, how, name, before=""):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(name=name, before=before)))
    return subprocess.run(
        [sys.executable, script, how],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "before"), [("SIGTERM", ""), ("SIGINT", ""), ("SIGTERM", HANDLER)]
)
def test_the_exit_status_is_the_bare_one(tmp_path, name, before):
    """Killed by the signal where there is no handler, else what the handler made of it."""
    bare = process(tmp_path, "bare", name, before)
    ours = process(tmp_path, "ours", name, before)
    number = int(getattr(signal, name))
    assert ours.returncode == bare.returncode
    assert bare.stdout.startswith("epoch 0\n")
    assert ours.stdout.startswith(f"epoch 0\nheard {number}\n")
    assert [line for line in ours.stdout.splitlines() if not line.startswith(("heard", "end"))] == (
        bare.stdout.splitlines()
    )


def test_a_forked_child_is_not_the_run(tmp_path):
    """A worker that is terminated dies of it, and tells no plugin."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            from hookcore import batches, epochs, hookimpl
            from hookcore.testing import isolated_run

            class Listener:
                name = "listener"
                @hookimpl
                def on_signal(self):
                    print("heard", flush=True)

            with isolated_run(Listener()):
                for epoch in epochs(range(2)):
                    for batch in batches(range(2)):
                        pid = os.fork()
                        if pid == 0:
                            os.kill(os.getpid(), signal.SIGTERM)
                            os._exit(0)
                        _, status = os.waitpid(pid, 0)
                        print(os.WTERMSIG(status), flush=True)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["15"] * 4, done.stderr


def test_no_head_in_time_lets_it_through(handler):
    """A batch that hangs is not protected from SIGTERM for ever."""
    one = Listener()

    class Grace:
        name = "grace"

        @hookimpl
        def on_run_start(self, run):
            run.grace_seconds = 0.01

    passed = threading.Event()
    inner = signal.getsignal(signal.SIGTERM)

    def own(number, frame):
        inner(number, frame)
        passed.set()

    signal.signal(signal.SIGTERM, own)

    def hang():
        send()
        assert passed.wait(30)

    with isolated_run(one, Grace()):
        loop((0, 1), hang)
    assert handler == [signal.SIGTERM]
    assert one.heard == []
