"""Buffers that a model binds anew as it trains come back as they were, whatever they are."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import hookcore  # noqa: E402
from hookcore.plain import weights  # noqa: E402
from hookcore.plain.buffers import make_room  # noqa: E402
from hookcore.testing import isolated_run  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)
        self.register_buffer("t", {first}, persistent={persistent})

    def forward(self, x):
        if self.training:
            self.t = {then}
        return self.inner(x) * (1 + 0.01 * {used})

def train():
    make()
    model = Scaled()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for epoch in range(2):
        for x in torch.rand(12, 3).split(4):
            losses.append(update(model, optimizer, x))
    return losses, total(model), None if model.t is None else model.t.to_dense().tolist()
"""
BUFFERS = {
    "of another type": ("torch.ones(2, dtype=torch.int32)", "self.t * 1.25", "self.t.sum()"),
    "of another size": ("torch.ones(0)", "torch.cat([self.t, x[:1, 0]])", "self.t.sum()"),
    "none at first": ("None", "torch.ones(1) if self.t is None else self.t + 1", "self.t.sum()"),
    "none by turns": (
        "None",
        "x[0] if self.t is None else None",
        "(0 if self.t is None else self.t.sum())",
    ),
    "of one item, seen many times": ("torch.ones(1).expand(4)", "self.t", "self.t.sum()"),
    "sparse": ("torch.eye(2).to_sparse()", "self.t * 1.1", "self.t.to_dense().sum()"),
    "transposed": ("torch.rand(3, 2).t()", "self.t.mul_(1.1)", "self.t.sum()"),
}


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("kind", BUFFERS)
def test_a_buffer_comes_back(check, kind, persistent):
    first, then, used = BUFFERS[kind]
    check(LOOP.format(first=first, then=then, used=used, persistent=persistent))


def test_a_model_that_the_loop_has_cast_is_said_to_be_another(bench, keeper):
    """Its weights would come back in the type that the script makes them in."""
    bench.load("""
        def train():
            model, _ = make()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for epoch in range(2):
                if epoch == 1:
                    model.double()
                for x in torch.rand(12, 3).split(4):
                    update(model, optimizer, x.to(model[0].weight.dtype))
    """)
    saved = bench.call(keeper("epochs")).keeper.saved.values()

    assert [snapshot.header.kind for snapshot in saved] == ["epoch", "partial"]
    assert "the loop has made model anew, or of other parts" in list(saved)[-1].notes[0]


def test_what_was_one_buffer_is_one_again():
    def pair():
        model = torch.nn.Sequential(torch.nn.Module(), torch.nn.Module())
        for part in model:
            part.register_buffer("t", None)
        return model

    model, saved = pair(), torch.arange(3.0)
    make_room(model, {"0.t": saved, "1.t": saved.view(3)})

    assert model[0].t is model[1].t
    assert model[0].t.data_ptr() != saved.data_ptr()
    make_room(model, {}, ["0.t"])
    assert (model[0].t, model[1].t.tolist()) == (None, [0.0, 1.0, 2.0])


def test_weights_in_memory_bring_their_buffers():
    """Those of early stopping: of the epoch's start, when the buffer had another size."""

    class Grown(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 1)
            self.register_buffer("seen", torch.ones(1).expand(2))

        def forward(self, x):
            return self.inner(x) * self.seen.mean()

    class Back:
        @hookcore.hookimpl
        def on_train_start(self, fit):
            self.kept = fit.copy_weights()

        @hookcore.hookimpl
        def on_train_end(self, fit):
            fit.load_weights(self.kept)

    model = Grown()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with isolated_run(Back(), strict=True):
        for _ in hookcore.epochs(range(2)):
            for x in hookcore.batches(torch.ones(4, 2).split(2)):
                model(x).sum().backward()
                optimizer.step()
                model.seen = torch.full((3,), 2.0)

    assert model.seen.tolist() == [1.0, 1.0]


def test_weights_that_a_state_dict_calls_otherwise():
    """As that of a wrapper does, which leaves its own name out."""

    class Renamed(torch.nn.Linear):
        def state_dict(self, *args, **options):
            return {f"net/{k}": v for k, v in super().state_dict(*args, **options).items()}

        def load_state_dict(self, state, *args, **options):
            own = {name.removeprefix("net/"): value for name, value in state.items()}
            return super().load_state_dict(own, *args, **options)

    best, model = Renamed(2, 1), Renamed(2, 1)
    weight = model.weight
    weights.load([model], [best.state_dict()])

    assert model.weight is weight
    assert torch.equal(model.weight, best.weight)
    torch.nn.init.zeros_(model.weight)
    weights.load([model], weights.copy([best]))
    assert torch.equal(model.weight, best.weight)
