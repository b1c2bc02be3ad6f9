"""A URL as directory: copies go there, and come back from there."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

pytest.importorskip("fsspec")
pytestmark = pytest.mark.torch


def at(desk, **options):
    options = {"directory": f"file://{desk.folder}/bucket", **options}
    return [part for k, v in options.items() for part in ("-o", f"checkpoint.{k}={v}")]


def copies(desk, *below):
    place = desk.folder.joinpath("bucket", *below)
    return sorted(path.parent.name for path in place.glob("*/manifest.json"))


def said(ended, pattern):
    return re.search(pattern, ended.err) is not None


def test_a_copy_of_each_goes_there_and_what_is_too_much_goes_away(desk):
    from hookcore.snapshot import verify

    name = desk.put("helpers.py")
    ended = desk.run(*at(desk, keep_last=2), name)

    assert said(ended, "in checkpoints/helpers, keeps the last 2, and copies at file://")
    assert copies(desk) == desk.checkpoints("helpers")
    assert copies(desk) == ["epoch-0003-step-000018", "epoch-0004-step-000024"]
    for copy in (desk.folder / "bucket").iterdir():
        verify(copy)


def test_another_machine_continues_from_there(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    killed = desk.run("-o", "striker.hit=batch/15/SIGKILL", *at(desk, background="no"), name)
    assert killed.status == -9
    shutil.rmtree(desk.folder / "checkpoints")
    resumed = desk.run("--resume-mode", "must", *at(desk), name)

    assert said(resumed, "continues from checkpoints/helpers/epoch-0002-step-000012")
    assert resumed.result == bare.result
    assert copies(desk)[-1] == "epoch-0004-step-000024"


def test_what_is_damaged_there_is_passed_over(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    desk.run(*at(desk), name, "--epochs", 3)
    shutil.rmtree(desk.folder / "checkpoints")
    (desk.folder / "bucket/epoch-0003-step-000018/state.json").write_text("{")
    resumed = desk.run("--resume", *at(desk), name)

    assert said(resumed, "(?s)bucket/epoch-0003-step-000018 is damaged and passed over.*state.json")
    assert said(resumed, "continues from checkpoints/helpers/epoch-0002")
    assert resumed.result == bare.result


def test_a_run_of_another_machine_is_not_written_over(desk):
    name = desk.put("helpers.py")
    desk.run(*at(desk), name, "--epochs", 1)
    shutil.rmtree(desk.folder / "checkpoints")
    desk.run(*at(desk), name, "--epochs", 2)

    assert copies(desk) == ["epoch-0001-step-000006"]
    assert copies(desk, "run-2") == ["epoch-0001-step-000006", "epoch-0002-step-000012"]
    assert desk.checkpoints("helpers", "run-2")


def test_a_place_whose_name_looks_like_a_pattern(desk):
    name, there = desk.put("helpers.py"), at(desk, directory=f"file://{desk.folder}/a[1] ü?*")
    desk.run(*there, name, "--epochs", 1)
    shutil.rmtree(desk.folder / "checkpoints")
    resumed = desk.run("--resume-mode", "must", *there, name, "--epochs", 2)
    shutil.rmtree(desk.folder / "checkpoints")
    another = desk.run(*there, name, "--epochs", 1)

    assert said(resumed, "continues from checkpoints/helpers/epoch-0001")
    assert said(another, "saves each epoch .*in checkpoints/helpers")
    assert desk.checkpoints("helpers", "run-2")
    assert len(list((desk.folder / "a[1] ü?*").glob("*/manifest.json"))) == 2


def test_a_copy_that_fails_is_said_and_the_checkpoint_is_kept(desk, monkeypatch):
    from hookcore_checkpoint.mirror import Mirror

    name = desk.put("helpers.py")
    bare = desk.bare(name)
    start = Mirror.__init__

    def broken(mirror, url):
        start(mirror, url)

        def refuse(*_):
            raise ConnectionError("the line is dead")

        mirror._system.put_file = refuse

    monkeypatch.setattr(Mirror, "__init__", broken)
    ended = desk.run(*at(desk), name, "--epochs", 2)

    assert ended.status == 1
    assert said(ended, "(?s)was not copied to file://.*ConnectionError: the line is dead.*is whole")
    assert len(desk.checkpoints("helpers")) == 2
    assert copies(desk) == []
    assert desk.run("--resume", name).result == bare.result


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://bucket", "Protocol not known: nonsense"),
        ("dask://bucket", "install what it names"),
    ],
)
def test_a_url_that_cannot_be_used(desk, url, words):
    name = desk.put("helpers.py")
    ended = desk.run(*at(desk, directory=url), name)

    assert (ended.status, ended.out) == (2, "")
    assert f"checkpoint.directory = {url}: nothing can be saved there" in ended.err
    assert words in ended.err
    assert "name a folder:  -o checkpoint.directory=..." in ended.err


def test_without_fsspec(desk, monkeypatch):
    name = desk.put("helpers.py")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    ended = desk.run(*at(desk), name)

    assert (ended.status, ended.out) == (2, "")
    assert "pip install 'hookcore-checkpoint[remote]'" in ended.err


def test_memory(desk):
    """A URL whose files no other process sees: the run that wrote them does."""
    name = desk.put(
        "called.py",
        """
        import shutil, sys, torch, hookcore, fsspec
        from torch import nn

        def train(epochs):
            torch.manual_seed(0)
            model = nn.Linear(2, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            losses = []
            for epoch in range(epochs):
                for part in torch.randn(12, 2).split(4):
                    loss = (model(part) ** 2).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
            return losses

        whole = train(4)
        options = {"checkpoint": {"directory": "memory://runs"}}
        first = hookcore.instrument(train, only=["checkpoint"], options=options)
        first(2)
        first.restore()
        shutil.rmtree("checkpoints")
        again = hookcore.instrument(train, only=["checkpoint"], options=options, resume="must")
        print("RESULT", "true" if again(4) == whole else "false")
        print(len(fsspec.filesystem("memory").glob("/runs/*/manifest.json")))
        """,
    )
    ended = desk.bare(name)
    assert ended.result is True, ended.err
    assert ended.out.endswith("\n3\n")  # the one that was too much is gone there too
