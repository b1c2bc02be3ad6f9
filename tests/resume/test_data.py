"""What changes in data that only a DataLoader leads to: it goes on, and is not copied in vain."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
import multiprocessing
import numpy
from torch.utils.data import ConcatDataset, Subset

class Weighted(Dataset):
    def __init__(self, n=16):
        self.n, self.calls, self.mode = n, 0, "a"
        self.weights, self.rows, self.known = torch.zeros(n), [0.0] * n, {{}}
        self.cache, self.chance = {{}}, numpy.random.RandomState(0)
        self.level, self.levels = multiprocessing.Value("i", 0), multiprocessing.Array("d", 2)
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        if i not in self.cache:
            self.cache[i] = torch.rand(3)
        self.calls += 1
        x = self.cache[i] + i / self.n + self.calls / 100 + self.weights[i] + self.rows[i]
        x = x + self.known.get(i, 0.0) + (self.mode == "b") + self.chance.rand()
        return i, (x + self.level.value / 10 + self.levels[1]).float()

def train():
    model, optimizer = make()
    loader = DataLoader({dataset}, 4, shuffle=True)
    losses = []
    for epoch in range(3):
        for i, x in loader:
            losses.append(update(model, optimizer, x))
            {change}
    return losses, total(model)
"""
CHANGES = """
            data = loader.dataset{inside}
            data.weights[i] += losses[-1]
            data.rows[i[0]] += losses[-1]
            data.known[int(i[1])] = losses[-1]
            data.mode = "b" if len(losses) % 2 else "a"
            data.level.value += 1
            data.levels[1] = losses[-1]
"""
WRAPPED = {
    "itself": ("Weighted()", ""),
    "a part of it": ("Subset(Weighted(), range(12))", ".dataset"),
    "one of several": ("ConcatDataset([Weighted(8), Weighted(8)])", ".datasets[1]"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_the_loop_and_the_dataset_itself_change_in_it(check, kind):
    dataset, inside = WRAPPED[kind]
    check(LOOP.format(dataset=dataset, change=CHANGES.strip().format(inside=inside)), every=3)


@pytest.mark.parametrize("at", ["all", "epochs"])
def test_tensors_that_the_loop_puts_in_their_place(check, at):
    check(
        """
        def train():
            model, optimizer = make()
            loader = DataLoader(TensorDataset(torch.rand(12, 3)), 4, shuffle=True)
            losses = []
            for epoch in range(3):
                for x, in loader:
                    losses.append(update(model, optimizer, x))
                loader.dataset.tensors = (loader.dataset.tensors[0] + losses[-1],)
            return losses, total(model)
        """,
        at=at,
    )


LARGE = """
class Table(Dataset):
    def __init__(self):
        self.rows = [(i, i / 9000) for i in range(9000)]
        self.order = list(range(9000))
        self.images = torch.rand(9000, 3)
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return self.images[i] + self.rows[i][1] + {read}

def train():
    model, optimizer = make()
    table = Table()
    loader = DataLoader(table, 4, shuffle=True)
    losses = []
    for epoch in range(2):
        for x in loader:
            losses.append(update(model, optimizer, x))
            {change}
    return losses, total(model)
"""


def test_a_large_part_that_is_only_read_is_not_saved(check):
    source = LARGE.format(read="self.order[i] / 9000", change="pass")
    _, saved = check(source, every=3)
    for snapshot in saved.values():
        assert not any("table" in path or "dataset" in path for path in snapshot.variables)


@pytest.mark.parametrize(
    "change", ["random.shuffle(table.order)", "table.images.mul_(0.9)", "table.order[0] += 1"]
)
def test_a_large_part_that_is_changed_is(check, change):
    check(LARGE.format(read="self.order[i] / 9000", change=change), every=2)


def test_a_large_part_that_another_packages_class_changes_is_saved(check, tmp_path, monkeypatch):
    (tmp_path / "installed_data.py").write_text("""
import random
from torch.utils.data import Dataset
class Shuffled(Dataset):
    def __init__(self):
        self.order = list(range(9000))
    def __len__(self):
        return 12
    def again(self):
        random.shuffle(self.order)
""")
    monkeypatch.syspath_prepend(tmp_path)
    check(
        """
        from installed_data import Shuffled

        class Mine(Shuffled):
            def __getitem__(self, i):
                return torch.full((3,), self.order[i] / 9000)

        def train():
            model, optimizer = make()
            loader = DataLoader(Mine(), 4)
            losses = []
            for epoch in range(3):
                loader.dataset.again()
                for x in loader:
                    losses.append(update(model, optimizer, x))
            return losses, total(model)
        """,
        at="epochs",
    )
