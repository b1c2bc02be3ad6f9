"""Values of many kinds that a loop changes: each is back at any head, or said not to be."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
import argparse, array, collections, contextvars, enum, functools, numpy, queue, types, weakref
from collections import namedtuple

class Point:
    def __init__(self, value=0.0):
        self.value = value
    def add(self, value):
        self.value += value
        return self.value

class Stage(enum.Enum):
    FIRST = 1
    SECOND = 2

Pair = namedtuple("Pair", "value point")
{top}

def train():
    model, optimizer = make()
    loader = DataLoader(Noisy(14), 4, shuffle=True)
    losses = []
    {setup}
    for epoch in range(3):
        for x in loader:
            loss = update(model, optimizer, x)
            losses.append(loss)
            {inside}
    return losses, total(model)
"""


def loop(inside, setup="pass", top=""):
    lines = inside.strip().replace("\n", "\n" + 12 * " ")
    setup = setup.strip().replace("\n", "\n" + 4 * " ")
    return LOOP.format(inside=lines, setup=setup, top=top)


KINDS = {
    "a tuple that is bound anew": loop(
        "best = (best[0] + loss, Point(loss)); losses.append(best[0] + best[1].value)",
        "best = (0.0, Point())",
    ),
    "a tuple that was none": loop(
        "best = best if best and best[0].value < loss else (Point(loss), copy.deepcopy(model))\n"
        "losses.append(best[0].value + total(best[1])[1][0])",
        "best = None",
    ),
    "tuples in a list": loop(
        "kept.append((loss, Pair(1.0, Point(loss)))); kept[0][1].point.add(1.0)\n"
        "losses.append(kept[len(kept) // 2][1].point.value + (kept[0] is first[0]))\n"
        "first = kept",
        "kept = []; first = [None]",
    ),
    "sets of objects": loop(
        "for point in kept: point.add(loss)\n"
        "kept.add(Point(loss)); frozen |= {Point(loss)}; one.add(0.5)\n"
        "losses.append(sum(sorted(point.value for point in kept | frozen)) + len(kept | frozen))",
        "one = Point(); kept = {one, Point(1.0)}; frozen = frozenset([one])",
    ),
    "a dictionary by enumeration, by class, by number of NumPy": loop(
        "by.setdefault(Stage.SECOND, Point()).add(loss); by.setdefault(Point, Point()).add(loss)\n"
        "by.setdefault(numpy.int64(len(losses) % 3), Point()).add(loss)\n"
        "losses.append(sum(point.value * n for n, point in enumerate(by.values())))",
        "by = {Stage.FIRST: Point()}",
    ),
    "a dictionary by object, by module, by parameter": loop(
        "of[one] += loss; of[other] -= loss; per[model[0]] += loss; per[model[2]] += 2 * loss\n"
        "for p in mean: mean[p] = 0.5 * mean[p] + p.detach()\n"
        "weak[one] = weak.get(one, 0.0) + loss\n"
        "losses.append(of[one] + 2 * of[other] + per[model[0]] - per[model[2]] + weak[one])\n"
        "losses.append(sum(value.sum().item() for value in mean.values()))",
        "one, other = Point(), Point(); of = {one: 0.0, other: 0.0}\n"
        "per = {m: 0.0 for m in model}; weak = weakref.WeakKeyDictionary()\n"
        "mean = {p: torch.zeros_like(p) for p in model.parameters()}",
    ),
    "the order of a dictionary": loop(
        "kept[len(losses) % 4] = kept.pop(len(losses) % 4, None) or Point(loss)\n"
        "losses.append(next(iter(kept.values())).add(0.1))",
        "kept = {}",
    ),
    "a dictionary of the user's own class": loop(
        "config.rate = config.rate + loss; tags.append(loss); tags.count_of += 1\n"
        "losses.append(config.rate + tags.count_of + len(tags))",
        "config = Config(rate=1.0, model=model); tags = Tags()",
        top="class Config(dict):\n"
        "    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__\n"
        "class Tags(list):\n"
        "    count_of = 0",
    ),
    "namespaces that lead to a model": loop(
        "state.step += 1; state.best = min(state.best, loss); args.seen.append(loss)\n"
        "losses.append(state.best + state.step + len(args.seen))",
        "state = types.SimpleNamespace(model=model, step=0, best=9.0)\n"
        "args = argparse.Namespace(model=model, seen=[])",
    ),
    "containers of the standard library": loop(
        "user['a'] = user['a'] + loss; chain['a'] = chain['a'] + loss; waiting.put(loss)\n"
        "row.append(loss); VAR.set(VAR.get() + loss); recent.append(Point(loss))\n"
        "losses.append(user['a'] + chain['a'] + waiting.get() + sum(row) + VAR.get())\n"
        "losses.append(sum(point.value for point in recent) + mine.random())",
        "user = collections.UserDict(a=1.0); chain = collections.ChainMap({}, {'a': 1.0})\n"
        "waiting, row = queue.Queue(), array.array('d'); waiting.put(0.5); mine = Own(3)\n"
        "recent = collections.deque(maxlen=3)",
        top="VAR = contextvars.ContextVar('VAR', default=0.5)\nclass Own(random.Random): pass",
    ),
    "what a loop's variable leads to": loop(
        "for layer in model.modules():\n"
        "    if isinstance(layer, nn.Dropout): layer.p = 0.1 + 0.01 * len(losses)\n"
        "for each in every[1:]: each.step(); each.zero_grad()\n"
        "extra(x).mean().backward(); losses.append(extra.weight.sum().item())",
        "each = None; extra = nn.Linear(3, 1)\n"
        "every = [optimizer, torch.optim.SGD(extra.parameters(), 0.1, momentum=0.9)]",
    ),
    "private attributes of a module and an optimizer": loop(
        "optimizer._rounds = optimizer._rounds + 1; optimizer.mine += loss\n"
        "losses.append(model._calls + optimizer._rounds + optimizer.mine)",
        "model = Net(); optimizer = Descent(model.parameters(), 0.1); optimizer.mine = 0.0",
        top="class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self._calls, self._inner = 0, nn.Linear(3, 1)\n"
        "    def forward(self, x):\n"
        "        self._calls += 1\n"
        "        return self._inner(x) * (1 + 0.01 * self._calls)\n"
        "class Descent(torch.optim.SGD):\n"
        "    _rounds = 0",
    ),
    "what only a hook leads to": loop(
        "schedule.step(); losses.append(optimizer.param_groups[0]['lr'])",
        "count(model[0].register_forward_hook, lambda n, m, i, o: o * (1 + 0.01 * n))\n"
        "count(model[2].weight.register_hook, lambda n, g: g * (1 + 0.01 * n))\n"
        "count(optimizer.register_step_pre_hook, lambda n, o, a, k: o.zero_grad(n > 99))\n"
        "of = lambda f: torch.optim.lr_scheduler.LambdaLR(optimizer, f)\n"
        "schedule = count(of, lambda n, epoch: 1 / (1 + n))",
        top="def count(register, change):\n"
        "    n = [0]\n"
        "    def hook(*arguments):\n"
        "        n[0] += 1\n"
        "        return change(n[0], *arguments)\n"
        "    return register(hook)",
    ),
    "memory that is shared": loop(
        "if table is None:\n"
        "    table = numpy.zeros(8); part, same = table[2:6], torch.from_numpy(table)\n"
        "part[len(losses) % 4] = loss; same[3] += 1; losses.append(float(table.sum()))\n"
        "rows.append(ring[len(rows):len(rows) + 2]); rows[-1].add_(loss); ring[0] += 1\n"
        "losses.append(same.sum().item() + sum(row.sum().item() for row in rows))",
        "table = None; ring, rows = torch.zeros(64), []",
    ),
    "a property that is kept": loop(
        "losses.append(noisy.level if len(losses) > 9 else 0.0)",
        "noisy = Noise()",
        top="class Noise:\n"
        "    @functools.cached_property\n"
        "    def level(self):\n"
        "        return random.random()",
    ),
    "objects that lie deep": loop(
        "head = [Point(loss), head]; deep = head\n"
        "for _ in range(9): deep = deep[1] or deep\n"
        "losses.append(deep[0].add(0.5))",
        "head = None",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_is_back(check, kind):
    check(KINDS[kind], every=5)
    check(KINDS[kind], at="epochs")
