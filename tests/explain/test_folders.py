"""The copy that a script is tried in, and what it writes."""

from __future__ import annotations

import pytest

from hookcore.errors import UsageError
from hookcore.scratch import Copy, InPlace

TRAIN = """
import sys
from pathlib import Path

import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
folder.mkdir(exist_ok=True)
print("training into", folder.name)
for epoch in range(5):
    for i in range(10):
        loss = model(torch.randn(8, 4)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / "last.pt")
    with open("log.csv", "a") as log:
        log.write(f"{epoch}\\n")
torch.save(model.state_dict(), "final.pt")
"""

trained = [pytest.mark.torch, pytest.mark.slow]


class TestTrials:
    pytestmark = trained

    def test_writes_in_the_copy(self, desk):
        """What the script writes is listed, and lies nowhere."""
        desk.write("train.py", TRAIN)
        desk.write("log.csv", "before\n")
        said = desk.explain("train.py")
        assert said.code == 0
        assert said.section("files that the script wrote, in the copy") == [
            "log.csv  changed",
            "runs/last.pt  new",
        ]
        assert desk.files == ["log.csv", "train.py"]
        assert (desk.folder / "log.csv").read_text() == "before\n"

    def test_in_place(self, desk):
        """With --in-place it writes in the folder itself, and nothing after the loop runs."""
        desk.write("train.py", TRAIN)
        said = desk.explain("--in-place", "train.py")
        assert said.section("files that the script wrote") == ["log.csv  new", "runs/last.pt  new"]
        assert desk.files == ["log.csv", "runs/last.pt", "train.py"]

    def test_an_argument_that_names_the_folder(self, desk):
        """An absolute path into the folder leads into the copy."""
        desk.write("train.py", TRAIN)
        said = desk.explain("train.py", desk.folder / "out")
        assert "out/last.pt  new" in said.section("files that the script wrote, in the copy")
        assert desk.files == ["train.py"]

    def test_a_script_elsewhere(self, desk):
        """Its folder is copied too, and both stay as they are."""
        script = desk.write("project/train.py", TRAIN)
        work = desk.folder / "work"
        work.mkdir()
        for name in (script, "../project/train.py"):
            said = desk.explain("--json", name, folder=work)
            assert [one["path"] for one in said.data["files"]] == ["log.csv", "runs/last.pt"]
            assert said.loops()["epoch"] == f"{script}:11"
        assert desk.files == ["project/train.py"]

    def test_a_module(self, desk):
        """-m runs a module of the copy; what it imports comes from there too."""
        desk.write("pkg/__init__.py", "")
        desk.write("pkg/train.py", TRAIN.replace('Path("runs")', "Path(__file__).parent"))
        said = desk.explain("--json", "-m", "pkg.train")
        assert said.code == 0
        assert said.loops()["epoch"] == "pkg/train.py:11"

    def test_what_it_printed(self, desk):
        """It is kept, and shown on request."""
        desk.write("train.py", TRAIN)
        quiet, verbose = desk.explain("train.py"), desk.explain("-v", "train.py")
        assert "training into runs" not in quiet.out + quiet.err
        assert verbose.section("what the script printed") == ["training into runs"]

    def test_too_large(self, desk):
        """Over the limit nothing runs: exit code 2 and the two ways out."""
        desk.write("train.py", TRAIN)
        (desk.folder / "data.bin").write_bytes(bytes(2_000_000))
        said = desk.explain("--max-copy", "1", "train.py")
        assert said.code == 2
        assert said.err == (
            f"hookcore: {desk.folder} is too large to be copied for a trial\n"
            "    it holds more than 1 MB, and the script may write anywhere in it\n"
            "  let the script run and write in the folder itself:  --in-place\n"
            "  or allow a larger copy:  --max-copy MEGABYTES\n"
        )


def test_what_is_copied(tmp_path):
    """Version control, environments and caches are left out; checkpoints' folders are emptied."""
    for name in (".git/head", "env/pyvenv.cfg", "a/__pycache__/b.pyc", "a/b.py", "checkpoints/1"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with Copy([tmp_path], 1) as place:
        copy = place.inside(tmp_path)
        assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
            "a",
            "a/b.py",
            "checkpoints",
        ]
        left_out = [str(path.relative_to(tmp_path.resolve())) for path in place.left_out]
    assert sorted(left_out) == [".git", "a/__pycache__", "checkpoints", "env"]
    assert not copy.exists()


def test_a_copy_at_a_wanted_place(tmp_path):
    """Trials that are compared find themselves under the same paths, one after the other."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "file").write_text("x")
    for _ in range(2):
        with Copy([tmp_path / "work"], 1, tmp_path / "copy") as place:
            copy = place.inside(tmp_path / "work")
            assert copy.is_relative_to(tmp_path.resolve() / "copy")
            (copy / "file").write_text("y")
        assert not (tmp_path / "copy").exists()
    assert (tmp_path / "work" / "file").read_text() == "x"


def test_links(tmp_path):
    """A link that stays inside leads into the copy; one that leads out leads to the real thing."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").write_text("real")
    work = tmp_path / "work"
    work.mkdir()
    (work / "file").write_text("file")
    (work / "near").symlink_to("file")
    (work / "far").symlink_to("../out/data")
    with Copy([work], 1) as place:
        copy = place.inside(work)
        assert (copy / "near").resolve() == copy / "file"
        assert (copy / "far").resolve() == (tmp_path / "out" / "data").resolve()


def test_one_folder_inside_another(tmp_path):
    """Is copied once."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with Copy([inner, tmp_path], 1) as place:
        assert list(place.places) == [tmp_path.resolve()]
        assert place.inside(inner) == place.inside(tmp_path) / "a" / "b"


def test_changes(tmp_path):
    """New, changed and gone files are told apart; a folder that only holds them is not named."""
    for name in ("same", "changed", "gone"):
        (tmp_path / name).write_text(name)
    with InPlace([tmp_path]) as place:
        (tmp_path / "changed").write_text("longer than before")
        (tmp_path / "gone").unlink()
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "er" / "new").write_text("new")
        (tmp_path / "empty").mkdir()
        found = {one.path.name: one.change for one in place.written()}
    assert found == {"changed": "changed", "gone": "gone", "new": "new", "empty": "new"}


def test_paths_in_texts(tmp_path):
    """Paths of the copy become the user's, at the front of longer ones alone."""
    folder = tmp_path.resolve()
    with Copy([folder], 1) as place:
        copy = place.inside(folder)
        assert place.shown(f'File "{copy}/train.py"') == f'File "{folder}/train.py"'
        assert place.shown(f"{copy}2/x") == f"{copy}2/x"
        assert place.typed(f"--out={folder}/runs") == f"--out={copy}/runs"


def test_the_walk_ends_early(tmp_path):
    """A folder with too many files is refused without being walked to its end."""
    for i in range(3):
        (tmp_path / str(i)).write_bytes(bytes(600_000))
    with pytest.raises(UsageError, match="more than 1 MB"), Copy([tmp_path], 1):
        pass
