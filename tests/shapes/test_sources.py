"""What a loop goes over: counters, conditions, loaders, iterators, generators, bars."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAINED = "E( 2*[b s .] )E"

SHAPES = {
    "while True with a break": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                epoch, losses = 0, []
                while True:
                    if epoch >= n:
                        break
                    for x, y in loader():
                        losses.append(update(model, optimizer, x, y))
                    epoch += 1
                return losses, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] E( )E<broke> )T<broke> R",
    },
    "while True over steps": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                step = 0
                while True:
                    loss = update(model, optimizer)
                    step += 1
                    if step == n:
                        break
                return step, loss, weights(model)
        """,
        "story": "T( 2*[b s .] b s .<broke> )T<broke> R",
    },
    "while step < n": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                step = 0
                while step < n:
                    update(model, optimizer)
                    step += 1
                return step, weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
    },
    "while step < n, with the loader inside": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                step = 0
                while step < 2 * n:
                    for x, y in loader():
                        update(model, optimizer, x, y)
                        step += 1
                return step, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "for step in count()": {
        "source": """
            import itertools

            def train(n):
                model = make(); optimizer = sgd(model)
                for step in itertools.count(1):
                    update(model, optimizer)
                    if step == n:
                        break
                return step, weights(model)
        """,
        "story": "T( 2*[b s .] b s .<broke> )T<broke> R",
    },
    "steps that fetch their batch": {
        "source": """
            def get_batch():
                index = torch.randint(0, 16, (4,))
                return X[index], Y[index]

            def train(n):
                model = make(); optimizer = sgd(model)
                for step in range(n):
                    x, y = get_batch()
                    loss = update(model, optimizer, x, y)
                return loss, weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
    },
    "full batches, one step an epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    model.train()
                    loss = update(model, optimizer)
                return loss, weights(model)
        """,
        "story": "T( 3*[E( b s . )E] )T R",
    },
    "slices of tensors": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    order = torch.randperm(16)
                    for i in range(0, 16, 8):
                        index = order[i : i + 8]
                        update(model, optimizer, X[index], Y[index])
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "chunks of a tensor": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in zip(X.split(8), Y.chunk(2)):
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "trange": {
        "source": """
            from tqdm import trange

            def train(n):
                model = make(); optimizer = sgd(model)
                for i in trange(n, disable=True):
                    update(model, optimizer)
                return weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
    },
    "a bar round the epochs and one round the loader": {
        "source": """
            import io
            from tqdm import tqdm

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in tqdm(range(n), file=io.StringIO()):
                    for i, (x, y) in enumerate(tqdm(loader(), file=io.StringIO(), leave=False)):
                        update(model, optimizer, x, y)
                return i, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a bar that shows the loss": {
        "source": """
            import io
            from tqdm import tqdm

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    with tqdm(loader(), file=io.StringIO()) as pbar:
                        for x, y in pbar:
                            pbar.set_description(f"epoch {epoch}")
                            pbar.set_postfix(loss=update(model, optimizer, x, y))
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a bar that is turned on by hand": {
        "source": """
            import io
            from tqdm import tqdm

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    bar = tqdm(total=2, file=io.StringIO())
                    for x, y in loader():
                        update(model, optimizer, x, y)
                        bar.update(1)
                    bar.close()
                return bar.n, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "two loaders zipped": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                labelled, unlabelled = loader(), loader(4)
                for epoch in range(n):
                    for i, ((x, y), (z, _)) in enumerate(zip(labelled, unlabelled)):
                        update(model, optimizer, torch.cat([x, z]), torch.cat([y, y[:4]]))
                return i, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a cycle": {
        "source": """
            import itertools

            def train(n):
                model = make(); optimizer = sgd(model)
                data = itertools.cycle(loader())
                for step in range(n):
                    x, y = next(data)
                    update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
        "resumes": "whose place cannot be saved",
    },
    "a slice of an endless iterator": {
        "source": """
            from itertools import cycle, islice

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in islice(cycle(loader()), 2):
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "next, and iter again when it is exhausted": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                data = loader(4)
                iterator = iter(data)
                for step in range(2 * n):
                    try:
                        x, y = next(iterator)
                    except StopIteration:
                        iterator = iter(data)
                        x, y = next(iterator)
                    update(model, optimizer, x, y)
                    if step == 2 * n - 1:
                        break
                return step, weights(model)
        """,
        "story": "T( 5*[b s .] b s .<broke> )T<broke> R",
        "stops": False,
    },
    "next until it is exhausted, inside an epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    iterator = iter(loader())
                    while True:
                        batch = next(iterator, None)
                        if batch is None:
                            break
                        update(model, optimizer, *batch)
                return weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] b .<broke> )E] )T R",
        "resumes": None,
    },
    "an endless generator over a loader": {
        "source": """
            def endless(data):
                while True:
                    for batch in data:
                        yield batch

            def train(n):
                model = make(); optimizer = sgd(model)
                batches = endless(loader())
                for step in range(n):
                    x, y = next(batches)
                    update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": "T( 3*[b s .] )T R",
        "resumes": "whose place cannot be saved",
    },
    "a for over a generator": {
        "source": """
            def batches():
                for x, y in loader():
                    yield x + 0.1 * torch.randn_like(x), y

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in batches():
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "a prefetcher": {
        "source": """
            class Prefetcher:
                def __init__(self, data):
                    self.data = iter(data)
                    self.preload()

                def preload(self):
                    try:
                        self.upcoming = next(self.data)
                    except StopIteration:
                        self.upcoming = None

                def next(self):
                    batch = self.upcoming
                    self.preload()
                    return batch

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    prefetcher = Prefetcher(loader())
                    batch = prefetcher.next()
                    while batch is not None:
                        update(model, optimizer, *batch)
                        batch = prefetcher.next()
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
        "resumes": None,
    },
    "a dataset without length": {
        "source": """
            class Stream(torch.utils.data.IterableDataset):
                def __iter__(self):
                    for i in torch.randperm(16).tolist():
                        yield X[i], Y[i]

            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in DataLoader(Stream(), batch_size=8):
                        update(model, optimizer, x, y)
                return weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "batches that are fetched and not used": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                seen = 0
                for epoch in range(n):
                    first = next(iter(loader()))
                    for i, (x, y) in enumerate(loader(4)):
                        if i % 2:
                            continue
                        update(model, optimizer, x, y)
                    for x, y in loader():
                        seen += len(x)
                return seen, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s . b .] )E] )T R",
    },
    "a loop that only counts stands beside it": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                counts = {}
                for word in "a b a c".split():
                    counts[word] = counts.get(word, 0) + 1
                for epoch in range(n):
                    total = 0
                    for x, y in loader():
                        total += len(x)
                    for x, y in loader():
                        update(model, optimizer, x, y)
                return counts, total, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_sources(inquire, shape):
    """Whatever it goes over, its rounds are counted."""
    if "tqdm" in shape["source"]:
        pytest.importorskip("tqdm")
    inquire(**shape)
