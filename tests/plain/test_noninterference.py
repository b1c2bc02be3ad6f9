"""With hookcore and without it: the same losses, weights, generators, results and variables."""

from __future__ import annotations

import gc
import runpy
import sys
import textwrap
import weakref
from pathlib import Path

import pytest

from hookcore import hookimpl
from hookcore.hookspecs import EVENTS
from hookcore.testing import Recorder

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

ROOT = Path(__file__).parents[2]


class Nosy:
    """Listens to everything and reads whatever it is given, as a monitor may."""

    name = "nosy"

    def __init__(self):
        self.read = 0


def _look(self, **given):
    run, fit = given.get("run"), given.get("fit")
    if run is not None:
        run.metrics.refresh()
        self.read += len(dict(run.metrics))
        run.capture_verdict()
    if fit is not None:
        self.read += sum(p.numel() for model in fit.models for p in model.parameters())
        self.read += len(repr(fit)) + len(str(fit.where("epoch")))
        copy = fit.copy_weights()
        del copy
    for name in ("loss", "norm", "output"):
        value = given.get(name)
        if hasattr(value, "sum"):
            self.read += float(value.detach().sum())


for _event in EVENTS.values():
    _names = {"look": _look}
    _given = ", ".join(f"{name}={name}" for name in _event.arguments)
    exec(
        f"def {_event.name}(self, {', '.join(_event.arguments)}):\n    look(self, {_given})\n",
        _names,
    )
    setattr(Nosy, _event.name, hookimpl(_names[_event.name]))


class Saver:
    """Has a checkpoint captured after every epoch, and drops it."""

    name, role = "saver", "persist"

    @hookimpl
    def on_epoch_end(self, run):
        run.capture("each epoch")

    @hookimpl
    def on_checkpoint_save(self, snapshot):
        assert snapshot.objects


# -- shapes ------------------------------------------------------------------------------------

SHAPES = {
    "everything at once": """
        import copy

        def one_epoch(model, optimizer, scheduler, scaler, data):
            model.train()
            total, seen = 0.0, 0
            for i, (x, y) in enumerate(data):
                optimizer.zero_grad(set_to_none=bool(i % 2))
                with torch.autocast("cpu", enabled=False):
                    loss = F.cross_entropy(model(x + 0.01 * torch.randn_like(x)), y)
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                scaler.step(optimizer)
                scaler.update()
                scheduler.step()
                total += loss.item() * len(y)
                seen += len(y)
                names = list(locals())
            return total / seen, names, list(locals())

        def evaluate(model, data):
            model.eval()
            correct = 0
            with torch.no_grad():
                for x, y in data:
                    correct += (model(x).argmax(1) == y).sum().item()
            return correct / 16, list(locals())

        def train():
            model = make(); optimizer = torch.optim.Adam(model.parameters(), 0.01)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
            scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
            best, kept, history = 0.0, None, []
            for epoch in range(4):
                random_number = random.random()
                history.append(one_epoch(model, optimizer, scheduler, scaler, loader(4)))
                accuracy, names = evaluate(model, loader(8))
                if accuracy >= best:
                    best, kept = accuracy, copy.deepcopy(model.state_dict())
                history.append((accuracy, names, random_number, list(locals())))
            model.load_state_dict(kept)
            state = {k: str(v) for k, v in optimizer.state_dict().items()}
            return weights(model), history, state, scheduler.state_dict(), list(locals())
        """,
    "a while loop with augmentation by hand": """
        def train():
            model = make(); optimizer = sgd(model)
            step, losses = 0, []
            while step < 6:
                index = torch.randint(0, 16, (4,))
                noise = random.gauss(0, 0.1)
                losses.append(update(model, optimizer, X[index] + noise, Y[index]))
                step += 1
                if step % 3 == 0:
                    with torch.no_grad():
                        losses.append(F.cross_entropy(model(X), Y).item())
            return weights(model), losses, list(locals())
        """,
    "two networks against each other": """
        def train():
            one, two = make(), make()
            first, second = sgd(one), torch.optim.Adam(two.parameters())
            out = []
            for epoch in range(2):
                for x, y in loader():
                    for parameter in two.parameters():
                        parameter.requires_grad_(False)
                    first.zero_grad()
                    (one(x).sum() - two(x).sum()).backward()
                    first.step()
                    for parameter in two.parameters():
                        parameter.requires_grad_(True)
                    out.append(update(two, second, x, y))
            return weights(one, two), out, list(locals())
        """,
    "batch norm and an average of the weights": """
        def make():
            return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))

        def train():
            model = make(); optimizer = sgd(model)
            average = torch.optim.swa_utils.AveragedModel(model)
            for epoch in range(3):
                for x, y in loader():
                    update(model, optimizer, x, y)
                average.update_parameters(model)
                average.eval()
                with torch.no_grad():
                    average(X)
                average.train()
            torch.optim.swa_utils.update_bn([x for x, _ in loader()], average)
            return weights(model, average.module), list(locals())
        """,
    "a generator of its own and workers' seeds": """
        def train():
            own = torch.Generator().manual_seed(5)
            data = DataLoader(TensorDataset(X, Y), 4, shuffle=True, generator=own)
            model = make(); optimizer = sgd(model)
            order = []
            for epoch in range(2):
                for x, y in data:
                    order.append(y.tolist())
                    update(model, optimizer, x, y)
            return weights(model), order, own.get_state().tolist(), list(locals())
        """,
    "hooks and parametrizations of the user's": """
        def train():
            model = make()
            torch.nn.utils.parametrizations.weight_norm(model[0])
            calls = []
            model.register_forward_hook(lambda m, i, o: calls.append(o.sum().item()))
            model[2].register_full_backward_hook(lambda m, i, o: calls.append(len(o)))
            optimizer = sgd(model)
            for epoch in range(2):
                for x, y in loader():
                    update(model, optimizer, x, y)
                with torch.no_grad():
                    model(X)
            hooks = len(model._forward_hooks), len(model._forward_pre_hooks)
            return weights(model), calls, list(locals())
        """,
    "an exception that is caught": """
        def train():
            model = make(); optimizer = sgd(model)
            out = []
            for epoch in range(3):
                try:
                    for i, (x, y) in enumerate(loader(4)):
                        out.append(update(model, optimizer, x, y))
                        if i == epoch:
                            raise RuntimeError(str(i))
                except RuntimeError as error:
                    out.append(str(error))
                    out.append(error.__traceback__.tb_lineno - train.__code__.co_firstlineno)
            return weights(model), out, list(locals())
        """,
    "locals of all kinds": """
        def train():
            model = make(); optimizer = sgd(model)
            later = None
            out = []
            for epoch, (a, *b) in zip(range(2), [(1, 2, 3), (4, 5)]):
                for x, y in loader():
                    def closure():
                        nonlocal later
                        later = epoch
                        return x.sum().item()
                    out.append((closure(), sorted(locals()), list(locals())))
                    update(model, optimizer, x, y)
                    del x, y
                squares = [n * n for n in b]
                with torch.no_grad() as nothing:
                    walrus = (z := model(X).sum().item())
                out.append({k: v for k, v in locals().items() if isinstance(v, (int, float))})
            return weights(model), out, later, list(locals())
        """,
}

PLUGINS = {
    "no plugin": (),
    "a recorder": (Recorder,),
    "a nosy one": (Nosy,),
    "checkpoints": (Saver,),
    "all": (Recorder, Nosy, Saver),
}


@pytest.mark.parametrize("plugins", PLUGINS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(lab, shape, plugins):
    """Bit for bit, with whatever plugins that only look."""
    bare, ours = lab.pair(textwrap.dedent(SHAPES[shape]))
    made = [plugin() for plugin in PLUGINS[plugins]]
    outcome = lab.play(ours.train, plugins=made, quiet=True)
    expected = lab.bare(bare.train)
    assert not isinstance(expected.result[0], str), expected.result
    assert outcome.same == expected.same
    assert outcome.run.fit.epochs_done or not outcome.run.fit.has_epochs


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_under_a_ledger(lab, shape):
    """Bit for bit, too, where every hook is measured and those that take too long rest."""
    bare, ours = lab.pair(textwrap.dedent(SHAPES[shape]))
    made = [plugin() for plugin in PLUGINS["all"]]
    settings = {"cost": True, "budget": "1%"}
    outcome = lab.play(ours.train, plugins=made, quiet=True, settings=settings)
    assert outcome.same == lab.bare(bare.train).same
    assert outcome.run.fit.epochs_done or not outcome.run.fit.has_epochs


def test_outside_a_run(lab):
    """Code with sites does what it did when nobody has opened a run."""
    for source in SHAPES.values():
        bare, ours = lab.pair(textwrap.dedent(source))
        assert lab.bare(ours.train).same == lab.bare(bare.train).same


# -- what is alive -----------------------------------------------------------------------------

ALIVE = """
import gc
import weakref

class Batch:
    def __init__(self, x):
        self.x = x

def data(alive):
    for _ in range(3):
        batch = Batch(torch.randn(4, 4))
        alive.append(weakref.ref(batch))
        yield batch
        del batch
        alive.append(sum(r() is not None for r in alive if not isinstance(r, int)))

def train():
    model = make(); optimizer = sgd(model)
    alive = []
    for epoch in range(3):
        for batch in data(alive):
            update(model, optimizer, batch.x, Y[:4])
        with torch.no_grad():
            model(X)
        val_loss = 1.0
    del batch
    alive.append(sum(r() is not None for r in alive if not isinstance(r, int)))
    return [n for n in alive if isinstance(n, int)]
"""


@pytest.mark.parametrize("plugins", PLUGINS)
def test_no_batch_is_kept(lab, plugins):
    """While the next one is made only the loop's own is alive, as without hookcore."""
    bare, ours = lab.pair(ALIVE)
    gc.disable()
    try:
        expected = lab.bare(bare.train).result
        made = [plugin() for plugin in PLUGINS[plugins]]
        found = lab.play(ours.train, plugins=made, quiet=True).result
    finally:
        gc.enable()
    assert found == expected


@pytest.mark.parametrize("plugins", PLUGINS)
def test_no_model_is_kept(lab, plugins):
    """After the run nothing of the training is alive, garbage collected or not."""
    source = """
    import weakref

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            with torch.no_grad():
                model(X)
        return [weakref.ref(thing) for thing in (model, optimizer, model[0].weight)]
    """
    module = lab.module(source)
    outcome = lab.play(module.train, plugins=[plugin() for plugin in PLUGINS[plugins]], quiet=True)
    references, run = outcome.result, weakref.ref(outcome.run)
    del outcome
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    assert run() is None


# -- the examples ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("digits.py", ["--epochs", "2"]),
        ("digits_steps.py", ["--steps", "60", "--accumulate", "2", "--eval-every", "20"]),
    ],
)
def test_examples(lab, capsys, monkeypatch, script, arguments):
    """The printed numbers, the generators and the returned accuracy are the bare ones."""
    pytest.importorskip("sklearn")
    text = (ROOT / "docs" / "examples" / script).read_text()
    bare, ours = lab.pair(text.replace('if __name__ == "__main__":\n    main()\n', ""), prelude="")
    expected = lab.bare(bare.main, arguments)
    said = capsys.readouterr().out
    recorder = Recorder()
    found = lab.play(ours.main, arguments, plugins=[recorder, Nosy(), Saver()], quiet=True)
    assert capsys.readouterr().out == said
    assert found.same == expected.same
    assert recorder.count("on_validation_end") >= 2


@pytest.mark.slow
def test_the_example_runs_as_a_script(monkeypatch, capsys):
    """The loop's file imports nothing of ours."""
    pytest.importorskip("sklearn")
    path = ROOT / "docs" / "examples" / "digits.py"
    assert "hookcore" not in path.read_text()
    monkeypatch.setattr(sys, "argv", ["digits.py", "--epochs", "1"])
    runpy.run_path(str(path), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out
