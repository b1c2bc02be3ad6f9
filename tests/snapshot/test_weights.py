"""The weights alone, as other programs read them."""

from __future__ import annotations

import builtins
import sys

import pytest
import torch

from hookcore.errors import SnapshotError, UsageError
from hookcore.snapshot import Header, ObjectRecord, Snapshot, export, write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, 2, bias=False)
        self.second = torch.nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("view", self.first.weight.detach().t())


class Extra(torch.nn.Linear):
    """A module with a state that is no tensor."""

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def saved(folder, **models):
    records = [ObjectRecord(name, "module", "x", m.state_dict()) for name, m in models.items()]
    records.append(ObjectRecord("opt", "optimizer", "SGD", {"lr": 0.1}))
    return write(Snapshot(header=Header(kind="epoch"), objects=records), folder / "checkpoint")


def load(path):
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    return pytest.importorskip("safetensors.torch").load_file(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_one_model_has_its_own_keys(tmp_path, suffix):
    pytest.importorskip("safetensors")
    model = Tied()
    path = export(saved(tmp_path, model=model), tmp_path / f"model{suffix}")
    fresh = Tied()
    fresh.load_state_dict(load(path))
    assert fresh.first.weight.equal(model.first.weight)
    assert fresh.view.equal(model.view)
    assert names(tmp_path) == ["checkpoint", path.name]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_several_models_are_told_apart(tmp_path, suffix):
    pytest.importorskip("safetensors")
    models = {"g": torch.nn.Linear(1, 1), "self.d": torch.nn.Linear(1, 1)}
    path = export(saved(tmp_path, **models), tmp_path / f"model{suffix}")
    assert sorted(load(path)) == ["g.bias", "g.weight", "self.d.bias", "self.d.weight"]


def test_a_state_that_is_no_tensor(tmp_path):
    folder = saved(tmp_path, model=Extra(1, 1))
    fresh = Extra(1, 1)
    fresh.load_state_dict(load(export(folder, tmp_path / "model.pt")))
    assert fresh.seen == 3
    pytest.importorskip("safetensors")
    with pytest.raises(SnapshotError, match="_extra_state is a dict") as caught:
        export(folder, tmp_path / "model.safetensors")
    assert ".pt" in caught.value.way_out


def test_without_safetensors(tmp_path, monkeypatch):
    folder = saved(tmp_path, model=torch.nn.Linear(1, 1))
    for name in [name for name in sys.modules if name.split(".")[0] == "safetensors"]:
        monkeypatch.delitem(sys.modules, name)
    importing = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("safetensors"):
            raise ModuleNotFoundError("No module named 'safetensors'")
        return importing(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SnapshotError) as caught:
        export(folder, tmp_path / "model.safetensors")
    assert "No module named" in caught.value.why
    assert "pip install safetensors" in caught.value.way_out
    assert names(tmp_path) == ["checkpoint"]


def test_a_name_of_no_format_and_one_that_exists(tmp_path):
    folder = saved(tmp_path, model=torch.nn.Linear(1, 1))
    with pytest.raises(UsageError, match="no known format"):
        export(folder, tmp_path / "model.h5")
    (tmp_path / "model.pt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export(folder, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_text() == "mine"
    with pytest.raises(UsageError, match="there is no folder"):
        export(folder, tmp_path / "nothing" / "model.pt")


def test_a_sparse_buffer(tmp_path):
    """What is said names the file that was asked for, and a way out that is one."""
    pytest.importorskip("safetensors")
    model = torch.nn.Linear(1, 1)
    model.register_buffer("s", torch.eye(2).to_sparse())
    folder = saved(tmp_path, model=model)
    with pytest.raises(SnapshotError) as caught:
        export(folder, tmp_path / "model.safetensors")
    assert caught.value.what == f"{tmp_path / 'model.safetensors'} was not written"
    assert caught.value.why.startswith("s is a torch.sparse_coo")
    assert caught.value.way_out == "name the file *.pt"
    assert load(export(folder, tmp_path / "model.pt"))["s"].is_sparse


def test_no_model(tmp_path):
    with pytest.raises(SnapshotError, match="no model"):
        export(saved(tmp_path), tmp_path / "model.pt")


def test_an_exported_file_is_as_readable_as_any_other(tmp_path):
    """Both formats leave the file with the permissions that the umask gives."""
    pytest.importorskip("safetensors")
    folder = saved(tmp_path / "checkpoint", model=torch.nn.Linear(2, 2))
    (tmp_path / "plain").touch()
    for name in ("weights.pt", "weights.safetensors"):
        made = export(folder, tmp_path / name)

        assert made.stat().st_mode == (tmp_path / "plain").stat().st_mode
