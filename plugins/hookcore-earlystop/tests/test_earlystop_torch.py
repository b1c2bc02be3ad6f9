"""The plugin in plain, instrumented PyTorch loops."""

from __future__ import annotations

import contextlib
import io

import pytest

import hookcore
from hookcore_earlystop import EarlyStop

pytestmark = pytest.mark.torch


def printed(call):
    """What a call returns and prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = call()
    return result, out.getvalue()


def bits(model, optimizer, seen):
    """Everything that must not change by one bit."""
    import torch

    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "seen": seen,
    }


def same(a, b):
    import torch

    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_unedited_loop_ends_early(loops, instrumented):
    """The code after the loop runs, and the function returns its value."""
    loop = instrumented(loops.nested, EarlyStop(patience=3))
    _, _, seen = loop(epochs=30)
    assert len(seen) < 30
    assert min(seen) == seen[-4]
    assert loop.run.fit.stopped.by == "earlystop"


@pytest.mark.parametrize("first", [False, True])
def test_best_weights_are_those_of_the_value(loops, instrumented, first):
    """Evaluating again gives the best value bit for bit, even where training followed it."""
    loop = instrumented(loops.nested, EarlyStop(patience=4, restore_best=True))
    model, _, seen = loop(first=first)
    assert 0 < seen.index(min(seen)) < len(seen) - 1 < 29
    assert loops.evaluate(model) == min(seen)
    assert any("put back the weights of the best val_loss" in note for note in loop.run.notes)


def test_best_weights_in_a_loop_of_steps(loops):
    """Evaluated now and then, without epochs."""
    model, optimizer = loops.build()
    seen = []
    with hookcore.run(plugins=[EarlyStop(patience=3, restore_best=True)], only=[]) as run:
        for step in hookcore.batches(range(400)):
            model.train()
            optimizer.zero_grad()
            loops.F.cross_entropy(model(loops.X), loops.Y).backward()
            optimizer.step()
            if step % 7 == 6:
                val_loss = loops.evaluate(model)
                seen.append(val_loss)
                hookcore.log(val_loss=val_loss)
    assert step < 399
    assert "at step" in run.fit.stopped.reason
    assert seen[-1] != min(seen) == loops.evaluate(model)


def test_a_value_from_before_the_training(loops, instrumented):
    """An untrained model that is best cannot come back, and that is said."""
    plugin = EarlyStop(monitor="val_loss", mode="max", patience=3, restore_best=True)
    loop = instrumented(loops.nested, plugin)
    _, _, seen = loop(first=True)
    assert max(seen) == seen[0]
    assert any("cannot put back" in note for note in loop.run.notes)


def test_an_exception_leaves_the_weights(loops, instrumented):
    """Whoever catches it finds the model as it was."""
    loop = instrumented(loops.fails, EarlyStop(patience=50, restore_best=True))
    with pytest.raises(RuntimeError) as caught:
        loop()
    model, weights = caught.value.args
    assert same(dict(model.state_dict()), weights)
    assert not [note for note in loop.run.notes if "put back" in note]


def test_folds(loops, instrumented):
    """Each fold ends by its own values."""
    alone = []
    for fold in range(3):
        model, optimizer = loops.build(fold)
        values = []
        for _ in range(30):
            loops.train(model, optimizer)
            values.append(loops.evaluate(model))
            if len(values) - 1 - values.index(min(values)) >= 2:
                break
        alone.append(len(values))
    assert instrumented(loops.folds, EarlyStop(patience=2))(count=3) == alone
    assert max(alone) < 30


@pytest.mark.parametrize("restore_best", [False, True])
def test_shadow_changes_no_bit(loops, instrumented, restore_best):
    """Long enough that it would have acted, and it says that it would have."""
    plain, plain_out = printed(loops.nested)
    before = bits(*plain)
    loop = instrumented(
        loops.nested, EarlyStop(patience=2, shadow=True, restore_best=restore_best)
    )
    result, out = printed(loop)
    assert same(before, bits(*result))
    assert out == plain_out
    assert len([note for note in loop.run.notes if "would have stopped" in note]) == 1
    acting, _ = printed(instrumented(loops.nested, EarlyStop(patience=2)))
    assert not same(before, bits(*acting))


def test_until_it_acts_nothing_changes(loops, instrumented):
    """An active plugin that finds no reason is as good as none."""
    before = bits(*printed(loops.nested)[0])
    result, _ = printed(instrumented(loops.nested, EarlyStop(patience=40)))
    assert same(before, bits(*result))


def test_best_weights_travel(loops, instrumented):
    """With restore_best a checkpoint holds the best weights."""
    import torch

    plugin = EarlyStop(patience=40, restore_best=True)
    states = []

    class Keeper:
        @hookcore.hookimpl
        def on_epoch_end(self, epoch):
            if epoch == 9:
                states.append(plugin.state_dict())

    instrumented(loops.nested, plugin, Keeper())(epochs=12)
    (state,) = states
    tensors = [t for model in state["best_weights"] for t in model.values()]
    assert tensors
    assert all(isinstance(t, torch.Tensor) for t in tensors)
