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
