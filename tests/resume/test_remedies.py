"""The remedies that messages name are true: who takes one has the loop taken up, bit for bit.

Which message names which is in ``test_concerns.py``.
"""

from __future__ import annotations

import textwrap

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
{top}

def train():
    model, optimizer = make()
    data = torch.rand(12, 3)
    {setup}
    losses = []
    for epoch in range(2):
        {before}
        for x in {over}:
            losses.append(update(model, optimizer, x))
            {inside}
        {after}
    return losses, total(model)
"""
MENDED = {
    "write it as a for statement": {},
    "iterate over a DataLoader": {"over": "DataLoader(data, 4, shuffle=True)"},
    "list(...) makes one": {"over": "list(x for x in data.split(4))"},
    "train in one loop an epoch": {"over": "[*data.split(6), *data.split(4)]"},
    "evaluate after the loop that trains": {
        "top": "def evaluate(model, data):\n    model.eval()\n    with torch.no_grad():\n"
        "        model(data)\n    model.train()",
        "after": "evaluate(model, data)",
    },
    "read it in a worker": {
        "top": "class Stream(IterableDataset):\n    def __iter__(self):\n"
        "        for _ in range(6):\n            yield torch.rand(3)",
        "over": "DataLoader(Stream(), 2, num_workers=1)",
    },
    "draw from a generator of its own": {
        "top": "class Stream(IterableDataset):\n    def __init__(self):\n"
        "        self.own = torch.Generator().manual_seed(3)\n    def __iter__(self):\n"
        "        for _ in range(6):\n            yield torch.rand(3, generator=self.own)",
        "setup": "stream = Stream()",
        "over": "DataLoader(stream, 2)",
    },
    "draw the whole order as __iter__ begins": {
        "top": "class Whole(Sampler):\n    def __len__(self):\n        return 14\n"
        "    def __iter__(self):\n"
        "        return iter([random.randrange(14) for _ in range(14)])",
        "over": "DataLoader(Noisy(14), 4, sampler=Whole())",
    },
    "draw the order from a generator of its own": {
        "top": "class Own(Sampler):\n    def __init__(self):\n"
        "        self.own = torch.Generator().manual_seed(3)\n    def __len__(self):\n"
        "        return 14\n    def __iter__(self):\n        for _ in range(14):\n"
        "            yield int(torch.randint(14, (1,), generator=self.own))",
        "setup": "sampler = Own()",
        "over": "DataLoader(Noisy(14), 4, sampler=sampler)",
    },
    "its sampler can do the same": {
        "over": "DataLoader(Noisy(14), None, sampler=range(6))",
    },
    "leave in_order at True": {"over": "DataLoader(Noisy(14), 4, num_workers=1)"},
    "leave persistent_workers at False": {
        "top": "class Stream(IterableDataset):\n    def __iter__(self):\n"
        "        for _ in range(6):\n            yield torch.rand(3)",
        "setup": "loader = DataLoader(Stream(), 2, num_workers=1)",
        "over": "loader",
    },
    "bind it anew before it is read": {
        "setup": "big = torch.zeros(40_000)",
        "before": "big = torch.zeros(40_000); scale = big[0].item()",
        "inside": "big = big + 1",
    },
    "have what raises be copied": {
        "top": "import dataclasses\n@dataclasses.dataclass\nclass Odd:\n    count: int = 0",
        "setup": "odd = Odd()",
        "inside": "odd.count += 1; losses.append(odd.count * 0.1)",
    },
    "keep the DataLoader beside its iterator": {
        "setup": "loader = DataLoader(Noisy(60), 4, shuffle=True); batches = iter(loader)",
        "inside": "losses.append(next(batches).sum().item())",
    },
    "make the iterator a list": {
        "setup": "stream = list(zip(range(40), range(40))); at = 0",
        "inside": "losses.append(stream[at][0] * 0.5); at += 1",
    },
    "give the iterator a state": {
        "top": "class Counted:\n    def __init__(self):\n        self.at = 0\n"
        "    def __iter__(self):\n        return self\n    def __next__(self):\n"
        "        self.at += 1\n        return self.at\n    def state_dict(self):\n"
        "        return dict(at=self.at)\n    def load_state_dict(self, state):\n"
        "        self.at = state['at']",
        "setup": "stream = Counted()",
        "inside": "losses.append(next(stream) * 0.5)",
    },
    "make the function anew in each epoch": {
        "before": "scale = (lambda x: 2 * x) if epoch else (lambda x: x)",
        "inside": "losses.append(scale(losses[-1]))",
    },
    "a function at a module's top": {
        "top": "def once(x):\n    return x\ndef twice(x):\n    return 2 * x",
        "setup": "scale = once",
        "before": "scale = twice if epoch else scale",
        "inside": "losses.append(scale(losses[-1]))",
    },
    "make the loader anew in each epoch": {
        "before": "loader = DataLoader(data + epoch, 4)",
        "over": "loader",
    },
    "make all optimizers before the loop, and choose in it": {
        "setup": "optimizers = [optimizer, torch.optim.SGD(model.parameters(), 0.1)]",
        "before": "optimizer = optimizers[epoch]",
    },
    "freeze and unfreeze in it": {
        "setup": "model[0].requires_grad_(False)",
        "before": "model[0].requires_grad_(epoch == 1)",
    },
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("remedy", MENDED)
def test_a_remedy_that_is_taken(check, remedy):
    parts = dict.fromkeys(("setup", "before", "inside", "after"), "pass")
    parts |= {"top": "", "over": "data.split(4)", **MENDED[remedy]}
    check(textwrap.dedent(LOOP).format(**parts), every=2)


AT_THE_ENDS = {
    "make the iterator anew in each epoch": {
        "before": "stream = zip(range(40), range(40))",
        "inside": "losses.append(next(stream)[0] * 0.5)",
    },
    "train in two loops an epoch": {
        "before": "for y in data.split(6): losses.append(update(model, optimizer, y))"
    },
    "bind it anew behind the loop": {
        "setup": "big = torch.zeros(40_000)",
        "before": "scale = big[0].item(); losses.append(scale)",
        "inside": "big = big + 1",
    },
}


@pytest.mark.parametrize("remedy", AT_THE_ENDS)
def test_or_save_at_the_ends_of_epochs(check, remedy):
    parts = dict.fromkeys(("setup", "before", "inside", "after"), "pass")
    parts |= {"top": "", "over": "data.split(4)", **AT_THE_ENDS[remedy]}
    check(textwrap.dedent(LOOP).format(**parts), at="epochs", kinds=("epoch",))


HANDED = """
def one(model, optimizer, loader, losses, held_out):
    for x in loader:
        losses.append(update(model, optimizer, x))

def train():
    model, optimizer = make()
    loader = DataLoader(Noisy(12), 4, shuffle=True)
    held_out = DataLoader(Noisy(8), 4, num_workers=1{kept})
    losses = []
    for epoch in range(2):
        one(model, optimizer, loader, losses, {handed})
        losses += [x.sum().item() for x in held_out]
    return losses, total(model)
"""


@pytest.mark.parametrize(
    ("kept", "handed"), [(", persistent_workers=True", "held_out"), ("", "None")]
)
def test_workers_kept_by_a_loader_that_is_handed_on_or_none_kept(check, kept, handed):
    check(HANDED.format(kept=kept, handed=handed), every=2)


CACHE = """
class Cached(Dataset):
    def __init__(self):
        self.seen = {first}
    def __len__(self):
        return 12
    def __getitem__(self, i):
        {remember}
        return torch.full((3,), float(i)) / 12 + 0.01 * torch.rand(3) * len(self.seen)

def train():
    model, optimizer = make()
    loader = DataLoader(Cached(), 4, num_workers={workers})
    losses = []
    for epoch in range(2):
        for x in loader:
            losses.append(update(model, optimizer, x))
    return losses, total(model)
"""
TENSOR = "self.seen[i] = torch.ones(3)"
CACHES = {
    "a few numbers": {"first": "{}", "remember": "self.seen[i] = 1.0", "workers": 1},
    "filled before the loop": {
        "first": "{i: torch.ones(3) for i in range(12)}", "remember": "pass", "workers": 1
    },
    "no workers": {"first": "{}", "remember": TENSOR, "workers": 0},
}  # fmt: skip


@pytest.mark.parametrize("cache", CACHES)
def test_a_cache_that_is_small_or_filled_or_in_no_worker(bench, keeper, check, cache):
    bench.load(CACHE.format(first="{}", remember=TENSOR, workers=1))
    notes = [s.notes for s in bench.call(keeper("all")).keeper.saved.values()]
    assert any("each worker changes its own copy of the dataset's seen" in str(n) for n in notes)
    check(CACHE.format(**CACHES[cache]), every=2)
