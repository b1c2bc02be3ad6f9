"""On a real pty: the user's prints are whole and in order, and nothing of ours is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hookcore_progress import terminal
from hookcore_progress.streams import Stream

pytestmark = pytest.mark.skipif(os.name == "nt", reason="live displays are for POSIX terminals")

PRINTS = """
def body(epoch, batch):
    if batch == 2: print("begun", epoch, end="", flush=True)
    if batch == 8: print(" and ended", flush=True)
    if batch == 9: print("long " * 40 + "|")
    if batch == 10: print("from stderr", epoch, file=sys.stderr)
    if batch == 11: print("\\033[31mred\\033[0m", epoch)
"""


def gone(terminal):
    """Whether the region is whole again and no bar is left."""
    screen = terminal.screen
    assert (screen.top, screen.bottom) == (0, terminal.rows - 1)
    assert not [line for line in screen.lines if re.match(r"epoch \d+/\d+  ", line)]
    return screen.lines


@pytest.mark.parametrize(("columns", "rows"), [(80, 12), (40, 6), (20, 30), (200, 5)])
def test_prints_are_whole_and_in_order(in_terminal, columns, rows):
    ran = in_terminal(f"{PRINTS}\ntrain(epochs=3, body=body)\nprint('after')", columns, rows)
    assert ran.end() == 0
    assert f"\x1b[{rows};1H" in ran.text
    lines = gone(ran)
    ours = re.compile(r"hookcore: ")
    theirs, skipping = [], False
    for line in lines:
        # Our lines may go on in rows that are indented, or, where it is narrow, are not.
        skipping = bool(ours.match(line)) or (skipping and not line.startswith(("begun", "after")))
        if not skipping:
            theirs.append(line)
    long = "long " * 40 + "|"
    pieces = [long[i : i + columns].rstrip() for i in range(0, len(long), columns)]
    expected = []
    for epoch in range(3):
        expected += [f"begun {epoch} and ended", *pieces, f"from stderr {epoch}", f"red {epoch}"]
    assert theirs == [*expected, "after"]


def test_epoch_lines_stand_between_prints(in_terminal):
    ran = in_terminal("train(body=lambda e, b: b or print('epoch', e))")
    assert ran.end() == 0
    kinds = [re.sub(r" (done )?in .*", "", line) for line in gone(ran)]
    assert [line for line in kinds if re.search(r"\bepochs? ?\d|^hookcore: 2", line)] == [
        "epoch 0", "hookcore: epoch 1/2", "epoch 1", "hookcore: epoch 2/2",
        "hookcore: 2 epochs, 24 batches",
    ]  # fmt: skip


def test_no_lines_but_the_bar(in_terminal):
    ran = in_terminal("train(epoch_lines=False)")
    assert ran.end() == 0
    assert not [line for line in gone(ran) if "done" in line]


@pytest.mark.parametrize(
    ("ending", "status"),
    [("1 / 0", 1), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", -signal.SIGINT)],
)
def test_left_clean_by_an_exception(in_terminal, ending, status):
    script = f"def body(epoch, batch):\n    if batch == 10:\n        {ending}\ntrain(body=body)"
    ran = in_terminal(script)
    assert ran.end() == status
    assert "━" in ran.text
    gone(ran)
    assert ran.text.rindex("\x1b[r") < (ran.text + "Traceback").index("Traceback")


def test_left_clean_by_ctrl_c(in_terminal):
    ran = in_terminal("train(epochs=100)").until("epoch 1/100")
    os.write(ran.master, b"\x03")
    assert ran.end() == -signal.SIGINT
    gone(ran)


def test_left_clean_at_exit(in_terminal):
    """A run that is never closed: nothing but the interpreter's exit comes."""
    ran = in_terminal("""
        run = hookcore.run(only=[], plugins=[Progress()])
        run.__enter__()
        epochs = iter(hookcore.epochs(range(3)))
        next(epochs)
        batches = iter(hookcore.batches(range(10)))
        next(batches), next(batches)
        time.sleep(0.6)
    """)
    assert ran.end() == 0
    assert "━" in ran.text
    gone(ran)


def test_left_clean_where_a_hook_fails(in_terminal):
    """A hook that raises is the last one that is called."""
    ran = in_terminal("""
        import hookcore_progress.plugin as plugin
        def body(epoch, batch):
            if batch == 10:
                plugin.latest = lambda run: 1 / 0
        train(body=body)
        print("goes on")
    """)
    assert ran.end() == 0
    lines = gone(ran)
    assert "goes on" in lines
    assert any("switched off" in line for line in lines)


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": None}])
def test_lines_where_rows_cannot_be_addressed(in_terminal, environ):
    ran = in_terminal("train(pause=0)", **environ)
    assert ran.end() == 0
    assert "\x1b" not in ran.text
    assert "epoch 2/2 done" in ran.text


def test_ascii_where_that_is_all(in_terminal):
    ran = in_terminal("train()", PYTHONIOENCODING="ascii", PYTHONUTF8=None)
    assert ran.end() == 0
    assert ran.text.isascii()
    assert "####" in ran.text


def test_twenty_columns(in_terminal):
    ran = in_terminal("train(body=lambda e, b: time.sleep(0.02))", columns=20)
    assert ran.end() == 0
    bars = re.findall(r"\x1b\[12;1H\x1b\[2K([^\x1b]+)\x1b", re.sub(r"\x1b\[\d*m", "", ran.text))
    assert bars
    assert all(len(bar) < 20 for bar in bars)


def test_a_window_too_low_to_share(in_terminal):
    ran = in_terminal("train(pause=0)", rows=3)
    assert ran.end() == 0
    assert "\x1b" not in ran.text


def test_follows_the_window(in_terminal):
    ran = in_terminal("train(epochs=30)").until("\x1b[12;1H")
    ran.resize(60, 20)
    ran.until("\x1b[1;19r").until("\x1b[20;1H")
    ran.resize(60, 3)
    time.sleep(0.6)
    ran.resize(50, 10)
    ran.until("\x1b[1;9r")
    assert ran.bytes.rindex(b"\x1b[r") > ran.bytes.index(b"\x1b[20;1H")  # given back in between
    os.write(ran.master, b"\x03")
    ran.end()
    assert ran.text.rindex("\x1b[r") > ran.text.rindex("\x1b[1;9r")


def test_ctrl_z(in_terminal):
    """The terminal is the shell's while we are stopped, and ours again afterwards."""
    ran = in_terminal("train(epochs=40)").until("━")
    pid = ran.process.pid
    # To the process, not from the keyboard: a session's leader is never stopped from there.
    os.kill(pid, signal.SIGTSTP)
    ran.until("\x1b[r")
    time.sleep(0.3)
    gone(ran)
    before = ran.text.count("━")
    os.kill(pid, signal.SIGCONT)
    ran.until("━" * 2)
    while ran.text.count("━") == before:
        assert ran._read()
    os.write(ran.master, b"\x03")
    ran.end()
    gone(ran)


def test_the_users_own_sigtstp_handler_stays(in_terminal):
    ran = in_terminal("""
        import signal
        def mine(*_): print("mine")
        signal.signal(signal.SIGTSTP, mine)
        train(body=lambda e, b: b == 5 and signal.raise_signal(signal.SIGTSTP))
        print(signal.getsignal(signal.SIGTSTP) is mine)
    """)
    assert ran.end() == 0
    assert gone(ran).count("mine") == 2
    assert "True" in gone(ran)


def test_default_sigtstp_comes_back(in_terminal):
    ran = in_terminal("""
        import signal
        train(pause=0.03)
        print(signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL)
    """)
    assert ran.end() == 0
    assert "True" in gone(ran)


def test_background_is_left_alone(in_terminal):
    """Another group is in front: `train.py &`. Lines, then, and no rows taken."""
    ran = in_terminal("""
        import os, signal
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        front = os.fork()
        if front == 0:
            os.setpgid(0, 0)
            time.sleep(30)
            os._exit(0)
        time.sleep(0.2)
        os.tcsetpgrp(0, front)
        train()
        os.kill(front, signal.SIGKILL)
    """)
    ran.until("training ended")
    assert "epoch 2/2 done" in ran.text
    assert "\x1b" not in ran.text


def test_a_closed_stderr_is_not_written_into_other_files(in_terminal, tmp_path):
    """The number of a closed descriptor soon belongs to another file."""
    ran = in_terminal(f"""
        def body(epoch, batch):
            global file
            if batch == 5 and epoch == 0:
                import os
                os.close(2)
                file = open({str(tmp_path / "data")!r}, "wb")
                assert file.fileno() == 2
        train(body=body, pause=0.1)
    """)
    ran.end()
    assert b"\x1b" not in (tmp_path / "data").read_bytes()


@pytest.mark.parametrize("start", [(0, 0), (3, 7), (9, 5), (11, 0), (11, 79)])
def test_sequences_keep_the_cursor(screen, tmp_path, start):
    """From wherever the cursor stands: drawing moves nothing, a line goes above the cursor's."""
    row, column = start
    path = tmp_path / "out"
    shown = screen(80, 12)
    for i in range(12):
        shown.cells[i] = list(f"row {i}".ljust(80)) if i <= row else shown.cells[i]
    shown.row, shown.column = row, column
    last = terminal.Terminal(Stream(path))
    last.draw("bar", 12)
    last.draw("bar again", 12)
    last.insert("a line")
    last.release()
    shown.feed(path.read_bytes().decode())
    assert shown.lines == [*(f"row {i}" for i in range(row)), "a line", f"row {row}"]
    assert shown.column == column
    assert "".join(shown.cells[shown.row]).rstrip() == f"row {row}"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
def test_in_tmux(tmp_path, environ, loop):
    """An emulator that is not ours."""
    script = tmp_path / "loop.py"
    script.write_text(f"{loop}\n{PRINTS}\ntrain(epochs=3, body=body)\nprint('after')\n")
    socket = str(tmp_path / "tmux")

    def tmux(*words):
        return subprocess.run(
            ["tmux", "-S", socket, "-f", os.devnull, *words],
            capture_output=True, text=True, check=True, env=environ(TERM="xterm"),
        ).stdout  # fmt: skip

    command = f"{sys.executable} {script}; sleep 60"
    tmux("new-session", "-d", "-x", "80", "-y", "10", command)
    try:
        end = time.monotonic() + 30
        seen = set()
        while "after" not in (shown := tmux("capture-pane", "-p", "-S", "-100")):
            assert time.monotonic() < end
            seen.add("━" in shown)
            time.sleep(0.2)
    finally:
        tmux("kill-server")
    assert True in seen
    lines = [line.rstrip() for line in shown.splitlines()]
    assert not [line for line in lines if "━" in line]
    for epoch in range(3):
        assert f"begun {epoch} and ended" in lines
        assert f"from stderr {epoch}" in lines
    assert "".join(lines).count("long") == 3 * 40
