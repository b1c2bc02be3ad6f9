"""``hookcore checkpoint``."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def saved(desk):
    name = desk.put("helpers.py")
    desk.run("-o", "checkpoint.keep_best=1", name, "--epochs", 2)
    return desk


def test_show_a_checkpoint(saved):
    shown = saved.command("checkpoint", "show", "checkpoints/helpers/epoch-0002-step-000012")

    assert shown.status == 0
    for part in (
        "epoch checkpoint (each epoch)",
        "run helpers --epochs 2",
        "step = 12",
        "model  module, Sequential: 147 trained parameters, 172 numbers in all",
        "optimizer  optimizer, AdamW: 300 numbers in 18 tensors",
        "losses = list [",
        "random streams",
        "checkpoint = ",
    ):
        assert part in shown.out
    assert all(len(line) < 120 for line in shown.out.splitlines())


def test_show_a_checkpoint_to_programs(saved):
    shown = saved.command(
        "checkpoint", "show", "--json", "checkpoints/helpers/epoch-0002-step-000012"
    )
    known = json.loads(shown.out)

    assert known["kind"] == "epoch"
    assert known["position"]["epochs_done"] == 2
    assert {one["name"] for one in known["objects"]} == {"model", "optimizer", "scheduler"}
    assert known["versions"].keys() >= {"hookcore", "python", "torch"}
    assert list(known["files"]) == ["helpers.py"]
    assert known["monitor"]["name"] in known["metrics"]


def test_show_takes_the_newest_of_a_directory(saved):
    newest = "checkpoints/helpers/epoch-0002-step-000012"
    whole = saved.command("checkpoint", "show", newest)

    assert saved.command("checkpoint", "show", "checkpoints/helpers").out == whole.out
    latest = saved.command("checkpoint", "show", "checkpoints/helpers/latest")
    assert latest.out.splitlines()[1:] == whole.out.splitlines()[1:]


def test_list_a_directory(saved):
    bad = saved.folder / "checkpoints/helpers/epoch-0001-step-000006/state.json"
    bad.write_text("{")
    shown = saved.command("checkpoint", "list", "checkpoints/helpers")
    rows = json.loads(saved.command("checkpoint", "list", "--json", "checkpoints/helpers").out)

    first, second = shown.out.splitlines()
    assert "epoch-0002-step-000012  epoch" in first
    assert "damaged: state.json has 1 bytes" in second
    assert [row["problem"] is None for row in rows] == [True, False]


def test_verify_finds_one_altered_byte(saved):
    whole = saved.command("checkpoint", "verify", "checkpoints/helpers")
    assert whole.status == 0
    assert whole.out.count("  whole, ") == 2

    tensors = saved.folder / "checkpoints/helpers/epoch-0001-step-000006/tensors.pt"
    content = bytearray(tensors.read_bytes())
    content[100] ^= 1
    tensors.write_bytes(content)
    damaged = saved.command("checkpoint", "verify", "checkpoints/helpers")
    one = saved.command("checkpoint", "verify", "--json", str(tensors.parent))

    assert damaged.status == one.status == 1
    assert "epoch-0002-step-000012  whole" in damaged.out
    assert "epoch-0001-step-000006  damaged: tensors.pt is altered" in damaged.out
    assert "altered" in json.loads(one.out)[0]["problem"]


def test_prune_takes_away_what_is_too_many(desk):
    name = desk.put("helpers.py")
    options = "-o", "checkpoint.keep_last=0", "-o", "checkpoint.keep_best=1"
    desk.run(*options, "-o", "checkpoint.monitor=main.val_loss", name, "--epochs", 6)
    values = desk.bare(name, "--epochs", 6).result["history"]["val"]
    best = min(range(6), key=values.__getitem__) + 1
    place = desk.folder / "checkpoints/helpers"
    (place / "epoch-0001-step-000006/notes.txt").write_text("mine")
    prune = "checkpoint", "prune", "checkpoints/helpers", "--keep-last", 1, "--keep-best", 1

    planned = desk.command(*prune, "--dry-run")
    assert len(desk.checkpoints("helpers")) == 6
    assert planned.out.count("would remove checkpoints") == 6 - len({6, best})
    refused = desk.command(*prune)
    assert refused.status == 1
    assert "holds notes.txt, which hookcore did not write" in refused.err
    (place / "epoch-0001-step-000006/notes.txt").unlink()
    done = desk.command(*prune)

    assert done.status == 0
    assert [int(name[6:10]) for name in desk.checkpoints("helpers")] == sorted({6, best})
    assert f"{len({6, best})} stay" in done.out


def test_prune_does_not_guess_which_are_the_best(desk):
    """The run kept none, and so noted of none how good it was."""
    desk.run(desk.put("helpers.py"), "--epochs", 2)
    prune = "checkpoint", "prune", "checkpoints/helpers", "--keep-last", 1
    ended = desk.command(*prune, "--keep-best", 1)

    assert ended.status == 1
    assert "the run was not asked to keep any" in ended.err
    assert len(desk.checkpoints("helpers")) == 2
    assert desk.command(*prune, "--dry-run").status == 0


def test_prune_leaves_a_run_alone_that_saves_there(saved):
    from hookcore.snapshot import Hold

    hold = Hold(saved.folder / "checkpoints/helpers")
    ended = saved.command("checkpoint", "prune", "checkpoints/helpers", "--keep-last", 1)
    hold.let_go()

    assert ended.status == 1
    assert "a run saves there" in ended.err
    assert len(saved.checkpoints("helpers")) == 2


@pytest.mark.parametrize("target", ["weights.safetensors", "weights.pt"])
def test_export(saved, target):
    import torch

    done = saved.command("checkpoint", "export", "checkpoints/helpers", target)
    assert done.status == 0
    assert "model of checkpoints/helpers/epoch-0002-step-000012" in done.out
    if target.endswith(".pt"):
        weights = torch.load(saved.folder / target, weights_only=True)
    else:
        from safetensors.torch import load_file

        weights = load_file(saved.folder / target)
    assert weights["0.weight"].shape == (12, 6)
    assert sum(value.numel() for value in weights.values()) == 172


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["show", "nowhere"], 2, "there is no nowhere"),
        (["show", "helpers.py"], 2, "helpers.py is a file"),
        (["show", "checkpoints"], 2, "there are some in:  helpers"),
        (["show", ".site"], 2, "no checkpoint lies in .site"),
        (["show", "half"], 1, "manifest.json is missing"),
        (["list", "nowhere"], 2, "there is no nowhere"),
        (["list", "checkpoints"], 2, "there are some in:  helpers"),
        (["verify", "nowhere"], 2, "there is no nowhere"),
        (["prune", "helpers.py"], 2, "helpers.py is a file"),
        (["prune", "checkpoints/helpers", "--keep-last", "0"], 2, "--keep-last"),
        (["export", "half", "w.pt"], 1, "manifest.json is missing"),
        (["export", "checkpoints/helpers", "w.onnx"], 2, "w.onnx"),
        (["export", "checkpoints/helpers", "helpers.py"], 2, "helpers.py"),
        (["show"], 2, "Missing argument"),
    ],
)
def test_what_bad_input_gets(saved, command, status, words):
    (saved.folder / "half").mkdir()
    (saved.folder / "half/state.json").write_text("{}")
    ended = saved.command("checkpoint", *command)

    assert ended.status == status
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_weights_that_were_altered(saved):
    tensors = saved.folder / "checkpoints/helpers/epoch-0002-step-000012/tensors.pt"
    content = bytearray(tensors.read_bytes())
    content[-40] ^= 1
    tensors.write_bytes(content)
    ended = saved.command("checkpoint", "export", str(tensors.parent), "w.pt")

    assert ended.status == 1
    assert "SHA-256" in ended.err
    assert not (saved.folder / "w.pt").exists()


@pytest.mark.parametrize("command", ["list", "show", "verify", "prune", "export"])
def test_a_url_is_no_folder(desk, command):
    """It is refused, and not taken for a folder that is not there."""
    rest = ["weights.pt"] if command == "export" else []
    ended = desk.command("checkpoint", command, "memory://runs/helpers", *rest)
    assert (ended.status, ended.out) == (2, "")
    what, why, way_out = ended.err.splitlines()
    assert what == "hookcore: memory://runs/helpers is a URL"
    assert why == "    this command reads and writes folders of this machine"
    assert way_out.startswith("  copy the checkpoint's folder here")
