"""torchdata's StatefulDataLoader, and streams that tell their own place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchdata")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("fewer_objects"),
    # Torchdata calls a function of torch's that torch has deprecated.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]

LOOP = """
from torchdata.stateful_dataloader import StatefulDataLoader
{before}
def train():
    model, optimizer = make()
    {setup}
    losses = []
    for epoch in range({epochs}):
        for i, x in enumerate(loader):
            losses.append(update(model, optimizer, x))
        losses.append(torch.rand(1).item() + random.random())
    return losses, total(model)
"""


def loop(setup, *, before="", epochs=2):
    return LOOP.format(setup=setup, before=before, epochs=epochs)


LOADERS = {
    "shuffled": "loader = StatefulDataLoader(Noisy(14), 4, shuffle=True)",
    "in order": "loader = StatefulDataLoader(Noisy(14), 4)",
    "a generator": "loader = StatefulDataLoader(Noisy(14), 4, shuffle=True, "
    "generator=torch.Generator().manual_seed(9))",
    "weighted": "loader = StatefulDataLoader(Noisy(14), 4, sampler="
    "torch.utils.data.WeightedRandomSampler([i + 1.0 for i in range(14)], 14))",
    "torch's batches": "loader = StatefulDataLoader(Noisy(14), batch_sampler="
    "torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(range(14)), 4, True))",
    "no batches": "loader = StatefulDataLoader(Noisy(5), batch_size=None, shuffle=True)",
}


@pytest.mark.parametrize("kind", LOADERS)
def test_each_head_of_a_stateful_loader(check, kind):
    check(loop(LOADERS[kind]))


@pytest.mark.parametrize("every", [1, 3, None])
@pytest.mark.parametrize("kept", [False, True])
def test_a_stateful_loaders_workers(check, every, kept):
    """From its last snapshot on torchdata reads again; its workers draw what they drew then."""
    more = f"num_workers=2, snapshot_every_n_steps={every}, persistent_workers={kept}"
    check(loop(f"loader = StatefulDataLoader(Noisy(22), 4, shuffle=True, {more})"), every=4)


STREAMS = """
import queue

READ = queue.SimpleQueue()  # which no checkpoint holds

class Told(IterableDataset):
    '''Tells its place.'''
    def __init__(self, n=22):
        self.n, self.at, self.rounds = n, None, 0
    def state_dict(self):
        return {"at": self.at, "rounds": self.rounds}
    def load_state_dict(self, state):
        self.at, self.rounds = state["at"], state["rounds"]
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if self.at is None:
            self.at, self.rounds = (info.id if info else 0), self.rounds + 1
        while self.at < self.n:
            at, self.at = self.at, self.at + (info.num_workers if info else 1)
            READ.put(1)
            yield torch.full((3,), at / self.n + self.rounds) + self.noise()
        self.at = None
    def noise(self):
        return torch.zeros(3)

class Noised(Told):
    def noise(self):
        return torch.rand(3)

class Items:
    '''An iterator that tells its place.'''
    def __init__(self, n):
        self.n, self.at = n, 0
    def __iter__(self):
        return self
    def __next__(self):
        if self.at == self.n:
            raise StopIteration
        self.at += 1
        READ.put(1)
        return torch.full((3,), self.at / self.n)
    def state_dict(self):
        return {"at": self.at}
    def load_state_dict(self, state):
        self.at = state["at"]

class Fresh(IterableDataset):
    '''A new iterator each time.'''
    def __iter__(self):
        return Items(22)

class Untold(IterableDataset):
    '''Tells nothing.'''
    def __iter__(self):
        for i in range(22):
            READ.put(1)
            yield torch.full((3,), i / 22)
"""


@pytest.mark.parametrize("loader", ["DataLoader", "StatefulDataLoader"])
@pytest.mark.parametrize("stream", ["Told()", "Fresh()"])
def test_a_stream_that_tells_its_place_is_not_read_again(check, bench, keeper, loader, stream):
    source = loop(f"loader = {loader}({stream}, 4)", before=STREAMS)
    _, saved = check(source)
    fourth = saved[3]
    assert fourth.header.kind == "mid-epoch"
    assert bench.call(keeper(start=fourth)).module.READ.qsize() == 44 - 12


@pytest.mark.parametrize("loader", ["DataLoader", "StatefulDataLoader"])
def test_a_stream_that_does_not_is_read_again(check, loader):
    check(loop(f"loader = {loader}(Untold(), 4)", before=STREAMS))


@pytest.mark.parametrize("loader", ["DataLoader", "StatefulDataLoader"])
def test_a_stream_that_draws_in_turn_is_taken_up_at_epochs_only(check, loader):
    """What it drew as it began cannot be told from what it draws for each sample."""
    source = loop(f"loader = {loader}(Noised(), 4)", before=STREAMS)
    _, saved = check(source, kinds=("partial",), skip=("partial",))
    assert all("draws random numbers in turn" in snapshot.notes[0] for snapshot in saved.values())
    check(source, at="epochs")


@pytest.mark.parametrize("stream", ["Told()", "Noised()", "Fresh()", "Untold()"])
@pytest.mark.parametrize("loader", ["DataLoader", "StatefulDataLoader"])
def test_streams_in_workers(check, loader, stream):
    check(loop(f"loader = {loader}({stream}, 4, num_workers=2)", before=STREAMS), at=(3, 8))


def test_workers_at_the_end_of_a_stream_that_begins_again(check):
    """Torchdata has a worker that it puts back there read on: so the stream is read again."""
    setup = "loader = StatefulDataLoader(Told(22), 4, num_workers=2)"
    check(loop(setup, before=STREAMS), at=(5, 6))


@pytest.mark.parametrize("stream", ["Told()", "Fresh()"])
def test_a_stream_in_workers_that_are_kept(check, stream):
    kept = "num_workers=2, persistent_workers=True, snapshot_every_n_steps=2"
    source = loop(f"loader = StatefulDataLoader({stream}, 4, {kept})", before=STREAMS)
    _, saved = check(source, every=2, skip=("partial",))
    assert "mid-epoch" in [snapshot.header.kind for snapshot in saved.values()][:4]


COUNTED = """
class Counted(Dataset):
    '''Keeps a state of its own, in each worker's copy.'''
    def __init__(self):
        self.seen = 0
    def __len__(self):
        return 18
    def __getitem__(self, i):
        self.seen += 1
        return torch.full((3,), i / 18 + self.seen)
    def state_dict(self):
        return {"seen": self.seen}
    def load_state_dict(self, state):
        self.seen = state["seen"]
"""


@pytest.mark.parametrize("workers", ["", "num_workers=2", "num_workers=2, persistent_workers=True"])
def test_a_dataset_with_a_state_of_its_own(check, workers):
    setup = f"loader = StatefulDataLoader(Counted(), 4, shuffle=True, {workers})"
    check(loop(setup, before=COUNTED), every=2)


KEPT = ", num_workers=2, persistent_workers=True, snapshot_every_n_steps=2"
AT_EPOCHS = {
    "shuffled": "Noisy(14), 4, shuffle=True",
    "workers": "Noisy(14), 4, shuffle=True, num_workers=2",
    "kept": "Noisy(14), 4, shuffle=True" + KEPT,
    "a dataset with a state": "Counted(), 4, shuffle=True",
    "one in workers that are kept": "Counted(), 4, shuffle=True" + KEPT,
    "a stream": "Told(), 4",
    "a stream in workers": "Told(), 4, num_workers=2",
    "a stream that draws in workers": "Noised(), 4, num_workers=2",
    "a stream that tells nothing, in workers that are kept": "Untold(), 4" + KEPT,
}


@pytest.mark.parametrize("kind", AT_EPOCHS)
def test_each_epoch_of_a_stateful_loader(check, kind):
    setup = f"loader = StatefulDataLoader({AT_EPOCHS[kind]})"
    check(loop(setup, before=STREAMS + COUNTED, epochs=3), at="epochs")


def test_kept_workers_that_tell_their_place_in_a_stream_are_not_left_between_two_epochs(check):
    """Torchdata has them read on as soon as they are there, whether there is anything or not."""
    setup = f"loader = StatefulDataLoader(Told(), 4{KEPT})"
    source = loop(setup, before=STREAMS)
    _, saved = check(source, at="epochs", kinds=("partial",), skip=("partial",))
    notes = [snapshot.notes[0] for snapshot in saved.values()]
    assert all("the workers that read Told are kept, with a state each" in note for note in notes)


def test_stateful_loaders_side_by_side(check):
    check(
        """
        from torchdata.stateful_dataloader import StatefulDataLoader

        def train():
            model, optimizer = make()
            weights = torch.utils.data.WeightedRandomSampler([i + 1.0 for i in range(16)], 16)
            one = StatefulDataLoader(Noisy(16), 4, sampler=weights)
            two = StatefulDataLoader(Noisy(16), 4, shuffle=True)
            held_out = StatefulDataLoader(Noisy(8), 4, shuffle=True)
            losses = []
            for epoch in range(2):
                for x, y in zip(one, two):
                    losses.append(update(model, optimizer, x + y))
                    if len(losses) % 2:
                        losses.append(sum(model(z).sum().item() for z in held_out))
            return losses, total(model)
        """
    )


@pytest.mark.parametrize("at", ["all", "epochs"])
def test_a_script_that_keeps_the_state_itself(check, at):
    """What it has loaded and what it saves are the same in the whole run and in the resumed one."""
    check(
        """
        from torchdata.stateful_dataloader import StatefulDataLoader

        def train():
            model, optimizer = make()
            loader = StatefulDataLoader(Noisy(18), 4, shuffle=True)
            for x in loader:
                break
            loader.load_state_dict(loader.state_dict())
            losses = []
            for epoch in range(3):
                losses.append(float(loader.state_dict()["_num_yielded"]))
                for x in loader:
                    losses.append(update(model, optimizer, x))
                    losses.append(float(loader.state_dict()["_num_yielded"]))
            return losses, total(model)
        """,
        at=at,
    )


def test_an_iterator_of_a_stateful_loader_in_a_variable(check):
    check(
        """
        from torchdata.stateful_dataloader import StatefulDataLoader

        def train():
            model, optimizer = make()
            loader = StatefulDataLoader(Noisy(12), 4, shuffle=True)
            batches, losses = iter(loader), []
            for step in range(8):
                try:
                    x = next(batches)
                except StopIteration:
                    batches = iter(loader)
                    x = next(batches)
                losses.append(update(model, optimizer, x))
            return losses, total(model)
        """
    )


def test_a_loader_that_is_iterated_by_other_code_is_as_it_was(check):
    """Saving asks no loader for its state that would have to make an iterator for it."""
    check(
        """
        from torchdata.stateful_dataloader import StatefulDataLoader

        def train():
            model, optimizer = make()
            loader, late = DataLoader(Noisy(8), 4), StatefulDataLoader(Noisy(8), 4, shuffle=True)
            losses = []
            for epoch in range(3):
                for x in loader:
                    losses.append(update(model, optimizer, x))
                if epoch == 1:
                    losses += [x.sum().item() for x in late]
                losses.append(torch.rand(1).item())
            return losses, total(model)
        """
    )


def test_the_names_of_torchdata_that_are_used_are_there():
    """None of them is public."""
    from torchdata.stateful_dataloader import StatefulDataLoader, stateful_dataloader

    many = stateful_dataloader._StatefulMultiProcessingDataLoaderIter
    assert all(hasattr(many, name) for name in ("_update_snapshot", "_process_data"))
    loader = StatefulDataLoader([1, 2, 3])
    assert loader.next_iter_state is None
    assert hasattr(loader, "_get_iterator")
    assert {"dataset_state", "fetcher_state"} <= iter(loader).state_dict().keys()
    state = iter(StatefulDataLoader([1, 2, 3], num_workers=1)).state_dict()
    assert {"dataset_state", "fetcher_state"} <= state["_snapshot"]["_worker_snapshots"][
        "worker_0"
    ].keys()
