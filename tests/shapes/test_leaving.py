"""How a loop is left, and what stands round it."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAINED = "E( 2*[b s .] )E"

SHAPES = {
    "break": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(100):
                    for i, (x, y) in enumerate(loader(4)):
                        update(model, optimizer, x, y)
                        if i == 1:
                            break
                    if epoch == n - 1:
                        break
                return epoch, weights(model)
        """,
        "story": "T( 2*[E( b s . b s .<broke> )E] E( b s . b s .<broke> )E<broke> )T<broke> R",
    },
    "continue": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(4)):
                        if i % 2:
                            continue
                        update(model, optimizer, x, y)
                return i, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s . b .] )E] )T R",
    },
    "return": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(100):
                    for x, y in loader():
                        loss = update(model, optimizer, x, y)
                    if epoch == n - 1:
                        return epoch, loss, weights(model)
        """,
        "story": f"T( 2*[{TRAINED}] E( 2*[b s .] )E<returned> )T<returned> R",
        "stops": False,
    },
    "an exception": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                for epoch in range(100):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    if epoch == n - 1:
                        raise ValueError(f"diverged at {weights(model)[0][0]}")
        """,
        "story": f"T( 2*[{TRAINED}] E( 2*[b s .] )E<exception> )T<exception> X R<exception>",
        "stops": False,
    },
    "for and else": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                words = []
                for epoch in range(n):
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    else:
                        words.append("whole")
                else:
                    words.append("done")
                return words, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "try and except KeyboardInterrupt": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                words = []
                try:
                    for epoch in range(n):
                        for x, y in loader():
                            update(model, optimizer, x, y)
                    raise KeyboardInterrupt
                except KeyboardInterrupt:
                    words.append("interrupted")
                finally:
                    words.append("saved")
                return words, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "an interrupt inside a batch, that the loop catches": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                try:
                    for epoch in range(100):
                        for x, y in loader():
                            if epoch == n:
                                raise KeyboardInterrupt
                            update(model, optimizer, x, y)
                except KeyboardInterrupt:
                    pass
                return epoch > 0, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] E( b .<exception> )E<exception> )T<exception> R",
        "stops": False,
    },
    "except Exception and continue": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                lost = 0
                for epoch in range(n):
                    for i, (x, y) in enumerate(loader(4)):
                        try:
                            if i == 1:
                                x = x[:, :2]
                            update(model, optimizer, x, y)
                        except Exception:
                            lost += 1
                            continue
                return lost, weights(model)
        """,
        "story": "T( 3*[E( b s . b . b s . b s . )E] )T R",
    },
    "a broad except round the epoch": {
        "source": """
            def train(n):
                model = make(); optimizer = sgd(model)
                lost = 0
                for epoch in range(n):
                    try:
                        for i, (x, y) in enumerate(loader(4)):
                            update(model, optimizer, x, y)
                            if i == 1:
                                raise RuntimeError("a bad record")
                    except Exception:
                        lost += 1
                return lost, weights(model)
        """,
        "story": "T( 3*[E( b s . b s .<exception> )E] )T R",
    },
    "context managers": {
        "source": """
            import contextlib

            @contextlib.contextmanager
            def noted(words, word):
                words.append(word)
                try:
                    yield
                finally:
                    words.append(f"/{word}")

            def train(n):
                model = make(); optimizer = sgd(model)
                words = []
                with noted(words, "run"), torch.enable_grad():
                    for epoch in range(n):
                        with noted(words, "epoch"):
                            for x, y in loader():
                                with torch.autograd.set_detect_anomaly(False):
                                    update(model, optimizer, x, y)
                return words, weights(model)
        """,
        "story": f"T( 3*[{TRAINED}] )T R",
    },
    "early stopping of its own": {
        "source": """
            class EarlyStopping:
                def __init__(self, patience):
                    self.patience, self.count, self.stop = patience, 0, False

                def __call__(self, loss):
                    self.count += 1
                    self.stop = self.count >= self.patience

            def train(n):
                model = make(); optimizer = sgd(model)
                stopper = EarlyStopping(n)
                epoch = 0
                while epoch < 100 and not stopper.stop:
                    for x, y in loader():
                        update(model, optimizer, x, y)
                    model.eval()
                    with torch.no_grad():
                        stopper(F.cross_entropy(model(X), Y))
                    model.train()
                    epoch += 1
                return epoch, weights(model)
        """,
        "story": "T( 3*[E( 2*[b s .] V( v )V )E] )T R",
        # A stopped loop has not counted to its patience; its own end is the same.
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_leaving(inquire, shape):
    """However it is left, each start has its end, and a stop is as gentle as exhaustion."""
    inquire(**shape)
