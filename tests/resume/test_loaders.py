"""DataLoaders of every kind: which batch is next, and what was drawn for it."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import sys
import time
import types

import pytest

torch = pytest.importorskip("torch")

import hookcore  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
{before}
def train():
    model, optimizer = make()
    {setup}
    losses = []
    for epoch in range({epochs}):
        {prefix}
        for i, x in enumerate(loader):
            losses.append(update(model, optimizer, x))
        losses.append(torch.rand(1).item() + random.random())
    return losses, total(model)
"""


def loop(setup, *, before="", prefix="pass", epochs=2):
    return LOOP.format(setup=setup, before=before, prefix=prefix, epochs=epochs)


SAMPLERS = {
    "weighted": "loader = DataLoader(Noisy(14), 4, sampler="
    "torch.utils.data.WeightedRandomSampler([i + 1.0 for i in range(14)], 14))",
    "batch sampler": "loader = DataLoader(Noisy(14), batch_sampler="
    "torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(range(14)), 4, True))",
    "with replacement": "loader = DataLoader(Noisy(14), 4, sampler="
    "torch.utils.data.RandomSampler(range(14), replacement=True, num_samples=70))",
    "a generator": "loader = DataLoader(Noisy(14), 4, shuffle=True, "
    "generator=torch.Generator().manual_seed(9))",
    "no batches": "loader = DataLoader(Noisy(6), batch_size=None, shuffle=True)",
    "in order": "loader = DataLoader(Noisy(14), 4)",
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_samplers(check, kind):
    check(loop(SAMPLERS[kind]))


def test_a_distributed_sampler(check):
    setup = (
        "sampler = torch.utils.data.DistributedSampler(Noisy(30), 2, 1, seed=3); "
        "loader = DataLoader(Noisy(30), 4, sampler=sampler)"
    )
    check(loop(setup, prefix="sampler.set_epoch(epoch)"))


OWN = """
class Own(Sampler):
    def __init__(self, n):
        self.n, self.rounds = n, 0
    def __len__(self):
        return self.n
    def __iter__(self):
        self.rounds += 1
        order = list(range(self.n))
        random.shuffle(order)
        return iter(order)
"""


def test_a_users_own_sampler_that_draws_at_its_start(check):
    check(loop("loader = DataLoader(Noisy(14), 4, sampler=Own(14))", before=OWN))


LAZY = """
class Lazy(Sampler):
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def __iter__(self):
        for _ in range(self.n):
            yield torch.randint(self.n, ()).item()
"""


GROUPS = """
class Groups:
    def __init__(self, n):
        self.n, self.epoch = n, 0
    def __len__(self):
        return self.n // 3
    def __iter__(self):
        self.epoch += 1
        order = torch.randperm(self.n).tolist()
        for i in range(len(self)):
            yield order[3 * i : 3 * i + 3] + [self.epoch]
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_own_batch_sampler(check, workers):
    more = f"batch_sampler=Groups(14), num_workers={workers}"
    check(loop(f"loader = DataLoader(Noisy(14), {more})", before=GROUPS), every=1 + workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_that_draws_as_it_goes_is_taken_up_at_epochs_only(check, workers):
    more = f"sampler=Lazy(34), num_workers={workers}"
    source = loop(f"loader = DataLoader(Noisy(34), 4, {more})", before=LAZY)
    _, saved = check(source, skip=("partial",))
    notes = [s.notes[0] for s in saved.values() if s.header.kind == "partial"]
    assert any("the sampler Lazy draws random numbers in turn" in note for note in notes)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "every"), [(0, 1), (1, 2), (2, 2), (3, 3), (8, 6)])
def test_workers(check, workers, every):
    setup = f"loader = DataLoader(Noisy(26), 4, shuffle=True, num_workers={workers})"
    check(loop(setup), every=every)


DRAWS = """
import numpy

class Drawn(Dataset):
    '''Draws from all that there is, the seed of its worker included.'''
    def __len__(self):
        return 18
    def __getitem__(self, i):
        info = torch.utils.data.get_worker_info()
        return torch.rand(3) + random.random() + numpy.random.rand() + info.seed % 97 / 97

def begin(worker):
    random.seed(torch.initial_seed() + 1)
    numpy.random.seed(torch.initial_seed() % 2**31 + worker)
"""


@pytest.mark.parametrize("begin", ["None", "begin"])
@pytest.mark.parametrize("kept", [False, True])
def test_what_workers_draw_from_python_numpy_and_torch(check, begin, kept):
    more = f"num_workers=2, worker_init_fn={begin}, persistent_workers={kept}"
    check(loop(f"loader = DataLoader(Drawn(), 4, shuffle=True, {more})", before=DRAWS), every=3)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator")
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_memory(check, workers):
    """Without an accelerator torch warns, and pins nothing."""
    more = f"num_workers={workers}, pin_memory=True"
    check(loop(f"loader = DataLoader(Noisy(18), 4, shuffle=True, {more})"), every=3)


def test_what_workers_send_is_pinned_as_it_would_be(monkeypatch):
    """A batch with its worker's states is taken by torch for one that pins itself."""
    from torch.utils.data._utils import pin_memory

    from hookcore.plain.resume.workers import Ship

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, device=None: tensor + 1)
    pinned = pin_memory.pin_memory(Ship([torch.zeros(2)], 1, {"python": 2}))
    assert (pinned.data[0].tolist(), pinned.worker) == ([1.0, 1.0], 1)


def test_several_loaders_at_once(check):
    """Two in a ``zip``, one of them with workers and one with a generator; a third inside."""
    check(
        """
        def train():
            model, optimizer = make()
            critic = nn.Linear(1, 1)
            other = torch.optim.SGD(critic.parameters(), lr=0.1)
            g = torch.Generator().manual_seed(5)
            real = DataLoader(Noisy(20), 4, shuffle=True, num_workers=2, persistent_workers=True)
            fake = DataLoader(Noisy(24), 4, shuffle=True, generator=g)
            held_out = DataLoader(Noisy(8), 4, shuffle=True, num_workers=1)
            losses = []
            for epoch in range(2):
                for i, (x, y) in enumerate(zip(real, fake)):
                    other.zero_grad()
                    loss = critic(model(x).detach()).pow(2).mean() + critic(model(y)).mean()
                    loss.backward()
                    other.step()
                    losses.append(loss.item() + update(model, optimizer, y))
                    if i == 2:
                        with torch.no_grad():
                            losses += [model(z).sum().item() for z in held_out]
            return losses, total(model), total(critic), torch.rand(1, generator=g).item()
        """,
        every=3,
    )


def test_workers_that_are_kept(check):
    kept = "num_workers=2, persistent_workers=True"
    check(loop(f"loader = DataLoader(Noisy(18), 4, shuffle=True, {kept})", epochs=3), every=2)


def test_workers_that_are_kept_and_have_drawn_for_batches_that_were_not_taken(check):
    """A ``break`` leaves them; what they have drawn for these is not known."""
    _, saved = check(
        """
        def train():
            model, optimizer = make()
            loader = DataLoader(Noisy(26), 4, num_workers=2, persistent_workers=True)
            losses = []
            for epoch in range(2):
                for i, x in enumerate(loader):
                    losses.append(update(model, optimizer, x))
                    if i == 2:
                        break
            return losses, total(model)
        """,
        at="epochs",
        kinds=("partial",),
        skip=("partial",),
    )
    notes = [snapshot.notes[0] for snapshot in saved.values()]
    assert all("have begun batches that the loop has not taken" in note for note in notes)


def test_workers_that_were_there_before_the_run(bench, keeper, monkeypatch):
    """What they have drawn so far is not known: the loop is not taken up, and says so."""
    data = [torch.full((3,), i / 14) for i in range(14)]
    before = types.ModuleType("before")
    before.loader = torch.utils.data.DataLoader(data, 4, num_workers=1, persistent_workers=True)
    assert len(list(before.loader)) == 4
    monkeypatch.setitem(sys.modules, "before", before)
    bench.load(loop("pass", before="from before import loader"))
    for at in ("all", "epochs"):
        saved = bench.call(keeper(at)).keeper.saved
        for snapshot in saved.values():
            assert snapshot.header.kind == "partial"
            assert "the workers that read list were not made by" in snapshot.notes[0]


def test_workers_that_are_kept_by_a_loader_of_the_function_around(check):
    """The loop inside has no name for it: it is taken up where its own function has one."""
    source = """
    def one(model, optimizer, loader, losses):
        for x in loader:
            losses.append(update(model, optimizer, x))

    def train():
        model, optimizer = make()
        loader = DataLoader(Noisy(12), 4, shuffle=True)
        held_out = DataLoader(Noisy(8), 4, num_workers=1, persistent_workers=True)
        losses = []
        for epoch in range(3):
            one(model, optimizer, loader, losses)
            losses += [x.sum().item() for x in held_out]
        return losses, total(model)
    """
    check(source, at="epochs")
    _, saved = check(source, skip=("partial",))
    late = [snapshot for number, snapshot in saved.items() if number > 3]
    assert {snapshot.header.kind for snapshot in late} == {"partial"}
    assert all("which keeps its workers" in snapshot.notes[0] for snapshot in late)


def test_workers_that_are_kept_end_with_the_loops_function(bench, keeper):
    """As they do in the bare loop, whole or resumed: nothing of the run holds their loader.

    What only the garbage collector frees it frees in any order, and a queue's ends may be closed
    before the queue has told its workers to end.
    """
    kept = "num_workers=2, persistent_workers=True"
    bench.load(loop(f"loader = DataLoader(Noisy(18), 4, shuffle=True, {kept})"))
    bench.call()  # torch imports more with the first optimizer, and what it leaves holds frames
    gc.collect()
    gc.disable()
    try:
        whole = bench.call(keeper("all"))
        assert multiprocessing.active_children() == []
        for snapshot in list(whole.keeper.saved.values())[:2]:
            bench.call(keeper(start=snapshot))
            assert multiprocessing.active_children() == []
    finally:
        gc.enable()


STREAM = """
class Stream(IterableDataset):
    def __init__(self, noise):
        self.noise = noise
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        for i in range(info.id if info else 0, 14, info.num_workers if info else 1):
            Noisy.taken += 1
            yield torch.full((3,), i / 14) + (torch.rand(3) if self.noise else 0.0)
"""


def test_a_stream_is_read_again(check):
    """Its finished samples are drawn once more, from its beginning."""
    _, saved = check(loop("loader = DataLoader(Stream(False), 4)", before=STREAM))
    assert "mid-epoch" in {snapshot.header.kind for snapshot in saved.values()}


def test_a_stream_that_draws_in_turn_with_the_training(check):
    source = loop("loader = DataLoader(Stream(True), 4)", before=STREAM)
    _, saved = check(source, skip=("partial",))
    kinds = [snapshot.header.kind for snapshot in saved.values()]
    assert "mid-epoch" not in kinds
    notes = [s.notes[0] for s in saved.values() if s.header.kind == "partial"]
    assert all("the stream Stream draws random numbers in turn" in note for note in notes)


def test_a_stream_in_workers(check):
    """Each worker draws from its own random numbers: again the same ones."""
    check(loop("loader = DataLoader(Stream(True), 4, num_workers=2)", before=STREAM), every=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_only_the_loop_holds(check, workers):
    made = f"DataLoader(Noisy(18), 4, shuffle=True, num_workers={workers})"
    source = loop("loader = None").replace("enumerate(loader)", f"enumerate({made})")
    check(source, every=2)


def test_ten_thousand_batches_are_passed_over_in_a_second_without_a_sample(bench, keeper):
    bench.load(
        """
        import queue

        class Counted(Noisy):
            taken = queue.SimpleQueue()  # which no checkpoint holds
            def __getitem__(self, i):
                self.taken.put(i)
                return super().__getitem__(i)

        def train():
            model, optimizer = make()
            loader = DataLoader(Counted(80_016), 8, shuffle=True)
            for epoch in range(1):
                for i, x in enumerate(loader):
                    if i in (0, 10_000, 10_001):
                        update(model, optimizer, x[:, :3])
            return Counted.taken.qsize(), total(model)
        """
    )
    whole = bench.call(keeper(at=(10_001,)))
    (snapshot,) = whole.keeper.saved.values()
    assert snapshot.position["levels"][1]["iteration"] == 10_000

    class Timed(keeper):
        @hookcore.hookimpl
        def on_run_start(self, run):
            super().on_run_start(run)
            self.taken = time.process_time()

        @hookcore.hookimpl
        def on_resume(self, fit, position):
            self.taken = time.process_time() - self.taken

    again = bench.call(Timed(start=copy.deepcopy(snapshot)))
    assert again.keeper.taken < 1.0
    assert again.result[0] == 8
    assert again.result[1] == whole.result[1]


def test_the_names_of_torch_that_are_used_are_there():
    """None of them is public."""
    from torch.utils.data import dataloader

    names = ("_dataset_kind", "_next_data", "_index_sampler", "_sampler_iter", "_num_yielded")
    loader = torch.utils.data.DataLoader([1, 2, 3])
    iterator = iter(loader)
    assert type(iterator) is dataloader._SingleProcessDataLoaderIter
    assert all(hasattr(iterator, name) for name in names)
    assert isinstance(vars(torch.utils.data.DataLoader)["_index_sampler"], property)
    assert hasattr(dataloader._MultiProcessingDataLoaderIter, "_process_data")
    assert hasattr(torch.utils.data._utils.worker, "_generate_state")
