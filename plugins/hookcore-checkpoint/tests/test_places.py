"""Folders and names: the file system alone, no torch."""

from __future__ import annotations

import sys

import pytest

from hookcore_checkpoint import places


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def test_a_run_that_continues_nothing_gets_a_place_of_its_own(tmp_path):
    base = tmp_path / "checkpoints" / "train"
    assert places.fresh(base) == base
    place, hold = places.claim(base)
    assert place == base
    hold.let_go()
    assert places.claim(base)[0] == base  # nothing lies there yet
    checkpoint(base / "epoch-0001-step-000010")
    assert places.fresh(base) == base / "run-2"
    assert [places.claim(base)[0] for _ in range(2)] == [base / "run-2", base / "run-3"]
    (base / "run-10").mkdir()
    (base / "run-x").mkdir()
    (base / "run-11").write_text("a file")
    assert places.runs(base) == [base, *(base / f"run-{n}" for n in (2, 3, 10))]


def test_a_files_name_in_the_way_is_passed_by(tmp_path):
    checkpoint(tmp_path / "epoch-0001-step-000010")
    (tmp_path / "run-2").write_text("a file")
    with pytest.raises(FileExistsError):
        places.claim(tmp_path)


@pytest.mark.parametrize(
    ("position", "kind", "has_epochs", "name"),
    [
        ({"epoch": 3, "step": 1200}, "epoch", True, "epoch-0003-step-001200"),
        ({"epoch": 0, "step": 7, "fit": 0}, "epoch", False, "step-000007"),
        ({"epoch": 2, "step": 9, "fit": 4}, "epoch", True, "fit-4-epoch-0002-step-000009"),
        ({"epoch": 2, "step": 9}, "mid-epoch", True, "epoch-0002-step-000009"),
        ({"epoch": 2, "step": 9}, "partial", True, "epoch-0002-step-000009-partial"),
        ({"epoch": 1, "step": 12345678}, "emergency", False, "step-12345678-emergency"),
    ],
)  # fmt: skip
def test_names(position, kind, has_epochs, name):
    assert places.name_of(position, kind, has_epochs=has_epochs) == name


def test_a_name_that_is_taken(tmp_path):
    wanted = tmp_path / "epoch-0001"
    assert places.unused(wanted) == wanted
    wanted.mkdir()
    (tmp_path / "epoch-0001-2").symlink_to("nowhere")
    assert places.unused(wanted).name == "epoch-0001-3"


def test_what_stands_in_the_way(tmp_path):
    assert places.obstacle(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []  # it left nothing behind
    (tmp_path / "file").write_text("")
    assert "is not a directory" in places.obstacle(tmp_path / "file" / "b")
    if sys.platform == "linux":
        assert "cannot be written to" in places.obstacle(places.Path("/proc/b"))


def test_the_modules_load_no_torch():
    """A script may have to set the variables that torch reads when it is first imported."""
    import subprocess

    code = (
        "import sys, hookcore_checkpoint.plugin, hookcore_checkpoint.commands; "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
