"""Objects of the user's own classes that a loop makes: they are made again, and no code runs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
import attr, collections

class Meter:
    made = 0
    def __init__(self):
        Meter.made += 1
        self.total, self.count = 0.0, 0
    def add(self, value):
        self.total += value
        self.count += 1
        return self.total / self.count

@attr.s(auto_attribs=True, slots=True, frozen=True)
class Best:
    loss: float = 9.0
    epoch: int = 0

class Node:
    def __init__(self, owner, parent):
        self.owner, self.parent, self.values = owner, parent, []

def train():
    model, optimizer = make()
    loader = DataLoader(Noisy(16), 4, shuffle=True)
    losses = []
    {setup}
    for epoch in range(3):
        {before}
        for x in loader:
            loss = update(model, optimizer, x)
            {inside}
        {after}
    return losses, total(model), Meter.made
"""
MADE = {
    "anew in each epoch": {
        "before": "meter = Meter()",
        "inside": "losses.append(meter.add(loss))",
        "after": "losses.append(meter.total)",
    },
    "once, when it is needed": {
        "setup": "meter = None",
        "before": "meter = meter or Meter()",
        "inside": "losses.append(meter.add(loss))",
    },
    "whenever it is better": {
        "setup": "best = None",
        "inside": "best = Best(loss, epoch) if best is None or loss < best.loss else best; "
        "losses.append(best.loss + best.epoch)",
    },
    "one after another": {
        "setup": "kept = []",
        "inside": "kept.append(Best(loss, epoch)); losses.append(kept[len(kept) // 2].loss)",
        "after": "kept = kept[2:]",
    },
    "fewer than there were": {
        "setup": "kept = [Meter() for _ in range(14)]",
        "inside": "last = kept.pop(); kept[-1].total = loss; losses.append(last.total + loss)",
    },
    "a few that are kept": {
        "setup": "kept = collections.deque([Best()], maxlen=3)",
        "inside": "kept.append(Best(loss, epoch)); losses.append(sum(b.loss for b in kept))",
    },
    "by name": {
        "setup": "meters = collections.defaultdict(Meter)",
        "inside": "losses.append(meters['a' if len(losses) % 3 else 'b[0].c'].add(loss))",
    },
    "by name, anew": {
        "before": "meters = collections.defaultdict(Meter)",
        "inside": "losses.append(meters['loss'].add(loss))",
    },
    "under two names": {
        "setup": "first, kept, last = None, {}, None",
        "inside": "best = kept[epoch, len(losses)] = Meter(); best.add(loss); "
        "first = first or best; first.total += loss; last = best; "
        "losses.append(sum(m.total for m in kept.values()) + first.total + last.count)",
    },
    "under two names of an object": {
        "setup": "node = Node(model, None); node.kept = [node.owner]",
        "inside": "node.parent = node.parent or Meter(); node.parent.add(loss); "
        "node.values.append(node.parent); losses.append(node.values[0].total)",
    },
    "with what is there already": {
        "setup": "node = Node(model, None)",
        "inside": "node.values.append(loss); losses.append(node.owner[0].weight.sum().item())",
        "after": "node = Node(model, node); losses.append(float(len(node.parent.values)))",
    },
    "a loader": {
        "setup": "pass",
        "before": "loader = DataLoader(Noisy(12 + 4 * epoch), 4, shuffle=True)",
        "inside": "losses.append(loss)",
    },
}


@pytest.mark.parametrize("at", ["all", "epochs"])
@pytest.mark.parametrize("how", MADE)
def test_what_the_loop_makes_is_there_again(check, how, at):
    parts = {"setup": "pass", "before": "pass", "after": "pass", **MADE[how]}
    check(LOOP.format(**parts), at=at)


CHOSEN = """
def squares(y):
    return (y ** 2).mean()

def sizes(y):
    return y.abs().mean()

class Loss:
    def __init__(self):
        self.of, self.smooth = squares, nn.SmoothL1Loss(beta=1.0)

def train():
    model, optimizer = make()
    loader = DataLoader(Noisy(16), 4, shuffle=True)
    losses, loss_of, loss = [], squares, Loss()
    for epoch in range(3):
        {before}
        for x in loader:
            optimizer.zero_grad()
            y = model(x)
            value = {loss}
            value.backward()
            optimizer.step()
            losses.append(value.item())
    return losses, total(model)
"""
CHOICES = {
    "a function": ("if epoch == 1: loss_of = sizes", "loss_of(y)"),
    "one of torch": ("if epoch == 1: loss_of = torch.std", "loss_of(y)"),
    "an attribute": ("loss.of = (squares, sizes, torch.var)[epoch]", "loss.of(y)"),
    "what a module of torch is told": (
        "loss.smooth.beta *= 0.1; model[1].p += 0.2",
        "loss.smooth(y, torch.zeros_like(y))",
    ),
}


@pytest.mark.parametrize("at", ["all", "epochs"])
@pytest.mark.parametrize("what", CHOICES)
def test_what_the_loop_chooses_stays_chosen(check, what, at):
    before, loss = CHOICES[what]
    check(CHOSEN.format(before=before, loss=loss), at=at)


@pytest.mark.parametrize("at", ["all", "epochs"])
def test_a_scheduler_of_each_epoch_is_made_again_by_the_loop(check, at):
    """That of the epoch before is gone as it is in bare Python: nobody asks where it stands."""
    schedule = "schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)"
    check(LOOP.format(setup="pass", before=schedule, inside="schedule.step()", after="pass"), at=at)


def test_a_name_that_is_read_first_is_carried_along():
    from hookcore.plain.resume.carried import carried, read_after

    source = """
for epoch in epochs:
    fresh = make(epoch)
    if epoch:
        sometimes = fresh
    for x in fresh:
        if x: break
        late = x
    else:
        never = x
    try:
        tried = 1
    except ValueError as error:
        tried = error
    with fresh as opened:
        count += 1
    use(sometimes, late, tried, opened, x)
print(fresh)
"""
    names = {"make", "epochs", "fresh", "sometimes", "late", "tried", "opened", "x", "count"}
    assert carried(source, 0) & names == {"make", "sometimes", "late", "count"}
    assert read_after(source, 0) & names == {"fresh"}
