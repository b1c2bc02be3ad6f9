"""One checkpoint on the disk: whole, verified, harmless, or refused with the reason."""

from __future__ import annotations

import copy
import errno
import functools
import json
import os
import pickle
import random
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import attrs
import pytest
import torch

from hookcore.errors import SnapshotError
from hookcore.snapshot import (
    FORMAT,
    FileSum,
    Header,
    NotEncodable,
    ObjectRecord,
    Snapshot,
    Unresolved,
    home,
    manifest,
    read,
    stage,
    verify,
    write,
)
from hookcore.snapshot.draft import Draft, Sink
from hookcore.snapshot.manifests import MANIFEST, PARTS, STATE, TENSORS, manifest_bytes
from hookcore.snapshot.model import encode_outer

ALL = (MANIFEST, *PARTS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def good(make_snapshot, tmp_path):
    """A checkpoint on the disk."""
    return write(make_snapshot(), tmp_path / "good")


def small(**changes):
    return Snapshot(header=Header(kind="epoch"), **changes)


def sums(folder):
    import hashlib

    found = {}
    for name in PARTS:
        content = (folder / name).read_bytes()
        found[name] = FileSum(len(content), hashlib.sha256(content).hexdigest())
    return found


def sign(folder, header=None):
    """A forger's work: a manifest that fits the files."""
    snapshot = Snapshot(header=header or Header(kind="epoch"))
    text = manifest_bytes(snapshot.header, encode_outer(snapshot), sums(folder))
    (folder / MANIFEST).write_bytes(text)


def three_parts_of(caught):
    error = caught.value
    assert error.what
    assert error.why
    assert error.way_out
    return error


# -- there and back ---------------------------------------------------------------------------


def test_round_trip(make_snapshot, same_snapshot, tmp_path):
    snapshot = make_snapshot()
    folder = write(snapshot, tmp_path / "deep" / "epoch-3")
    assert same_snapshot(snapshot, read(folder))
    assert sorted(path.name for path in folder.iterdir()) == sorted(ALL)
    assert names(folder.parent) == ["epoch-3"]


def test_a_state_dict_keeps_its_versions(good):
    state = read(good).objects[0].state
    assert state._metadata["1"] == {"version": 2}


def test_a_manifest_is_read_without_the_rest(good):
    (good / TENSORS).unlink()
    (good / STATE).unlink()
    about = manifest(good)
    assert about.header.kind == "epoch"
    assert about.header.argv == ("train.py", "--lr", "0.1")
    assert about.position["sites"] == [("train.py", 0)]
    assert about.metrics["loss"] == 0.25
    assert about.size == sum(each.size for each in about.files.values())
    assert json.loads((good / MANIFEST).read_text())["reason"] == "each epoch"


def test_a_header_says_where_it_comes_from():
    header = Header(kind="mid-epoch")
    assert header.created.endswith("+00:00")
    assert header.versions["torch"] == str(torch.__version__)
    assert set(header.versions) == {"hookcore", "python", "torch", "numpy"}
    with pytest.raises(ValueError, match="kind"):
        Header(kind="sometimes")


def test_classes_may_be_imported_after_reading(good, classes, monkeypatch, same_snapshot):
    known = read(good)
    monkeypatch.delitem(sys.modules, "sample_classes")
    early = read(good)
    assert isinstance(early.variables["config"], Unresolved)
    with pytest.raises(SnapshotError) as caught:
        early.resolve()
    assert "sample_classes" in three_parts_of(caught).why
    monkeypatch.setitem(sys.modules, "sample_classes", classes)
    assert same_snapshot(known, early.resolve())
    verify(good)


# -- staging ----------------------------------------------------------------------------------


def test_a_staged_snapshot_is_left_alone_by_training(make_snapshot, same_snapshot):
    model = torch.nn.Linear(2, 2)
    history = [1.0]
    snapshot = small(
        objects=[ObjectRecord("model", "module", "Linear", model.state_dict())],
        variables={"history": history, "tied": model.weight.detach()[0]},
    )
    before = copy.deepcopy(model.state_dict())
    staged = stage(snapshot).snapshot()
    with torch.no_grad():
        model.weight.zero_()
    history.append(2.0)
    state = staged.objects[0].state
    assert state["weight"].equal(before["weight"])
    assert staged.variables["history"] == [1.0]
    state["weight"][0, 0] = 5.0
    assert staged.variables["tied"][0] == 5.0


def test_staging_changes_nothing_else(make_snapshot, same_snapshot):
    snapshot = make_snapshot()
    assert same_snapshot(snapshot, stage(snapshot).snapshot())
    assert stage(snapshot).snapshot().resolve() is not None


def test_home_is_the_device_it_was_captured_on(tmp_path):
    tensor = torch.ones(2)
    assert home(tensor) == torch.device("cpu")
    folder = write(small(variables={"x": tensor}), tmp_path / "a")
    document = json.loads((folder / STATE).read_bytes())
    document["dict"]["variables"]["dict"]["x"]["tensor"]["device"] = "cuda:1"
    (folder / STATE).write_text(json.dumps(document))
    sign(folder)
    moved = read(folder)
    assert moved.variables["x"].device.type == "cpu"
    assert home(moved.variables["x"]) == torch.device("cuda:1")
    again = read(write(stage(moved), tmp_path / "b"))
    assert home(again.variables["x"]) == torch.device("cuda:1")


# -- nothing half done ------------------------------------------------------------------------


class Thing:
    """No checkpoint can hold it."""


def test_a_value_outside_the_set_is_named_and_nothing_is_written(tmp_path):
    snapshot = small(
        variables={"history": [1, Thing()]},
        objects=[ObjectRecord("self.opt", "optimizer", "SGD", {"lr": 1})],
    )
    with pytest.raises(NotEncodable) as caught:
        write(snapshot, tmp_path / "x")
    assert three_parts_of(caught).path == "variables.history[1]"
    snapshot = small(objects=[ObjectRecord("self.opt", "optimizer", "SGD", {"lr": Thing()})])
    with pytest.raises(NotEncodable) as caught:
        write(snapshot, tmp_path / "x")
    assert caught.value.path == "objects['self.opt'].state.lr"
    assert names(tmp_path) == []


def test_a_tensor_in_the_position_is_refused(tmp_path):
    with pytest.raises(SnapshotError, match=r"loss\.item"):
        write(small(position={"loss": torch.ones(1)}), tmp_path / "x")
    assert names(tmp_path) == []


def test_two_objects_with_one_name_are_refused(tmp_path):
    record = ObjectRecord("model", "module", "Linear", {})
    with pytest.raises(SnapshotError, match="one name"):
        write(small(objects=[record, record]), tmp_path / "x")


@pytest.mark.parametrize("what", ["checkpoint", "empty folder", "file", "dangling link"])
def test_an_existing_target_is_untouched(good, what, tmp_path):
    target = tmp_path / "target"
    if what == "checkpoint":
        target = good
    elif what == "empty folder":
        target.mkdir()
    elif what == "file":
        target.write_text("mine")
    else:
        target.symlink_to("nowhere")
    before = snapshot_of(tmp_path)
    with pytest.raises(SnapshotError) as caught:
        write(small(), target)
    assert "exists" in three_parts_of(caught).why
    assert snapshot_of(tmp_path) == before


def snapshot_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_a_target_that_appears_meanwhile_is_untouched(tmp_path, monkeypatch):
    publish = Draft.publish

    def late(draft):
        draft.target.mkdir()
        publish(draft)

    monkeypatch.setattr(Draft, "publish", late)
    with pytest.raises(SnapshotError, match="exists"):
        write(small(), tmp_path / "x")
    assert snapshot_of(tmp_path) == {"x": None}


FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")


def failing(error, after=0):
    """A function that fails at a given call."""
    calls = []

    def fail(*_args, **_options):
        calls.append(1)
        if len(calls) > after:
            raise error

    return fail


@pytest.mark.parametrize("error", [FULL, READ_ONLY, KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("place", ["mkdir", "write", "fsync", "verify", "rename"])
def test_an_error_leaves_nothing_behind(error, place, good, tmp_path, monkeypatch):
    before = snapshot_of(tmp_path)
    target = {
        "mkdir": (Path, "mkdir"),
        "write": (Sink, "sum"),
        "fsync": (os, "fsync"),
        "verify": (sys.modules["hookcore.snapshot.store"], "verify"),
        "rename": (Path, "rename"),
    }[place]
    monkeypatch.setattr(*target, failing(error))
    expected = SnapshotError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write(small(variables={"x": torch.ones(100)}), tmp_path / "x")
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert error.strerror in three_parts_of(caught).why
    assert snapshot_of(tmp_path) == before


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("after", [0, 1, 3, 5, 10, 20])
def test_an_error_in_the_middle_of_a_file(error, after, tmp_path, monkeypatch):
    calls = []

    class Failing:
        def __init__(self, file):
            self._file = file

        def write(self, data):
            calls.append(1)
            if len(calls) > after:
                raise error
            return self._file.write(data)

    start = Sink.__init__
    monkeypatch.setattr(Sink, "__init__", lambda sink, file: start(sink, Failing(file)))
    expected = SnapshotError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write(small(variables={"x": torch.ones(100_000)}), tmp_path / "x")
    assert names(tmp_path) == []


@pytest.mark.slow
def test_a_real_limit_on_the_size_of_a_file(tmp_path):
    program = f"""
        import resource, signal, torch
        from hookcore.errors import SnapshotError
        from hookcore.snapshot import Header, Snapshot, write
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        snapshot = Snapshot(header=Header(kind="epoch"), variables={{"x": torch.ones(100_000)}})
        try:
            write(snapshot, {str(tmp_path / "x")!r})
        except SnapshotError as error:
            print("refused:", error.why)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("refused:"), done.stderr
    assert "too large" in done.stdout
    assert names(tmp_path) == []


def test_a_disk_that_gives_back_something_else(good, tmp_path, monkeypatch):
    before = snapshot_of(tmp_path)
    publish = Draft.write

    def worn(draft, name, fill):
        found = publish(draft, name, fill)
        if name == TENSORS:
            path = draft.folder / name
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        return found

    monkeypatch.setattr(Draft, "write", worn)
    with pytest.raises(SnapshotError, match=r"was not written") as caught:
        write(small(variables={"x": torch.ones(2)}), tmp_path / "x")
    assert "read back: tensors.pt is altered" in three_parts_of(caught).why
    assert snapshot_of(tmp_path) == before


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SnapshotError):
        write(small(), tmp_path / "file" / "x")
    assert snapshot_of(tmp_path) == {"file": b"mine"}


# -- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [read, verify])
def test_every_flipped_byte_is_found(good, check):
    places = random.Random(7)
    for turn in range(40):
        path = good / ALL[turn % 3]
        content = path.read_bytes()
        at, bit = places.randrange(len(content)), places.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        with pytest.raises(SnapshotError) as caught:
            check(good)
        assert path.name in three_parts_of(caught).why, (path.name, at, bit)
        path.write_bytes(content)
    check(good)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "longer"])
def test_a_file_that_is_not_whole(good, name, damage):
    path = good / name
    content = path.read_bytes()
    changed = {"empty": b"", "half": content[: len(content) // 2], "longer": content + b" "}
    path.unlink() if damage == "missing" else path.write_bytes(changed[damage])
    with pytest.raises(SnapshotError) as caught:
        read(good)
    assert name in three_parts_of(caught).why


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SnapshotError, match="no such folder"):
        read(tmp_path / "nothing")


def test_a_newer_format_is_said(good):
    sign(good, attrs.evolve(Header(kind="epoch"), format=FORMAT + 1))
    with pytest.raises(SnapshotError) as caught:
        read(good)
    assert f"its format is {FORMAT + 1}" in caught.value.why
    assert "upgrade" in caught.value.way_out


# -- malice -----------------------------------------------------------------------------------

RAN = []


class Payload:
    """What an attacker puts into a pickle."""

    def __reduce__(self):
        return RAN.append, ("ran",)


def bad_zip(path):
    torch.save({"0": Payload()}, path)


def bad_pickle(path):
    path.write_bytes(pickle.dumps(Payload()))


def bad_legacy(path):
    torch.save({"0": Payload()}, path, _use_new_zipfile_serialization=False)


def second_pickle(path):
    torch.save({"0": torch.zeros(1, dtype=torch.uint8)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", pickle.dumps(Payload()))


@pytest.mark.parametrize("make", [bad_zip, bad_pickle, bad_legacy, second_pickle])
@pytest.mark.parametrize("trusting", [False, True])
def test_a_pickle_does_not_run(good, make, trusting, monkeypatch):
    RAN.clear()
    make(good / TENSORS)
    sign(good)
    if trusting:
        load = functools.partial(torch.load)

        def trust_everything(*args, **options):
            return load(*args, **{**options, "weights_only": False})

        monkeypatch.setattr(torch, "load", trust_everything)
    for check in (read, verify):
        with pytest.raises(SnapshotError) as caught:
            check(good)
        assert "needs pickle" in three_parts_of(caught).why
    assert RAN == []


@pytest.mark.parametrize(
    "content",
    [
        [1],
        {"0": torch.ones(2)},
        {"0": torch.zeros(2, 2, dtype=torch.uint8)},
        {0: torch.zeros(2, dtype=torch.uint8)},
        {"0": "text"},
    ],
    ids=str,
)
def test_anything_but_rows_of_bytes_is_refused(good, content):
    torch.save(content, good / TENSORS)
    sign(good)
    with pytest.raises(SnapshotError):
        read(good)


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", "null", "[" * 5000 + "]" * 5000])
def test_a_forged_state_is_refused(good, text):
    (good / STATE).write_text(text)
    sign(good)
    with pytest.raises(SnapshotError) as caught:
        read(good)
    three_parts_of(caught)


def test_a_forged_manifest_names_no_other_file(good, tmp_path):
    (tmp_path / "secret").write_text("x")
    text = (good / MANIFEST).read_bytes().replace(b'"state.json"', b'"../secret"')
    import hashlib

    zeros = b"0" * 64
    digest = text.split(b'"')[3]
    text = text.replace(digest, zeros, 1)
    text = text.replace(zeros, hashlib.sha256(text).hexdigest().encode(), 1)
    (good / MANIFEST).write_bytes(text)
    with pytest.raises(SnapshotError, match=r"state\.json"):
        manifest(good)
