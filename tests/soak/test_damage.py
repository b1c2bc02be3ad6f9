"""What is on the disk is altered, cut, forged, or cannot be written: noticed, nothing is lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(path, content, chance):
    """Flip one bit of a file, or cut it, at a random place."""
    place = chance.randrange(len(content))
    if chance.random() < 0.5:
        path.write_bytes(content[:place])
        return f"{path.name} cut at {place}"
    changed = bytearray(content)
    changed[place] ^= 1 << chance.randrange(8)
    path.write_bytes(changed)
    return f"{path.name} flipped at {place}"


def test_every_altered_byte_is_noticed_and_the_one_before_is_taken(yard, chance, times):
    from hookcore.snapshot import latest

    yard.put("helpers.py")
    bare = yard.bare("helpers.py")
    yard.run("helpers.py", "--epochs", 3)
    place = yard.folder / "checkpoints/helpers"
    newest, before = place / "epoch-0003-step-000018", place / "epoch-0002-step-000012"
    files = {path: path.read_bytes() for path in newest.iterdir()}
    for number in range(times(100, 500)):
        path, content = chance.choice(list(files.items()))
        what = spoil(path, content, chance)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            assert latest(place) == before, what
        assert len(heard) == 1, what
        if number % 50 == 0:  # and by the command that a user types
            resumed = yard.run("--resume", "-o", "checkpoint.keep_last=0", "helpers.py")
            assert "epoch-0003-step-000018 is damaged and passed over" in resumed.err, what
            assert "continues from checkpoints/helpers/epoch-0002-step-000012" in resumed.err
            assert resumed.result == bare.result
            assert path.read_bytes() != content  # the damaged one is left as it is
            for extra in place.glob("epoch-000[34]-*"):
                if extra != newest:
                    shutil.rmtree(extra)
        path.write_bytes(content)
    assert latest(place) == newest


PAYLOAD = "import pathlib; pathlib.Path('it-ran').touch()"


class Evil:
    """Runs code wherever pickle trusts it."""

    def __reduce__(self):
        return exec, (PAYLOAD,)


def sign(folder):
    """A forger's work: sums that fit."""
    manifest = folder / "manifest.json"
    body = json.loads(manifest.read_bytes())
    for name in body["files"]:
        content = (folder / name).read_bytes()
        body["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    body["sha256"] = "0" * 64
    text = json.dumps(body, indent=1).replace('{\n "sha256"', '{"sha256"', 1).encode() + b"\n"
    manifest.write_bytes(text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1))


@pytest.mark.parametrize("safe_globals", [False, True])
def test_a_checkpoint_built_to_run_code_does_not(yard, safe_globals):
    import torch

    yard.put("helpers.py")
    yard.run("helpers.py", "--epochs", 2)
    folder = yard.folder / "checkpoints/helpers/epoch-0002-step-000012"
    torch.save({"0": Evil()}, folder / "tensors.pt")
    sign(folder)

    def trusting():
        if safe_globals:
            torch.serialization.add_safe_globals([exec, Evil])

    resumed = yard.run("--resume", "helpers.py", before=trusting)

    assert "needs pickle to run" in resumed.err
    assert "continues from checkpoints/helpers/epoch-0001" in resumed.err
    assert not (yard.folder / "it-ran").exists()


# -- places that fail -------------------------------------------------------------------------


@contextlib.contextmanager
def disk(folder: Path, options: str):
    """A file system of its own, as root may make one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_in_mid_save(yard):
    """The last good checkpoint is untouched, and the training goes on as if nothing had been."""
    yard.put("helpers.py")
    bare = yard.bare("helpers.py", "--epochs", 8)
    place = yard.folder / "disk"
    with disk(place, "size=256k"):
        options = "-o", "checkpoint.directory=disk", "-o", "checkpoint.keep_last=0"
        full = yard.run(*options, "helpers.py", "--epochs", 8)
        kept = sorted(path.name for path in place.iterdir())
        before = contents(place)

        assert full.status == 1
        assert full.result == bare.result
        assert "the checkpoint was not saved (each epoch)\n" in full.err
        assert "No space left on device" in full.err
        assert "free space or choose another folder; checkpoints that were there are untouched" in (
            full.err
        )
        assert not [name for name in kept if name.startswith(".")]
        assert 0 < len(kept) - 1 < 8  # and the link
        assert contents(place) == before

        (place / kept[0] / "tensors.pt").stat()
        resumed = yard.run("--resume", "-o", "checkpoint.directory=disk", "-o",
                           "checkpoint.keep_last=1", "helpers.py", "--epochs", 8)  # fmt: skip
        assert f"continues from disk/{kept[-2]}" in resumed.err
        assert resumed.result == bare.result


def test_a_directory_that_is_made_read_only_meanwhile(yard):
    yard.put("helpers.py")
    bare = yard.bare("helpers.py")
    place = yard.folder / "disk"
    with disk(place, "size=8m"):
        yard.run("-o", "checkpoint.directory=disk", "helpers.py", "--epochs", 2)
        before = contents(place)
        calls = []

        def remount():
            """After the first epoch's head, by the process that trains."""
            from hookcore_checkpoint.writer import Writer

            begin = Writer.begin

            def and_then(*args):
                if not calls:
                    calls.append(1)
                    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
                return begin(*args)

            Writer.begin = and_then

        ended = yard.run("--resume", "-o", "checkpoint.directory=disk", "helpers.py",
                         before=remount)  # fmt: skip

        assert ended.status == 1
        assert ended.result == bare.result
        assert ended.err.count("was not saved (each epoch)") == 2
        assert "Read-only file system" in ended.err
        assert contents(place) == before
        typed = yard.run("-o", "checkpoint.directory=disk", "helpers.py")
        assert (typed.status, typed.out) == (2, "")
        assert "nothing can be saved there" in typed.err


def test_two_runs_share_a_directory(yard, times):
    """Started together, again and again: nobody loses anything, and each can be continued."""
    from hookcore.snapshot import list_checkpoints, verify

    yard.put("helpers.py")
    bare = yard.bare("helpers.py")
    for _ in range(times(3, 10)):
        both = [yard.begin("-o", "checkpoint.every_n_steps=1", "helpers.py") for _ in range(2)]
        ends = [yard.wait(child) for child in both]

        assert [end.result for end in ends] == [bare.result] * 2
        assert [end.status for end in ends] == [0, 0]
        places = [yard.folder / "checkpoints/helpers", yard.folder / "checkpoints/helpers/run-2"]
        found = [list_checkpoints(place) for place in places]
        assert len(found[0]) == len(found[1]) > 0
        for entry in (*found[0], *found[1]):
            verify(entry.path)
        assert yard.strays() == []
        shutil.rmtree(yard.folder / "checkpoints")


def test_a_run_is_not_continued_while_it_runs(yard):
    yard.put("helpers.py")
    bare = yard.bare("helpers.py", "--epochs", 60)
    first = yard.begin("helpers.py", "--epochs", 60)
    while not (yard.folder / "checkpoints/helpers/latest").is_symlink():
        assert os.waitpid(first, os.WNOHANG) == (0, 0)
    second = yard.run("--resume", "helpers.py", "--epochs", 60)
    ended = yard.wait(first)

    assert (second.status, second.out) == (2, "")
    assert "another process saves there: it has not ended" in second.err
    assert ended.result == bare.result
