"""What an object's state holds and no checkpoint can: it is left, and all else is saved."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hookcore.plain.resume.outside import within, without  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

class Tag:
    def __init__(self):
        self.count = 0

class Warmup(LRScheduler):
    '''As many are written: the scheduler that follows is an attribute, and so is a function.'''
    def __init__(self, optimizer, after):
        self.after, self.rule = after, lambda epoch: (epoch + 1) / 3
        super().__init__(optimizer)
    def get_lr(self):
        return [self.rule(self.last_epoch) * base for base in self.base_lrs]
    def step(self):
        if self.last_epoch < 2:
            super().step()
        else:
            self.after.step()

class Average:
    def __init__(self, model):
        self.model, self.seen = copy.deepcopy(model), 0
    def step(self):
        self.seen += 1
        self.model[0].bias.data += 0.1 * self.seen
    def state_dict(self):
        return dict(model=self.model, seen=self.seen)
    def load_state_dict(self, state):
        self.model, self.seen = state["model"], state["seen"]

def train():
    model, optimizer = make()
    {setup}
    losses = []
    for epoch in range(4):
        for x in torch.rand(12, 3).split(4):
            losses.append(update(model, optimizer, x))
            {inside}
        {after}
    return losses, total(model)
"""
STATES = {
    "a scheduler in a scheduler": {
        "setup": "schedule = Warmup(optimizer, CosineAnnealingLR(optimizer, 4))",
        "after": "schedule.step(); losses.append(optimizer.param_groups[0]['lr'])",
    },
    "a model in an average": {
        "setup": "average = Average(model)",
        "inside": "average.step(); losses.append(average.model[0].bias.sum().item())",
    },
    "the user's object in a group": {
        "setup": "optimizer.param_groups[0]['tag'] = Tag()",
        "inside": "tag = optimizer.param_groups[0]['tag']; tag.count += 0.5; "
        "losses.append(tag.count)",
    },
    "a function in a group": {
        "setup": "optimizer.param_groups[0]['decay'] = lambda lr: 0.9 * lr",
        "inside": "group = optimizer.param_groups[0]; group['lr'] = group['decay'](group['lr'])",
    },
    "a tensor without values": {
        "setup": "model.register_buffer('shape', torch.empty(3, device='meta'))",
        "inside": "losses.append(losses[-1] * model.shape.numel())",
    },
}


@pytest.mark.parametrize("kind", STATES)
def test_all_else_is_saved(check, kind):
    parts = {"setup": "pass", "inside": "pass", "after": "pass", **STATES[kind]}
    check(LOOP.format(**parts))


def test_what_is_left_as_the_script_makes_it_is_named(bench, keeper):
    bench.load("""
        def train():
            model, optimizer = make()
            optimizer.param_groups[0]["kind"] = torch.finfo(torch.half)
            for epoch in range(2):
                for x in torch.rand(12, 3).split(4):
                    update(model, optimizer, x)
    """)
    saved = bench.call(keeper("epochs")).keeper.saved.values()

    assert [snapshot.header.kind for snapshot in saved] == ["epoch", "epoch"]
    (note,) = {note for snapshot in saved for note in snapshot.notes}
    place = "optimizer.param_groups[0].kind"
    assert note == f"{place}, a torch.finfo, is left as the script makes it"


def test_a_state_without_and_with_them():
    here, there = object(), object()
    state = {"a": 1, "b": [2, here, {"c": here, 4: torch.ones(1)}], "d": torch.ones(2)}
    rest, outside = without(state)

    assert outside == {("b", 1): here, ("b", 2, "c"): here}
    assert rest["b"][1] is None
    assert rest["d"] is state["d"]
    assert state["b"][1] is here  # the live state is untouched
    live = {"b": [0, there, {"c": there}]}
    again = within(rest, live, outside)
    assert again["b"] == [2, there, {"c": there, 4: rest["b"][2][4]}]
    assert rest["b"][1] is None
    assert within(rest, {}, outside) == rest
    assert without({"a": [1, (2, 3)]}) == ({"a": [1, (2, 3)]}, {})
