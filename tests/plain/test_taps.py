"""What torch tells during a run, and that everything is taken back after it."""

from __future__ import annotations

import gc
import importlib

import pytest

import hookcore
from hookcore import hookimpl
from hookcore.hookspecs import EVENTS
from hookcore.testing import Recorder, isolated_run

torch = pytest.importorskip("torch")

from torch.nn.modules import module as nn_module  # noqa: E402
from torch.optim import lr_scheduler, optimizer  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

LOOP = """
def train(at_end=lambda model: None):
    model = make()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for epoch in range(2):
        for x, y in loader():
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            model(X)
        model.train()
        at_end(model)
    return model
"""

WATCHED = (
    (torch.autograd, "backward"),
    (torch.autograd, "grad"),
    (torch.nn.Module, "eval"),
    (torch.nn.Module, "__reduce_ex__"),
    (torch.nn.utils, "clip_grad_norm_"),
    (torch.nn.utils.clip_grad, "clip_grad_norm_"),
    (torch.optim.Optimizer, "__init__"),
    (torch.optim.Optimizer, "zero_grad"),
    (torch.utils.data.DataLoader, "__iter__"),
    (torch.amp.GradScaler, "step"),
    (torch.no_grad, "__enter__"),
    (torch.inference_mode, "__enter__"),
    *((kind, "step") for kind in vars(lr_scheduler).values() if isinstance(kind, type)),
)


def state_of_torch():
    """Every hook and attribute that a run may touch."""
    return {
        "step pre hooks": len(optimizer._global_optimizer_pre_hooks),
        "step post hooks": len(optimizer._global_optimizer_post_hooks),
        "births": len(nn_module._global_parameter_registration_hooks),
        "module hooks": (
            len(nn_module._global_forward_hooks),
            len(nn_module._global_forward_pre_hooks),
            len(nn_module._global_backward_hooks),
        ),
        **{f"{owner}.{name}": vars(owner).get(name) for owner, name in WATCHED},
    }


def hooks_on(model):
    return [
        len(getattr(module, name))
        for module in model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    ]


# -- taken back --------------------------------------------------------------------------------


@pytest.mark.parametrize("plugins", [(), (Recorder,)], ids=["no plugin", "all events"])
def test_everything_is_taken_back(lab, plugins):
    """Hooks, patches and module hooks, as before the run."""
    before = state_of_torch()
    outcome = lab.play(lab.module(LOOP).train, plugins=[plugin() for plugin in plugins], quiet=True)
    assert state_of_torch() == before
    assert set(hooks_on(outcome.result)) == {0}


def test_what_a_loop_of_one_level_needs_is_taken_back(tmp_path, monkeypatch):
    """It alone hears gradients being switched off, where its project may do so."""
    (tmp_path / "one_level.py").write_text(
        "def train(model, optimizer, look):\n"
        "    for step in range(3):\n"
        "        model(model.weight).sum().backward()\n"
        "        optimizer.step()\n"
        "        look()\n"
        "OFF = 'no_grad', 'inference_mode'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    train = hookcore.instrument(importlib.import_module("one_level").train, only=[], quiet=True)
    model, during, before = torch.nn.Linear(2, 2), [], state_of_torch()
    train(model, torch.optim.SGD(model.parameters(), 0.1), lambda: during.append(state_of_torch()))
    train.restore()
    changed = {name for name in before if before[name] != during[1][name]}
    modes = (torch.no_grad, torch.inference_mode)
    assert {name for name in changed if "__enter__" in name} == {f"{m}.__enter__" for m in modes}
    assert state_of_torch() == before


def test_taken_back_after_an_exception(lab):
    """However the loop is left."""
    before = state_of_torch()
    models = []

    def fail(model):
        models.append(model)
        raise ValueError("no")

    lab.play(lab.module(LOOP).train, fail)
    assert state_of_torch() == before
    assert set(hooks_on(models[0])) == {0}


def test_during_a_run_only_the_root_has_hooks(lab):
    """And never a global one on modules, which would slow down every call."""
    seen = []

    def look(model):
        seen.append((hooks_on(model)[3:], state_of_torch()["module hooks"]))

    lab.play(lab.module(LOOP).train, look)
    assert all(set(inner) == {0} and everywhere == (0, 0, 0) for inner, everywhere in seen)


def test_without_listeners_little_is_patched():
    """What nobody asks for is not there."""
    before = state_of_torch()
    with isolated_run():
        during = state_of_torch()
    changed = {name for name in before if before[name] != during[name]}
    assert not {name for name in changed if "clip" in name or "zero_grad" in name}
    assert not {name for name in changed if "lr_scheduler" in name or "GradScaler" in name}


COPYING = """
import copy, io, pickle

def train():
    model = make()
    optimizer = sgd(model)
    found = []
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, x, y)
        with torch.no_grad():
            model(X)
        clone = copy.deepcopy(model)
        found.append([(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in clone.modules()])
        found.append(len(pickle.dumps(model)))  # a tensor's address is in it
        buffer = io.BytesIO()
        torch.save(model, buffer)
        found.append(buffer.getvalue())
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        found.append(buffer.getvalue())
        clone(X)
    return found
"""


def test_copies_and_pickles_are_the_bare_ones(lab):
    """A model that is copied or saved in the loop carries nothing of ours."""
    # One module for both: a pickle names the module that its classes come from.
    module = lab.module(COPYING)
    bare = lab.bare(module.train)
    for plugins in ([], [Recorder()]):
        assert lab.play(module.train, plugins=plugins, quiet=True).same == bare.same


def test_a_user_s_own_reduce_is_kept(lab):
    """A module that says how it is pickled still does."""
    source = """
    import copy

    class Net(nn.Linear):
        def __reduce_ex__(self, protocol):
            return (make, ())

    def train():
        model = Net(4, 3)
        optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            with torch.no_grad():
                model(X)
            clone = copy.deepcopy(model)
        return type(clone).__name__
    """
    bare, heard = lab.compare(source)
    assert heard.result == bare.result == "Sequential"


# -- events ------------------------------------------------------------------------------------


def names(lab, source, *wanted, name="train", plugins=()):
    bare, heard = lab.compare(source, name=name, plugins=plugins)
    assert heard.same == bare.same
    return [n.removeprefix("on_") for n in heard.recorder.names if n in wanted]


def test_the_events_of_a_batch(lab):
    """In the order in which the loop does it."""
    recorder = Recorder()
    lab.play(lab.module(LOOP).train, plugins=[recorder], quiet=True)
    second = [i for i, n in enumerate(recorder.names) if n == "on_batch_start"][1]
    batch = recorder.names[second : recorder.names.index("on_batch_end", second) + 1]
    assert [name.removeprefix("on_") for name in batch] == [
        "batch_start",
        "zero_grad",
        "forward_start",
        "forward_end",
        "backward_start",
        "backward_end",
        "gradient_clip",
        "optimizer_step_start",
        "optimizer_step_end",
        "batch_end",
    ]


def test_what_the_events_carry(lab):
    """The user's own objects, and plain numbers."""
    got = {}

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_forward_start(self, fit, model, args, kwargs):
            got["forward"] = model is fit.models[0], len(args), dict(kwargs)

        @hookimpl
        def on_forward_end(self, output):
            got["output"] = tuple(output.shape)

        @hookimpl
        def on_backward_start(self, loss):
            got["loss"] = loss.requires_grad, loss.ndim

        @hookimpl
        def on_gradient_clip(self, norm, limit):
            got["clip"] = norm.ndim, limit

        @hookimpl
        def on_optimizer_step_start(self, fit, optimizer):
            got["step"] = optimizer is fit.optimizers[0], fit.step

        @hookimpl
        def on_scheduler_step(self, fit, scheduler):
            got["scheduler"] = scheduler is fit.schedulers[0]

    lab.play(lab.module(LOOP).train, plugins=[Keeper()])
    assert got == {
        "forward": (True, 1, {}),
        "output": (16, 3),
        "loss": (True, 0),
        "clip": (0, 1.0),
        "step": (True, 3),
        "scheduler": True,
    }


def test_backward_in_all_its_spellings(lab):
    """Of a tensor, and of several through autograd."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i in range(2):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), Y)
                if i:
                    torch.autograd.backward([loss, loss * 1.0], retain_graph=True)
                else:
                    loss.backward()
                optimizer.step()
        return weights(model)
    """
    # The first step's own backward went before the fit was known.
    assert names(lab, source, "on_backward_start") == ["backward_start"] * 3


def test_a_subclass_that_calls_super_steps_once(lab):
    """The global hooks of torch fire twice for it."""
    source = """
    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    def train():
        model = make(); optimizer = Mine(model.parameters(), lr=0.1)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 4


def test_an_optimizer_round_another_steps_once(lab):
    """As lookahead does, and others that wrap."""
    source = """
    class Round(torch.optim.Optimizer):
        def __init__(self, inner):
            self.inner = inner
            super().__init__(inner.param_groups, {"lr": 0.1})

        def step(self, closure=None):
            return self.inner.step(closure)

    def train():
        model = make(); optimizer = Round(sgd(model))
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 4


def test_a_step_that_raises_leaves_the_count_right(lab):
    """The next one is a step of its own, not one inside it."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i in range(3):
                def closure():
                    if i == 1:
                        raise ValueError("no")
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(X), Y)
                    loss.backward()
                    return loss
                try:
                    optimizer.step(closure)
                except ValueError:
                    pass
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 4


def test_lbfgs_is_one_step_of_many_forwards(lab):
    """Its closure runs inside the step."""
    source = """
    def train():
        model = make()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
        for epoch in range(2):
            def closure():
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), Y)
                loss.backward()
                return loss
            optimizer.step(closure)
        return weights(model)
    """
    found = names(lab, source, "on_optimizer_step_end", "on_backward_end")
    assert found.count("optimizer_step_end") == 2
    assert found[-1] == "optimizer_step_end"
    assert found.count("backward_end") >= 4


SCALED = """
def train(bad=(1,)):
    model = make(); optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for epoch in range(2):
        for i, (x, y) in enumerate(loader(4)):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if epoch == 0 and i in bad:
                loss = loss * float("inf")
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    return weights(model)
"""


def test_a_step_that_the_scaler_skips(lab):
    """It is told of and not counted."""
    steps = []

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_optimizer_step_skipped(self, fit):
            steps.append(fit.step)

    found = names(
        lab, SCALED, "on_optimizer_step_end", "on_optimizer_step_skipped", plugins=[Keeper()]
    )
    assert found == ["optimizer_step_end", "optimizer_step_skipped"] + ["optimizer_step_end"] * 6
    assert steps == [1]


def test_a_scaler_that_is_off_skips_nothing(lab):
    """Then the optimizer steps, whatever the gradients are."""
    source = SCALED.replace("init_scale=8.0", "enabled=False").replace("(1,)", "()")
    assert names(lab, source, "on_optimizer_step_skipped") == []


def test_a_scaler_is_the_fit_s(lab):
    """So that a checkpoint can hold it."""
    seen = []

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_train_start(self, fit):
            seen.append([type(scaler).__name__ for scaler in fit.scalers])

    gc.collect()  # of other tests'
    lab.play(lab.module(SCALED).train, plugins=[Keeper()])
    assert seen == [["GradScaler"]]


def test_a_chain_of_schedulers_steps_once(lab):
    """The outermost tells; its parts do not, nor does making one."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        schedulers = torch.optim.lr_scheduler
        warm = schedulers.LinearLR(optimizer, total_iters=2)
        then = schedulers.StepLR(optimizer, 1)
        both = schedulers.SequentialLR(optimizer, [warm, then], [1])
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            both.step()
        return weights(model), both.get_last_lr()
    """
    seen = []

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_scheduler_step(self, scheduler):
            seen.append(type(scheduler).__name__)

        @hookimpl
        def on_train_start(self, fit):
            seen.append([type(scheduler).__name__ for scheduler in fit.schedulers])

    assert names(lab, source, "on_scheduler_step", plugins=[Keeper()]) == ["scheduler_step"] * 2
    assert seen[0] == ["SequentialLR"]
    assert set(seen[1:]) == {"SequentialLR"}


def test_a_scheduler_of_the_user_s(lab):
    """Of his own class; and torch's one that watches a metric."""
    source = """
    class Halve(torch.optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [group["lr"] / 2 for group in self.optimizer.param_groups]

        def step(self, epoch=None):
            return super().step()

    def train():
        model = make(); optimizer = sgd(model)
        halve = Halve(optimizer)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            halve.step()
            plateau.step(1.0)
        return weights(model)
    """
    assert names(lab, source, "on_scheduler_step") == ["scheduler_step"] * 4


CHANGING = """
def train(rates=(0.1, 0.1, 0.05, 0.02)):
    model = make()
    optimizer = torch.optim.SGD([
        {"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5},
    ], lr=0.1)
    for epoch in range(4):
        for group in optimizer.param_groups[:1]:
            group["lr"] = rates[epoch]
        for x, y in loader():
            update(model, optimizer, x, y)
    return weights(model)
"""


def test_a_rate_that_changes_is_told_before_the_step(lab):
    """Whoever changed it; once, with group, old and new."""
    bare, heard = lab.compare(CHANGING)
    assert heard.same == bare.same
    changes = [
        (call["group"], call["old"], call["new"]) for call in heard.recorder.of("on_lr_change")
    ]
    assert changes == [(0, 0.1, 0.05), (0, 0.05, 0.02)]
    order = [n for n in heard.recorder.names if n in ("on_lr_change", "on_optimizer_step_start")]
    assert order.index("on_lr_change") == 4


def test_a_rate_that_a_plugin_sets_is_told_too(lab):
    """The event says what, not who."""

    class Setter:
        name, role = "setter", "control"

        @hookimpl
        def on_epoch_end(self, fit, epoch):
            if epoch == 0:
                fit.optimizers[0].param_groups[0]["lr"] = 0.01

    outcome = lab.play(lab.module(LOOP).train, plugins=[Setter()])
    assert [call["new"] for call in outcome.recorder.of("on_lr_change")] == [0.01]


def test_clipping_imported_by_name(lab):
    """A loop that says `from torch.nn.utils import clip_grad_norm_` is heard as well."""
    source = """
    from torch.nn.utils import clip_grad_norm_

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                clip_grad_norm_(model.parameters(), max_norm=2)
                optimizer.step()
        return weights(model)
    """
    module = lab.module(source)
    before = module.clip_grad_norm_
    outcome = lab.play(module.train)
    limits = [call["limit"] for call in outcome.recorder.of("on_gradient_clip")]
    assert limits == [2.0] * 3  # the first batch's came before the first step
    assert module.clip_grad_norm_ is before


def test_a_second_optimizer_that_steps_later_joins(lab):
    """Its model too; the fit goes on."""
    source = """
    def train():
        one, two = make(), make()
        first, second = sgd(one), sgd(two)
        for epoch in range(2):
            for x, y in loader():
                update(one, first, x, y)
                if epoch:
                    update(two, second, x, y)
        return weights(one, two)
    """
    seen = []

    class Keeper:
        name = "keeper"

        @hookimpl
        def on_epoch_end(self, fit):
            seen.append((len(fit.models), len(fit.optimizers), fit.step))

    lab.play(lab.module(source).train, plugins=[Keeper()])
    assert seen == [(1, 1, 2), (2, 2, 6)]


def test_an_optimizer_that_is_replaced(lab):
    """The fit goes on with the new one."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            if epoch:
                optimizer = torch.optim.Adam(model.parameters())
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end", "on_train_end") == [
        *["optimizer_step_end"] * 4,
        "train_end",
    ]


def test_an_optimizer_that_has_nothing_to_do_with_the_run(lab):
    """Stepped before any loop it teaches nothing, and another thread's is not ours."""
    source = """
    def train():
        other = make()
        update(other, sgd(other))
        model = make(); optimizer = sgd(model)
        for epoch in range(1):
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model, other)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 2


def test_workers_of_a_loader_are_inert(lab):
    """They are forked inside the run, and nothing of theirs is an event."""
    source = """
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, i):
            total = 0
            for j in range(3):
                total += j
            return X[i] + total * 0, Y[i]

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in DataLoader(Data(), 4, num_workers=1):
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert names(lab, source, "on_batch_end") == ["batch_end"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("evaluate", ["compiled(X)", "model(X)"])
def test_compiled_models(lab, evaluate):
    """Validations are seen, whichever of the two is called, and nothing is compiled anew."""
    source = f"""
    def train():
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        model = make()
        compiled = torch.compile(model, backend="eager")
        optimizer = sgd(model)
        for epoch in range(3):
            for x, y in loader():
                update(compiled, optimizer, x, y)
            model.eval()
            with torch.no_grad():
                {evaluate}
            model.train()
        return weights(model), counters["stats"]["unique_graphs"], dict(counters["graph_break"])
    """
    assert names(lab, source, "on_validation_end") == ["validation_end"] * 3


@pytest.mark.slow
def test_a_compiled_training_step(lab):
    """A function that is compiled with the whole step in it stays one graph."""
    source = """
    def train():
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        model = make(); optimizer = sgd(model)

        @torch.compile(backend="eager")
        def forward(x, y):
            total = 0
            for _ in range(2):
                total = total + F.cross_entropy(model(x), y)
            return total

        for epoch in range(3):
            for x, y in loader():
                optimizer.zero_grad()
                forward(x, y).backward()
                optimizer.step()
            with torch.no_grad():
                forward(X, Y)
        return weights(model), counters["stats"]["unique_graphs"], dict(counters["graph_break"])
    """
    assert names(lab, source, "on_epoch_end") == ["epoch_end"] * 3


@pytest.mark.parametrize("event", EVENTS)
def test_one_listener_alone(lab, event):
    """Whatever a single listener has armed is taken back, and changes no bit."""
    names_ = {}
    exec(f"def {event}(self):\n    pass", names_)
    alone = type("Alone", (), {event: hookimpl(names_[event]), "name": "alone"})()
    bare, ours = lab.pair(LOOP.replace("return model", "return weights(model)"))
    before = state_of_torch()
    assert lab.play(ours.train, plugins=[alone], quiet=True).same == lab.bare(bare.train).same
    assert state_of_torch() == before


def test_a_loop_inside_a_step(lab):
    """A closure that goes over the data is part of one step."""
    source = """
    def train():
        model = make()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
        data = [(X[:8], Y[:8]), (X[8:], Y[8:])]
        for epoch in range(3):
            def closure():
                optimizer.zero_grad()
                total = 0.0
                for x, y in data:
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    total += loss
                return total
            optimizer.step(closure)
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 3
    assert lab.story(source) == "T( E( b s . )E E( b s . )E E( b s . )E )T R"


def test_a_step_that_is_tried_again_counts(lab):
    """The first try has raised in the same iteration, alone or inside the step of another."""
    source = """
    class Fails(torch.optim.SGD):
        tries = 0

        def step(self, closure=None):
            Fails.tries += 1
            if Fails.tries % 2:
                raise RuntimeError("try again")
            return super().step(closure)

    class Round(torch.optim.SGD):
        def __init__(self, model):
            super().__init__(model.parameters(), lr=0.1)
            self.inner = Fails(model.parameters(), lr=0.1)

        def step(self, closure=None):
            try:
                self.inner.step()
            except RuntimeError:
                return super().step(closure)

    def train():
        Fails.tries = 0
        model = make(); optimizer = Fails(model.parameters(), lr=0.1)
        for x, y in loader():
            F.cross_entropy(model(x), y).backward()
            try:
                optimizer.step()
            except RuntimeError:
                optimizer.step()
        model = make(); optimizer = Round(model)
        for x, y in loader():
            update(model, optimizer, x, y)
        return weights(model)
    """
    assert names(lab, source, "on_optimizer_step_end") == ["optimizer_step_end"] * 4
    assert lab.story(source) == "T( b s . b s . )T T( b s . b s . )T R"


OVERRIDES = """
import copy

COUNTED = {
    "backward": (torch.autograd, "backward"), "eval": (nn.Module, "eval"),
    "loader": (DataLoader, "__iter__"), "optimizer": (torch.optim.Optimizer, "__init__"),
    "pickle": (nn.Module, "__reduce_ex__"), "clip": (nn.utils, "clip_grad_norm_"),
}

def counted(counts, name):
    owner, attribute = COUNTED[name]
    original = getattr(owner, attribute)

    def call(*args, **kwargs):
        counts[name] += 1
        return original(*args, **kwargs)

    setattr(owner, attribute, call)
    return owner, attribute, original, call

def one_epoch(model, optimizer):
    for x, y in loader():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        model(X)
    model.train()

def train(late):
    counts = dict.fromkeys(COUNTED, 0)
    model = make(); optimizer = sgd(model)
    for epoch in range(3):
        if epoch == late:
            mine = [counted(counts, name) for name in COUNTED]
        one_epoch(model, optimizer)
        copy.deepcopy(model)
    one_epoch(*((model := make()), sgd(model)))
    MINE[:] = mine
    return counts, weights(model)

MINE = []
"""


@pytest.mark.parametrize("late", [0, 1])
def test_what_the_user_puts_in_torch_s_place_stays(lab, late):
    """It is called as often as in the bare loop, put there before the first step or after it."""
    bare, ours = lab.pair(OVERRIDES)
    torch_s = {place: vars(place[0]).get(place[1]) for place in bare.COUNTED.values()}
    outcomes = []
    for module, run in ((bare, lab.bare), (ours, lab.play)):
        outcomes.append(run(module.train, late).same)
        for owner, name, _, mine in module.MINE:
            assert vars(owner)[name] is mine
            delattr(owner, name)
            if torch_s[owner, name] is not None:
                setattr(owner, name, torch_s[owner, name])
    assert outcomes[0] == outcomes[1]
    counts = outcomes[1][0][0]
    assert all(counts.values())
