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


def test_show_a_directory(saved):
    bad = saved.folder / "checkpoints/helpers/epoch-0001-step-000006/state.json"
    bad.write_text("{")
    shown = saved.command("checkpoint", "show", "checkpoints/helpers")
    rows = json.loads(saved.command("checkpoint", "show", "--json", "checkpoints/helpers").out)

    first, second = shown.out.splitlines()
    assert "epoch-0002-step-000012  epoch" in first
    assert "damaged: state.json has 1 bytes" in second
    assert [row["problem"] is None for row in rows] == [True, False]


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
