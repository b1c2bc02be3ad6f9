"""Loops that do not run in one frame of one thread: what is not followed changes nothing."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

SHAPES = {
    "a generator that yields between epochs": """
        def epochs(model, optimizer, n):
            for epoch in range(n):
                for x, y in loader():
                    loss = update(model, optimizer, x, y)
                yield epoch, loss

        def train(n):
            model = make(); optimizer = sgd(model)
            seen = [loss for _, loss in epochs(model, optimizer, n)]
            return seen, weights(model)
    """,
    "a generator, driven by next": """
        def epochs(model, optimizer, n):
            for epoch in range(n):
                for x, y in loader():
                    loss = update(model, optimizer, x, y)
                yield epoch, loss

        def train(n):
            model = make(); optimizer = sgd(model)
            running = epochs(model, optimizer, n)
            seen = []
            while True:
                found = next(running, None)
                if found is None:
                    break
                seen.append(found)
            return seen, weights(model)
    """,
    "an async loop": """
        import asyncio

        async def fetch(i):
            await asyncio.sleep(0)
            return X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]

        async def fit(n):
            model = make(); optimizer = sgd(model)
            for epoch in range(n):
                for i in range(2):
                    x, y = await fetch(i)
                    update(model, optimizer, x, y)
            return weights(model)

        def train(n):
            return asyncio.run(fit(n))
    """,
    "two async trainings at once": """
        import asyncio

        async def fit(seed, n):
            generator = torch.Generator().manual_seed(seed)
            model = nn.Linear(4, 3); optimizer = sgd(model)
            for epoch in range(n):
                for i in range(2):
                    await asyncio.sleep(0)
                    x = torch.randn(8, 4, generator=generator)
                    update(model, optimizer, x, Y[:8])
            return weights(model)

        async def both(n):
            return await asyncio.gather(fit(1, n), fit(2, n))

        def train(n):
            return asyncio.run(both(n))
    """,
    "two threads that train at once": """
        import threading

        def fit(seed, n, found):
            generator = torch.Generator().manual_seed(seed)
            model = nn.Linear(4, 3)
            with torch.no_grad():
                for p in model.parameters():
                    p.normal_(generator=generator)
            optimizer = sgd(model)
            for epoch in range(n):
                for i in range(2):
                    update(model, optimizer, torch.randn(8, 4, generator=generator), Y[:8])
            found[seed] = weights(model)

        def train(n):
            found = {}
            threads = [threading.Thread(target=fit, args=(seed, n, found)) for seed in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return sorted(found.items())
    """,
    "a loop in a class body": """
        def train(n):
            class Trained:
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
            return weights(Trained.model)
    """,
    "one step that is the whole training": """
        def train(n):
            model = make()
            optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=n)

            def closure():
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), Y)
                loss.backward()
                return loss

            optimizer.step(closure)
            return weights(model)
    """,
}

BESIDE = """
    import threading

    def aside(done):
        model = nn.Linear(4, 3); optimizer = sgd(model)
        generator = torch.Generator().manual_seed(5)
        for epoch in range(4):
            for i in range(3):
                update(model, optimizer, torch.randn(8, 4, generator=generator), Y[:8])
        done.append(weights(model))

    def train(n):
        done = []
        with torch.random.fork_rng():
            torch.manual_seed(3)
            thread = threading.Thread(target=aside, args=(done,))
            thread.start()
            thread.join()
        model = nn.Linear(4, 3); optimizer = sgd(model)
        for epoch in range(n):
            for x, y in loader():
                update(model, optimizer, x, y)
        return done, weights(model)
"""


REASONS = {
    "a generator that yields between epochs": ("epochs() is a generator function", 6),
    "a generator, driven by next": ("epochs() is a generator function", 6),
    "an async loop": ("fit() is a coroutine function", 6),
    "two async trainings at once": ("fit() is a coroutine function", 12),
    "two threads that train at once": ("it runs in the thread 'Thread-", 0),
    "a loop in a class body": ("it stands in a class body, which is left as it is", 6),
    "one step that is the whole training": ("no loop of a rewritten file is around it", 0),
}
"""Why it is not followed, and the steps that are observed."""


@pytest.mark.parametrize("name", SHAPES)
def test_not_followed(lab, capsys, name):
    """No wrong count: steps at most. Every number is the bare one's, and the reason is said."""
    bare, ours = lab.pair(SHAPES[name])
    expected = lab.bare(bare.train, 3)
    capsys.readouterr()
    heard = lab.play(ours.train, 3)
    said = capsys.readouterr().err
    reason, steps = REASONS[name]
    assert heard.story == (f"T( {steps * 's '})T R" if steps else "R")
    assert heard.same == expected.same
    said_how = "the steps alone were observed" if steps else "was not followed"
    assert said.count(said_how) == 1
    assert reason in said


def test_a_thread_beside(lab):
    """Another thread's loops and steps are no part of the fit."""
    assert lab.story(BESIDE, 2) == "T( E( b s . b s . )E E( b s . b s . )E )T R"


ROUNDS = """
    def one_epoch(model, optimizer):
        for x, y in loader():
            loss = update(model, optimizer, x, y)
        return loss

    def epochs(model, optimizer, n):
        for epoch in range(n):
            yield one_epoch(model, optimizer)

    def train(n):
        model = make(); optimizer = sgd(model)
        losses = list(epochs(model, optimizer, n))
        return losses, weights(model)
"""


def test_a_loop_round_one_that_is_followed(lab, capsys):
    """Each round of it trains anew, as far as can be seen: that is said, with the place."""
    assert lab.story(ROUNDS, 3) == "T( b s . b s . )T T( b s . b s . )T T( b s . b s . )T R"
    said = capsys.readouterr().err
    what = "is not seen: each of its rounds is a training of its own"
    assert said.count(what) == 2  # without the recorder and with it
    assert "epochs() is a generator function" in said


def test_two_stages_are_no_rounds(lab, capsys):
    """A generator that trains in one loop after another goes round nothing."""
    twice = "yield one_epoch(model, optimizer)\n        yield one_epoch(model, optimizer)"
    loop = "for epoch in range(n):\n            yield one_epoch(model, optimizer)"
    source = ROUNDS.replace(loop, twice)
    assert source != ROUNDS
    lab.story(source, 3)
    assert "is not seen" not in capsys.readouterr().err


def test_workers_of_a_loader_are_no_training_elsewhere(lab, capsys):
    """A script that only evaluates, with workers, has started no process that may train."""
    source = """
    def train(n):
        model = make()
        with torch.no_grad():
            for x, y in DataLoader(TensorDataset(X, Y), 8, num_workers=n):
                total = model(x).sum().item()
        return total
    """
    assert lab.story(source, 2) == "R"
    assert "another process" not in capsys.readouterr().err


def test_a_process_of_the_user_s_may_train(lab, capsys):
    """It is told by the number that Python has given to it; a private name, but the only one."""
    source = """
    import multiprocessing

    def train(n):
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join()
    """
    assert lab.story(source, 2) == "R"
    assert "what trains in another process is not followed" in capsys.readouterr().err
