"""State behind a loop's names: what is reached, what is left, and how it is put back."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import math

import pluggy
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import hookcore  # noqa: E402
from hookcore import snapshot as snapshots  # noqa: E402
from hookcore.plain.resume.reach import Reach  # noqa: E402
from hookcore.plain.resume.refill import Refill  # noqa: E402

pytestmark = pytest.mark.torch


class Shelf:
    """As small as a plugin that persists can be: each epoch into a folder, the run from one."""

    name = "shelf"
    role = "persist"

    def __init__(self, folder, start=None, die_at=None):
        self.folder, self.start, self.die_at = folder, start, die_at
        self.kinds, self.notes, self.loaded, self.resumed = [], [], None, None

    @hookcore.hookimpl
    def on_run_start(self, run):
        if self.start is not None:
            path = self.folder / self.start
            run.restore(snapshots.read(path), path)

    @hookcore.hookimpl
    def on_checkpoint_load(self, path):
        self.loaded = path.name

    @hookcore.hookimpl
    def on_resume(self, fit, position):
        self.resumed = fit.epoch, fit.step, position["epoch"], position["step"]

    @hookcore.hookimpl
    def on_epoch_end(self, run, fit):
        run.capture("epoch")

    @hookcore.hookimpl
    def on_checkpoint_save(self, fit, snapshot):
        self.kinds.append(snapshot.header.kind)
        self.notes = snapshot.notes
        snapshots.write(snapshot, self.folder / f"{fit.index}-{fit.epochs_done}")
        if fit.epochs_done == self.die_at:
            raise SystemExit("dead")


def run(loop, *args, **options):
    shelf = Shelf(**options)
    instrumented = hookcore.instrument(loop, plugins=[shelf], only=[], quiet=True)
    try:
        return instrumented(*args), shelf
    except SystemExit:
        return None, shelf
    finally:
        instrumented.restore()


def check(loop, folder, *args):
    """The loop, dead after two epochs and continued, gives what it gives bare."""
    bare = loop(*args)
    whole, shelf = run(loop, *args, folder=folder / "whole")
    assert whole == bare
    assert set(shelf.kinds) == {"epoch"}, shelf.notes
    run(loop, *args, folder=folder / "dead", die_at=2)
    continued, shelf = run(loop, *args, folder=folder / "dead", start="0-2")
    assert continued == bare
    assert shelf.loaded == "0-2"
    flat = [v for part in bare if isinstance(part, list) for v in part if isinstance(v, float)]
    assert len(set(flat)) > 3 and all(map(math.isfinite, flat))
    return shelf


def batch(model, optimizer, x):
    loss = F.mse_loss(F.dropout(model(x), 0.2), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def own(notes):
    """Without what other test files, instrumented before, hold."""
    return [note for note in notes if ":" not in note]


def parts():
    torch.manual_seed(1)
    model = nn.Linear(3, 1)
    return model, torch.optim.Adam(model.parameters(), lr=0.05), torch.randn(12, 3)


def total(model):
    return sum(p.sum().item() for p in model.parameters())


# -- whole loops ---------------------------------------------------------------------------------


def test_positions_are_told(tmp_path):
    def loop():
        model, optimizer, data = parts()
        losses = []
        for _ in range(4):
            for x in data.split(4):
                loss = batch(model, optimizer, x)
                losses.append(loss)
        return losses, total(model)

    assert check(loop, tmp_path).resumed == (1, 6, 2, 6)


def test_a_tensor_that_is_changed_past_torchs_count(tmp_path):
    def loop():
        model, optimizer, data = parts()
        mean, view, losses = torch.zeros(3), torch.zeros(3), []
        numbers = view.numpy()
        for _ in range(4):
            for x in data.split(4):
                losses.append(batch(model, optimizer, x + mean + view))
                mean.data.mul_(0.9).add_(x.mean(0))
                numbers += 0.01
        return losses, mean.tolist(), view.tolist()

    check(loop, tmp_path)


def test_a_score_that_was_found_in_inference_mode(tmp_path):
    """Torch does not count what happens to such a tensor."""

    @torch.inference_mode()
    def evaluate(model, data):
        return -model(data).square().mean()

    def loop():
        model, optimizer, data = parts()
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=1)
        losses, score = [], None
        for _ in range(4):
            losses += [batch(model, optimizer, x) for x in data.split(4)]
            score = evaluate(model, data)
            plateau.step(score)
        return losses, total(model), [score.item(), plateau.best]

    check(loop, tmp_path)


def test_objects_that_the_loop_makes(tmp_path):
    """A model copied on the way is copied again; the name it was bound to has it."""
    import copy

    def loop():
        model, optimizer, data = parts()
        average, kept, losses = None, [], []
        for epoch in range(4):
            losses += [batch(model, optimizer, x) for x in data.split(4)]
            if epoch % 2:
                average = copy.deepcopy(model)
            kept.append(copy.deepcopy(model))
        return losses, total(average), [total(m) for m in kept], kept[1] is not average

    check(loop, tmp_path)


def test_raw_tensors_and_gradients_that_wait(tmp_path):
    def loop():
        torch.manual_seed(1)
        weights = [torch.randn(3, requires_grad=True), torch.zeros(1, requires_grad=True)]
        optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
        data, losses, n = torch.randn(12, 3), [], 0
        for _ in range(5):
            for x in data.split(4):
                loss = ((x @ weights[0] + weights[1]) ** 2).mean()
                loss.backward()
                losses.append(loss.item())
                n += 1
                if n % 2 == 0:  # an epoch has three batches: one gradient waits at its end
                    optimizer.step()
                    optimizer.zero_grad()
        return losses, weights[0].tolist()

    check(loop, tmp_path)


def test_an_iterator_lowers_the_verdict(tmp_path):
    def loop():
        model, optimizer, data = parts()
        stream = zip(range(10), range(10), strict=True)
        for _ in range(2):
            for x in data.split(4):
                batch(model, optimizer, x * next(stream)[0])

    assert run(loop, folder=tmp_path)[1].kinds == ["partial"] * 2


def test_iterators_that_can_be_turned_on(tmp_path):
    def loop():
        model, optimizer, data = parts()
        ids, items, numbers = itertools.count(5, 2), iter([1, 2] * 9), iter(range(100, 0, -3))
        short = iter((1, 2, 3))
        losses = []
        for _ in range(4):
            for x in data.split(4):
                scale = next(items) + next(numbers) / 100 + next(short, 0) + next(ids)
                losses.append(batch(model, optimizer, x * scale))
        return losses, [next(ids), next(items), next(numbers), next(short, 0)]

    check(loop, tmp_path)


def test_an_iterator_that_the_loop_does_not_know_is_nothing_to_it(tmp_path):
    def loop():
        model, optimizer, data = parts()
        stream = map(abs, range(10))
        next(stream)
        for _ in range(2):
            for x in data.split(4):
                batch(model, optimizer, x)

    shelf = run(loop, folder=tmp_path)[1]
    assert shelf.kinds == ["epoch"] * 2
    assert own(shelf.notes) == []


def test_an_object_without_a_state_is_named(tmp_path):
    def loop():
        model, optimizer, data = parts()
        strange = pluggy.PluginManager("strange")
        for _ in range(2):
            for x in data.split(4):
                batch(model, optimizer, x)
            strange.set_blocked("a")

    shelf = run(loop, folder=tmp_path)[1]
    assert shelf.kinds == ["epoch"] * 2
    (note,) = own(shelf.notes)
    assert note.startswith("strange, a pluggy.")
    assert note.endswith("PluginManager, is left as the script makes it")


def test_a_tensor_that_nobody_can_reach(tmp_path):
    def loop():
        torch.manual_seed(1)

        def make():
            yield torch.zeros(3, requires_grad=True)

        optimizer = torch.optim.SGD(list(make()), lr=0.1)
        for _ in range(2):
            for _ in range(3):
                optimizer.zero_grad()
                sum(p.sum() for g in optimizer.param_groups for p in g["params"]).backward()
                optimizer.step()

    assert run(loop, folder=tmp_path)[1].kinds == ["partial"] * 2


def test_another_snapshot_is_refused(tmp_path):
    def loop(width):
        torch.manual_seed(1)
        model = nn.Linear(3, width)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for x in torch.randn(12, 3).split(4):
                optimizer.zero_grad()
                model(x).sum().backward()
                optimizer.step()

    run(loop, 2, folder=tmp_path, die_at=1)
    with pytest.raises(hookcore.UsageError, match="size mismatch for weight"):
        run(loop, 3, folder=tmp_path, start="0-1")


def test_a_loop_that_is_not_reached_is_said(tmp_path, capsys):
    def loop(often):
        model, optimizer, data = parts()
        for _ in range(often):
            for x in data.split(4):
                batch(model, optimizer, x)

    def other():
        model, optimizer, data = parts()
        for x in data.split(4):
            batch(model, optimizer, x)

    run(loop, 2, folder=tmp_path, die_at=1)
    with pytest.raises(hookcore.UsageError, match="was not reached"):
        run(other, folder=tmp_path, start="0-1")

    def nothing():
        return 3

    assert run(nothing, folder=tmp_path, start="0-1")[0] == 3
    assert "nothing was resumed" in capsys.readouterr().err


# -- values ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Note:
    text: str
    tags: list = dataclasses.field(default_factory=list)


def refill(current, wanted):
    return Refill({}).into(current, wanted)


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        ([1, 2, 3], [4]),
        ([], [[1], [2]]),
        ({"a": 1, "b": 2}, {"c": 3}),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=1, c=2, a=3)),
        (collections.Counter("aab"), collections.Counter("bbc")),
        (collections.defaultdict(list, a=[1]), collections.defaultdict(list, b=[2])),
        (collections.deque([1], maxlen=3), collections.deque([2, 3, 4], maxlen=3)),
        ({1, 2}, {3}),
        (bytearray(b"ab"), bytearray(b"c")),
        (argparse.Namespace(a=1), argparse.Namespace(b=[2])),
        (Note("a", [1]), Note("b", [2, 3])),
    ],
)
def test_containers_keep_their_identity(current, wanted):
    import copy

    expected = copy.deepcopy(wanted)
    result = refill(current, wanted)

    assert result is current
    assert result == expected
    assert list(getattr(result, "items", list)()) == list(
        getattr(expected, "items", list)()
    )


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        (None, [1]),
        ((1, 2), [1, 2]),
        (collections.deque([1], maxlen=3), collections.deque([2], maxlen=4)),
        (3, 4),
        ([1], (1, [2])),
    ],
)
def test_what_cannot_be_filled_is_replaced(current, wanted):
    assert refill(current, wanted) == wanted


def test_inner_lists_are_the_ones_that_others_hold():
    inner = [1]
    table = {"train": inner, "val": []}
    wanted = {"train": [1, 2], "val": [3]}
    both = Refill({})

    assert both.into(table, wanted) is table
    assert both.into(inner, wanted["train"]) is inner
    assert table == {"train": [1, 2], "val": [3]}
    assert table["train"] is inner


def test_one_object_stands_for_one_object():
    """A row repeated in the script, and two rows in the checkpoint."""
    row = [0]
    result = refill([row, row], [[1], [2]])

    assert result == [[1], [2]]


def test_what_was_one_object_is_one_again():
    shared = [1]
    result = refill([None, None], [shared, shared])

    assert result[0] is result[1]


def test_a_list_that_holds_itself():
    wanted: list = [1]
    wanted.append(wanted)
    current: list = []
    result = refill(current, wanted)

    assert result is current
    assert result[1] is current


def test_tensors_are_filled_in_place_and_never_over_a_models_weights():
    live, free = torch.zeros(3), torch.zeros(3)
    into = Refill({}, {live.untyped_storage().data_ptr()})
    wanted = torch.ones(3)

    assert into.into(free, wanted) is free
    assert free.tolist() == [1, 1, 1]
    assert into.into(live, torch.ones(3)) is not live
    assert live.tolist() == [0, 0, 0]
    alias = torch.full((3,), 5.0)
    aliased = Refill({(alias.data_ptr(), alias.shape): live})
    assert aliased.into(None, {"w": alias})["w"] is live


def test_a_parameter_of_the_users_own_stays_the_one_its_optimizer_holds():
    weight = torch.zeros(2, requires_grad=True)

    assert refill([weight], [torch.ones(2, requires_grad=True)])[0] is weight
    assert weight.tolist() == [1, 1]


# -- what is reached -------------------------------------------------------------------------------


def test_reach():
    class Stateless:
        pass

    model = nn.Linear(2, 2)
    generator = torch.Generator()
    names = {
        "model": model,
        "nets": [model, nn.Tanh()],
        "history": [1.0],
        "draws": torch.utils.data.DataLoader([1, 2], shuffle=True, generator=generator),
        "strange": Stateless(),
        "module": math,
    }
    reach = Reach(names, "", ())

    assert reach.objects["model"] is model
    assert "nets[0]" not in reach.objects
    assert isinstance(reach.objects["nets[1]"], nn.Tanh)
    assert reach.slots["history"].value == [1.0]
    assert generator in reach.generators.values()
    assert [path for path in reach.unknown if ":" not in path] == ["strange"]


UNREADABLE = """
class Awkward:
    def __init__(self):
        self.calls = 0

    def state_dict(self):
        raise ValueError("not now")

    def load_state_dict(self, state):
        pass

def train(epochs=2):
    model = make(); optimizer = sgd(model); awkward = Awkward()
    for epoch in range(epochs):
        awkward.calls += 1
        for x, y in loader():
            update(model, optimizer, x, y)
    return weights(model)
"""


def test_a_state_that_cannot_be_read_costs_no_training(lab, tmp_path, capsys):
    """Each checkpoint that is lost is said; the loop is as bare."""
    bare, heard = lab.compare(UNREADABLE, plugins=[Shelf(tmp_path)])
    assert heard.same == bare.same
    assert heard.run.failed
    assert "could not be taken (epoch)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
