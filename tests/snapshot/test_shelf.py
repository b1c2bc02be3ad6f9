"""A directory of checkpoints: the newest good one is found, nothing of others is touched."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import pytest
import torch

from hookcore.errors import HookcoreWarning, SnapshotError
from hookcore.snapshot import (
    Header,
    Snapshot,
    check_directory,
    clean_stale,
    latest,
    list_checkpoints,
    read,
    remove,
    write,
)
from hookcore.snapshot.draft import drafted, hidden_name
from hookcore.snapshot.manifests import MANIFEST, PARTS, STATE, TENSORS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save(folder, day, kind="epoch"):
    header = Header(kind=kind, created=f"2024-01-{day:02}T00:00:00+00:00")
    return write(Snapshot(header=header, variables={"x": torch.ones(3)}), folder)


@pytest.fixture
def three(tmp_path):
    """Three checkpoints; the names say nothing about their age."""
    return [save(tmp_path / name, day) for day, name in enumerate(["c", "a", "b"], 1)]


def quietly(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*args)


# -- listing ----------------------------------------------------------------------------------


def test_newest_first(three, tmp_path):
    entries = list_checkpoints(tmp_path)
    assert [entry.path.name for entry in entries] == ["b", "a", "c"]
    assert all(entry.why is None for entry in entries)
    assert entries[0].manifest.header.created.startswith("2024-01-03")


def test_what_is_not_ours_is_passed_over(three, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text('{"name": "a web page"}')
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / TENSORS).write_text("mine")
    (tmp_path / "newest").symlink_to(three[0])
    shutil.copytree(three[0], tmp_path / ".hidden")
    assert [entry.path.name for entry in list_checkpoints(tmp_path)] == ["b", "a", "c"]


def test_bad_ones_come_with_the_reason(three, tmp_path):
    (three[0] / MANIFEST).unlink()
    (three[1] / STATE).unlink()
    (three[2] / TENSORS).write_text("short")
    reasons = {entry.path.name: entry.why for entry in list_checkpoints(tmp_path)}
    assert "manifest.json is missing" in reasons["c"]
    assert "state.json is missing" in reasons["a"]
    assert "tensors.pt has 5 bytes" in reasons["b"]


def test_a_directory_that_is_not_there_holds_none(tmp_path):
    assert list_checkpoints(tmp_path / "nothing") == []
    assert latest(tmp_path / "nothing") is None
    assert clean_stale(tmp_path / "nothing") == []


# -- latest -----------------------------------------------------------------------------------


def test_latest_is_the_newest(three, tmp_path):
    assert quietly(latest, tmp_path) == three[2]


def test_latest_keeps_to_the_kinds(three, tmp_path):
    save(tmp_path / "z", 9, "emergency")
    middle = save(tmp_path / "y", 8, "mid-epoch")
    assert quietly(latest, tmp_path) == three[2]
    assert quietly(latest, tmp_path, ("epoch", "mid-epoch")) == middle


def test_latest_warns_of_what_it_passes_over(three, tmp_path):
    content = bytearray((three[2] / TENSORS).read_bytes())
    content[len(content) // 2] ^= 1
    (three[2] / TENSORS).write_bytes(content)
    (three[1] / MANIFEST).write_bytes((three[1] / MANIFEST).read_bytes()[:-9])
    with pytest.warns(HookcoreWarning) as caught:
        assert latest(tmp_path) == three[0]
    text = "\n".join(str(each.message) for each in caught)
    assert re.search(r"/b is passed over\n +tensors.pt is altered", text)
    assert re.search(r"/a is passed over\n +manifest.json is altered or cut short", text)
    assert len(caught) == 2


def test_latest_says_nothing_of_bad_ones_that_are_older(three, tmp_path):
    (three[0] / STATE).unlink()
    assert quietly(latest, tmp_path) == three[2]


# -- removing ---------------------------------------------------------------------------------


def test_remove(three, tmp_path):
    remove(three[0])
    assert names(tmp_path) == ["a", "b"]


def test_remove_takes_an_altered_one(three, tmp_path):
    (three[0] / TENSORS).write_text("short")
    remove(three[0])
    assert not three[0].exists()


def plain_folder(folder):
    (folder / MANIFEST).unlink()


def web_page(folder):
    (folder / MANIFEST).write_text('{"name": "a web page"}')


def a_note(folder):
    (folder / "notes.txt").write_text("mine")


def a_subfolder(folder):
    (folder / "plots").mkdir()


@pytest.mark.parametrize("change", [plain_folder, web_page, a_note, a_subfolder])
def test_remove_refuses_what_is_not_provably_ours(three, change):
    change(three[0])
    before = sorted(path.name for path in three[0].iterdir())
    with pytest.raises(SnapshotError, match="was not removed"):
        remove(three[0])
    assert sorted(path.name for path in three[0].iterdir()) == before


def test_remove_refuses_a_link_and_nothing(three, tmp_path):
    (tmp_path / "link").symlink_to(three[0])
    for name in ("link", "nothing"):
        with pytest.raises(SnapshotError):
            remove(tmp_path / name)
    assert read(three[0])


def test_remove_that_fails_keeps_the_checkpoint(three, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(SnapshotError, match="Read-only"):
        remove(three[0])
    monkeypatch.undo()
    assert read(three[0])


def test_remove_works_with_a_relative_path(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    remove("c")
    assert names(tmp_path) == ["a", "b"]


# -- drafts of the dead -----------------------------------------------------------------------


def dead_draft(directory, name="epoch-1"):
    """What a process leaves that is killed while it writes."""
    program = f"""
        import os, pathlib, signal
        from hookcore.snapshot.draft import drafted
        with drafted(pathlib.Path({str(directory / name)!r})) as draft:
            draft.write("tensors.pt", lambda sink: sink.write(b"half"))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = [each for each in directory.iterdir() if each.name.startswith(".")]
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="no locks that prove anything")
def test_a_dead_process_is_cleaned_up_after(three, tmp_path):
    path = dead_draft(tmp_path)
    assert len(list_checkpoints(tmp_path)) == 3
    assert clean_stale(tmp_path) == [path]
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_living_process_is_not_disturbed(tmp_path):
    with drafted(tmp_path / "x") as draft:
        draft.write(TENSORS, lambda sink: sink.write(b"half"))
        assert clean_stale(tmp_path, age=-1) == []
        assert draft.folder.is_dir()
        draft.folder.joinpath(TENSORS).unlink()
        draft.folder.rmdir()


def other_machine(path):
    return path.rename(path.parent / re.sub(r"hookcore-\w{8}", "hookcore-00000000", path.name))


def other_name(path):
    return path.rename(path.parent / ".mine.tmp")


def more_inside(path):
    (path / "mine.txt").write_text("x")
    return path


def linked(path):
    inner = path.rename(path.parent / "elsewhere")
    path.symlink_to(inner)
    return path


@pytest.mark.parametrize("change", [other_machine, other_name, more_inside, linked])
def test_what_is_not_provably_a_draft_stays(tmp_path, change):
    path = tmp_path / hidden_name("epoch-1")
    path.mkdir()
    (path / PARTS[0]).write_text("half")
    path = change(path)
    assert clean_stale(tmp_path, age=-1) == []
    assert path.exists()


def test_a_young_draft_stays(tmp_path):
    path = tmp_path / hidden_name("epoch-1")
    path.mkdir()
    assert clean_stale(tmp_path) == []
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    assert clean_stale(tmp_path) == [path]


# -- where saving will fail -------------------------------------------------------------------


def test_a_good_directory(tmp_path):
    assert check_directory(tmp_path) is None
    assert check_directory(tmp_path / "not" / "yet", needed=1000) is None
    assert names(tmp_path) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        assert "is not a directory" in check_directory(path)


def test_no_space(tmp_path):
    assert "are needed" in check_directory(tmp_path, needed=1 << 60)


def test_read_only(tmp_path, monkeypatch):
    # root may write wherever it likes, so the system's answer is given here
    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert check_directory(tmp_path) == f"{tmp_path}: Read-only file system"


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a file system that nobody writes"
)
def test_a_file_system_that_nobody_writes():
    assert check_directory("/proc/self/checkpoints")


def test_a_dangling_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert "is not a directory" in check_directory(tmp_path / "link")
