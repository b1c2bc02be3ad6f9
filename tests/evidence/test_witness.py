"""The witness: what of torch it stands on, and that it changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from torch.utils.data.dataloader import _BaseDataLoaderIter  # noqa: E402

from hookcore.plain.witness.kill import MidStep  # noqa: E402

pytestmark = pytest.mark.torch


def test_what_torch_must_have():
    """Two methods of the loaders' iterators; they have no public name, and all go through them."""
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(4)), 2)
    base = _BaseDataLoaderIter
    assert {"__next__", "_next_index"} <= set(vars(base))
    assert "__next__" not in vars(type(iter(data)))
    assert "_next_index" not in vars(type(iter(data)))


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_the_middle_of_a_step(kind, foreach):
    """The first change in place has happened, and not every parameter is updated."""

    class Dead(BaseException):
        pass

    def die():
        raise Dead

    parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    for parameter in parameters:
        parameter.grad = torch.ones(3)
    optimizer = kind(parameters, lr=0.1, foreach=foreach)
    state = [p.detach().clone() for p in parameters]
    with pytest.raises(Dead), MidStep(die):
        optimizer.step()
    changed = sum(not torch.equal(a, b) for a, b in zip(state, parameters, strict=True))
    assert changed < 3 or foreach
    inside = [value for values in optimizer.state.values() for value in values.values()]
    assert changed or any(value.abs().sum() > 0 for value in inside if value is not None)


SCRIPT = """
import random, torch
torch.manual_seed(0)
random.seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x in torch.utils.data.DataLoader(torch.randn(6, 3), 2, shuffle=True):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
print(loss.item(), random.random(), torch.rand(1).item(), len(globals()))
print([p.sum().item() for p in model.parameters()])
"""


@pytest.mark.slow
def test_it_changes_nothing(tmp_path):
    """Under its eyes the script prints what it prints alone."""
    (tmp_path / "train.py").write_text(SCRIPT)
    request = {
        "target": "train.py", "argv": [], "is_module": False, "plugins": [], "options": [],
        "resume": False, "places": {}, "folder": str(tmp_path), "ledger": str(tmp_path / "ledger"),
        "stack": str(tmp_path / "stack"), "by_hand": False, "last": None, "kill": None,
        "captured": {}, "ignored": [],
    }  # fmt: skip
    watched = "from hookcore.plain.witness.child import main; import sys; main(sys.argv[1])"
    commands = (["train.py"], ["-c", watched, json.dumps(request)])
    printed = [
        subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env={**os.environ, "HOOKCORE": "0"},
            capture_output=True, text=True, check=True,
        ).stdout
        for command in commands
    ]  # fmt: skip
    assert printed[0] == printed[1]
    lines = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["begin", *["backward", "step"] * 6, "end"]
