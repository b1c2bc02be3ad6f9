"""Validations: a trained model is called and nothing of it is trained."""

from __future__ import annotations

import importlib
import textwrap

import pytest

import hookcore
from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

TRAIN = """
def train():
    model = make(); optimizer = sgd(model)
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, x, y)
{after}
    return weights(model)
"""

TWO = "b s . b s ."

# What an epoch does after its batches, and what it delivers in that place.
AFTER = {
    "a loop without gradients": (
        """
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x)
        model.train()
        """,
        "V( v v )V",
    ),
    "in eval mode, gradients on": (
        """
        model.eval()
        for x, y in loader():
            model(x)
        model.train()
        """,
        "V( v v )V",
    ),
    "without gradients, in training mode": (
        """
        with torch.no_grad():
            for x, y in loader():
                model(x)
        """,
        "V( v v )V",
    ),
    "with gradients, in training mode": (
        """
        for x, y in loader():
            model(x)
        """,
        "V( v v )V",
    ),
    "a call with gradients, in training mode": (
        """
        val_loss = F.cross_entropy(model(X), Y).item()
        """,
        "V( v )V",
    ),
    "one more step": (
        """
        update(model, optimizer)
        """,
        "s",
    ),
    "inference mode": (
        """
        model.eval()
        with torch.inference_mode():
            for x, y in loader():
                model(x)
        model.train()
        """,
        "V( v v )V",
    ),
    "no loop at all": (
        """
        model.eval()
        with torch.no_grad():
            model(X)
        model.train()
        """,
        "V( v )V",
    ),
    "two calls a batch are one batch": (
        """
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x), model(x)
        model.train()
        """,
        "V( v v )V",
    ),
    "a comprehension": (
        """
        model.eval()
        with torch.no_grad():
            found = [model(x) for x, y in loader()]
        model.train()
        """,
        "V( v v )V",
    ),
    "two loops of one pass": (
        """
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x)
            for x, y in loader():
                model(x)
        model.train()
        """,
        "V( v v v v )V",
    ),
    "left by a break": (
        """
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x)
                break
        model.train()
        """,
        "V( v )V",
    ),
    "gradients off alone: weights are averaged": (
        """
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.999)
        """,
        "",
    ),
    "eval mode alone": (
        """
        model.eval()
        model.train()
        """,
        "",
    ),
    "another model is called": (
        """
        with torch.no_grad():
            for x, y in loader():
                make()(x)
        """,
        "",
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_after_the_batches(lab, name):
    """One span an epoch, its batches counted; where nothing is evaluated, none."""
    code, expected = AFTER[name]
    after = textwrap.indent(textwrap.dedent(code).strip("\n"), " " * 8)
    inside = f"{TWO} {expected}".strip()
    # The epoch's variables belong to no batch: a validation without loop ends with its epoch.
    assert lab.story(TRAIN.format(after=after)) == f"T( E( {inside} )E E( {inside} )E )T R"


def test_it_ends_when_its_function_returns(lab):
    """What follows in the epoch is no part of it."""
    source = """
    def evaluate(model):
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x)
        model.train()

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            evaluate(model)
            evaluate(model)
        return weights(model)
    """
    epoch = f"E( {TWO} V( v v )V V( v v )V )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


@pytest.mark.parametrize(
    "head",
    [
        "@torch.no_grad()\ndef evaluate(model):",
        "@torch.inference_mode()\ndef evaluate(model):",
        "def evaluate(model):",
    ],
)
def test_a_helper_without_a_loop(lab, head):
    """A decorator switches the gradients off as well as a block does."""
    source = f"""
{head}
    model.eval()
    found = (model(X).argmax(1) == Y).float().mean().item()
    model.train()
    return found

def train():
    model = make(); optimizer = sgd(model)
    found = []
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, x, y)
        found.append(evaluate(model))
    return weights(model), found
"""
    epoch = f"E( {TWO} V( v )V )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


def test_inside_the_batches(lab):
    """Every so many steps: between the step and the end of the batch."""
    source = """
    def evaluate(model):
        model.eval()
        with torch.no_grad():
            for x, y in loader():
                model(x)
        model.train()

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i, (x, y) in enumerate(loader()):
                update(model, optimizer, x, y)
                if i == 1:
                    evaluate(model)
        return weights(model)
    """
    epoch = "E( b s . b s V( v v )V . )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


def test_inside_the_batches_with_gradients_in_training_mode(lab):
    """A pass over a loader without a step is one, whatever it forgets; one with a step is none."""
    source = """
    def evaluate(model):
        total = 0.0
        for x, y in loader():
            total += F.cross_entropy(model(x), y).item()
        return total

    def gather(model, optimizer):
        for x, y in loader():
            share(model, x, y)
        optimizer.step()

    def share(model, x, y):
        F.cross_entropy(model(x), y).backward()

    def train():
        model = make(); optimizer = sgd(model)
        found = []
        for epoch in range(2):
            for i, (x, y) in enumerate(loader()):
                update(model, optimizer, x, y)
                if i == 1 and epoch == 0:
                    found.append(evaluate(model))
                if i == 1 and epoch == 1:
                    gather(model, optimizer)
        return weights(model), found
    """
    assert lab.story(source) == "T( E( b s . b s V( v v )V . )E E( b s . b s s . )E )T R"


def test_a_call_that_belongs_to_the_step_is_none(lab):
    """A target without gradients; an action, drawn in each round and trained on in some."""
    source = """
    def act(model, x):
        with torch.no_grad():
            return model(x).argmax(1)

    def train():
        model = make(); optimizer = sgd(model)
        for step in range(8):
            action = act(model, X)
            if step < 3 or step % 2:
                with torch.no_grad():
                    target = model(X)
                loss = F.mse_loss(model(X), 0.9 * target.roll(1, 0))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            return weights(model), action.tolist()
    """
    assert lab.story(source) == "T( b s . b s . b s . b s . b . b s . b . b s . )T R"


ACTS = """
def train(every, act):
    model = make(); optimizer = sgd(model)
    for i in range(9):
        if act(i):
            model.train({train})
            with torch.no_grad():
                chosen = model(X).sum().item()
            model.train()
        if i % every == 0:
            update(model, optimizer)
    return weights(model), chosen
"""


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("every", [1, 3])
def test_what_acts_in_each_batch_is_none(lab, train, every):
    """An action or a guessed label that each batch begins with, whether it trains or not."""
    batch = {1: "b s . " * 9, 3: "b s . b . b . " * 3}[every]
    bare, ours = lab.pair(ACTS.format(train=train))
    heard = lab.play(ours.train, every, lambda i: True)
    assert heard.story == f"T( {batch})T R"
    assert heard.same == lab.bare(bare.train, every, lambda i: True).same


def test_an_evaluation_before_the_step_of_some_batches(lab):
    """It comes every so many, in eval mode: the batch before has none."""
    _, ours = lab.pair(ACTS.format(train=False))
    heard = lab.play(ours.train, 1, lambda i: i % 4 == 0)
    three = "b s . b s . b s ."
    assert heard.story == f"T( b s . {three} b V( v )V s . {three} b V( v )V s . )T R"


def test_an_evaluation_before_each_step_that_is_an_epoch(lab):
    """Full-batch training, whose one loop counts epochs, may begin each of them with one."""
    source = ACTS.format(train=False).replace("for i in", "for epoch in").replace("(i)", "(epoch)")
    _, ours = lab.pair(source.replace("i %", "epoch %"))
    heard = lab.play(ours.train, 1, lambda i: True)
    assert heard.story == f"T( E( b s . )E {'E( b V( v )V s . )E ' * 8})T R"


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("features", ["model(x)", "helper(model, x)"])
def test_a_loop_that_trains_on_what_a_model_gives(lab, mode, features):
    """A probe on a model that stays as it is: its batches are training once the first has told."""
    source = f"""
    def helper(model, x):
        features = model(x)
        return features

    def train():
        model = make(); optimizer = sgd(model)
        probe = nn.Linear(3, 3); other = sgd(probe)
        for epoch in range(2):
            model.train()
            for x, y in loader():
                update(model, optimizer, x, y)
            model.{mode}()
            for x, y in loader():
                with torch.no_grad():
                    given = {features}
                update(probe, other, given, y)
            with torch.no_grad():
                for x, y in loader():
                    probe(model(x))
        return weights(model, probe)
    """
    tested = "V( v v )V )E"
    assert lab.story(source) == (
        f"T( E( {TWO} V( v )V {TWO} {tested} E( {TWO} {TWO} {tested} )T R"
    )


def test_a_call_in_training_mode_that_no_step_follows(lab):
    """Without gradients, at the end of a batch: an evaluation that forgets eval()."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for step in range(4):
            update(model, optimizer)
            if step % 2:
                with torch.no_grad():
                    val_loss = F.cross_entropy(model(X), Y).item()
        return weights(model), val_loss
    """
    assert lab.story(source) == "T( b s . b s V( v )V . b s . b s V( v )V . )T R"


class Counts:
    """Listens to validations, and to no forward call."""

    name = "counts"

    def __init__(self):
        self.validations, self.hooks = 0, []

    @hookimpl
    def on_validation_end(self):
        self.validations += 1

    @hookimpl
    def on_batch_end(self, fit):
        self.hooks.append(len(fit.models[0]._forward_hooks))


WITHOUT_GRADIENTS = """
import torch
from torch.nn import functional as F

X, Y = torch.randn(8, 4), torch.randint(0, 3, (8,))

@torch.no_grad()
def helper(model):
    return F.cross_entropy(model(X), Y).item()

def train():
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 2:
            {evaluate}
"""


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """Validations of a project's only file, and whether each batch ended with hooks."""

    def run(evaluate):
        name = f"one_level_{abs(hash(evaluate))}"
        text = WITHOUT_GRADIENTS.replace("{evaluate}", evaluate)
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        counts = Counts()
        module = importlib.import_module(name)
        train = hookcore.instrument(module.train, only=[], plugins=[counts], quiet=True)
        train()
        train.restore()
        return counts.validations, counts.hooks

    return run


@pytest.mark.parametrize("evaluate", [
    "with torch.no_grad(): F.cross_entropy(model(X), Y).item()",
    "with torch.inference_mode(): F.cross_entropy(model(X), Y).item()",
    "helper(model)",
    "model.eval(); F.cross_entropy(model(X), Y).item(); model.train()",
    "with torch.set_grad_enabled(False): F.cross_entropy(model(X), Y).item()",
    "torch.set_grad_enabled(False); model(X); torch.set_grad_enabled(True)",
    "with torch.no_grad():\n                with torch.no_grad(): pass\n                model(X)",
], ids=["no_grad", "inference_mode", "decorated", "eval", "set", "calls", "nested"])  # fmt: skip
def test_a_loop_of_one_level_hears_forwards_once_gradients_are_off(heard, evaluate):
    """And no longer than the evaluation takes; that torch clips without gradients is none."""
    assert heard(evaluate) == (3, [0] * 6)


OTHERS = """
def another(model):
    model.eval()
    with torch.no_grad():
        model(X)
"""


@pytest.mark.parametrize("evaluate", [
    "model.eval(); helper(model); model.train()",
    "another(model); model.train()",
    "[helper(model) for _ in range(1)]",
    "off(helper)(model)",
])  # fmt: skip
def test_an_evaluation_is_heard_wherever_gradients_are_switched_off(heard, evaluate):
    """Near a call of ``eval()`` or far from one, and by another name."""
    source = f"{evaluate}\n{OTHERS}\nfrom torch import inference_mode as off\noff = off()"
    assert heard(source) == (3, [0] * 6)


def test_an_evaluation_is_heard_in_a_module_that_a_batch_imports(heard, tmp_path):
    """It was not there when the training was recognised."""
    source = "@torch.inference_mode()\ndef helper(model):\n    return model(torch.zeros(1, 4))\n"
    (tmp_path / "imported_late.py").write_text(f"import torch\n\n{source}")
    evaluate = "from imported_late import helper as late; late(model)"
    assert heard(evaluate) == (3, [0] * 6)


def test_where_each_batch_switches_gradients_off_an_evaluation_in_it_is_heard(heard):
    """However seldom it comes: hooks are there for as long as gradients are off."""
    evaluate = "pass\n        with torch.no_grad():\n            step == 5 and model(X)"
    assert heard(evaluate) == (1, [0] * 6)


def test_in_a_loop_of_one_level(lab):
    """A loop over steps evaluates inside its batches."""
    source = """
    @torch.no_grad()
    def evaluate(model):
        return [model(x) for x, y in loader()][0][0, 0].item()

    def train():
        model = make(); optimizer = sgd(model)
        step = 0
        while step < 4:
            update(model, optimizer)
            step += 1
            if step % 2 == 0:
                val_loss = evaluate(model)
        return weights(model), val_loss
    """
    assert lab.story(source) == "T( b s . b s V( v v )V . b s . b s V( v v )V . )T R"


def test_before_the_batches(lab):
    """An epoch may begin with it; before the first step nothing is known of any training."""
    source = """
    def evaluate(model):
        with torch.no_grad():
            model(X)

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            evaluate(model)
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert lab.story(source) == f"T( E( {TWO} )E E( V( v )V {TWO} )E )T R"


def test_after_the_training_it_is_none(lab):
    """A test of the final model belongs to no fit."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(1):
            for x, y in loader():
                update(model, optimizer, x, y)
        with torch.no_grad():
            for x, y in loader():
                model(x)
        return weights(model)
    """
    assert lab.story(source) == f"T( E( {TWO} )E )T R"


def test_a_model_that_raises_in_one_does_not_hide_the_next(lab):
    """Its call is over, though it told no end: training that follows is none inside it."""
    source = """
    class Raises(nn.Linear):
        calls = 0

        def forward(self, x):
            Raises.calls += 1
            if Raises.calls == 5:
                raise ValueError
            return super().forward(x)

    def train():
        Raises.calls = 0
        model = Raises(4, 3); optimizer = sgd(model)
        for epoch in range(4):
            model.eval()
            try:
                for x, y in loader():
                    model(x)
            except ValueError:
                pass
            model.train()
            for x, y in loader():
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert lab.story(source) == (
        f"T( E( {TWO} )E E( V( v )V {TWO} )E E( V( v v )V {TWO} )E E( V( v v )V {TWO} )E )T R"
    )


def test_an_exception_in_it_closes_it(lab):
    """Innermost first, as everything."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            with torch.no_grad():
                for x, y in loader():
                    model(x)
                    raise ValueError("no")
    """
    story = f"T( E( {TWO} V( v )V )E<exception> )T<exception> X R<exception>"
    assert lab.story(source) == story


def test_the_validation_batches_are_paired(lab):
    """Each begins and ends, with its index."""
    outcome = lab.play(lab.module(TRAIN.format(after=_loop())).train)
    recorder = outcome.recorder
    starts = [call["batch"] for call in recorder.of("on_validation_batch_start")]
    ends = [call["batch"] for call in recorder.of("on_validation_batch_end")]
    assert starts == ends == [0, 1, 0, 1]


def test_a_batch_of_it_is_one_item_of_its_loader(lab):
    """However often the model is called for it: token by token, for each member, not at all."""
    source = """
    def drawn(model, x, n):
        for _ in range(n):
            x = x + model(x).sum()
        return x

    @torch.no_grad()
    def evaluate(model, most):
        model.eval()
        for i, (x, y) in enumerate(loader(4)):
            if i < most:
                drawn(model, x, 3)
                [member(x) for member in (model, model)]
            else:
                break
        model.train()

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            evaluate(model, 2)
        return weights(model)
    """
    epoch = f"E( {TWO} V( v v )V )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


def test_a_helper_for_each_batch_does_not_end_it(lab):
    """What ends it is the function of its loop, not one that the loop calls."""
    source = """
    def score(model, x, y):
        loss = F.cross_entropy(model(x), y).item()
        return loss

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            with torch.no_grad():
                total = sum([score(model, x, y) for x, y in loader()])
        return weights(model), total
    """
    epoch = f"E( {TWO} V( v v )V )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


def test_a_model_that_is_no_module(lab):
    """Raw tensors, updated by hand: what goes over a loader without a backward is an evaluation."""
    source = """
    def evaluate(net):
        total = 0.0
        for x, y in loader():
            loss = F.cross_entropy(net(x), y)
            total += loss.item()
        return total

    def train():
        w = torch.zeros(4, 3, requires_grad=True)
        net = lambda x: x @ w
        found = []
        for _ in range(2):
            for i, (x, y) in enumerate(loader()):
                F.cross_entropy(net(x), y).backward()
                w.data.sub_(0.1 * w.grad)
                w.grad.zero_()
                if i == 1:
                    found.append(evaluate(net))
        return w.tolist(), found
    """
    epoch = "E( b . b V( v v )V . )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


DRAWING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.EmbeddingBag(3, 3)

    def forward(self, x):
        return self.inner(x)

@torch.no_grad()
def draw(model):
    model.eval()
    x = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(5):
        x = torch.cat([x, model({given}).argmax(1, keepdim=True)], 1)
    model.train()
    return x.tolist()

def train():
    model = Net(); optimizer = sgd(model)
    drawn = []
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, y[:, None], y)
        drawn.append(draw(model))
    return weights(model), drawn
"""


@pytest.mark.parametrize("given", ["x", "x[:, -3:]"])
def test_a_model_that_goes_on_from_its_own_output_is_drawn_from(lab, given):
    """A text that grows word by word, in a window or not, is no evaluation."""
    source = DRAWING.replace("{given}", given)
    assert lab.story(source) == f"T( E( {TWO} )E E( {TWO} )E )T R"


def test_a_loop_that_counts_may_evaluate(lab):
    """Batches that a number asks for, as many as that."""
    source = """
    @torch.no_grad()
    def evaluate(model):
        losses = torch.zeros(3)
        model.eval()
        for k in range(3):
            losses[k] = F.cross_entropy(model(X[k : k + 4]), Y[k : k + 4])
        model.train()
        return losses.mean().item()

    def train():
        model = make(); optimizer = sgd(model)
        found = []
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            found.append(evaluate(model))
        return weights(model), found
    """
    epoch = f"E( {TWO} V( v v v )V )E"
    assert lab.story(source) == f"T( {epoch} {epoch} )T R"


def test_its_metrics_are_what_arrived_in_it(lab):
    """The helper's own variables at its return; not those of the training before it."""
    source = """
    def evaluate(model):
        model.eval()
        total, correct = 0.0, 0
        with torch.no_grad():
            for x, y in loader():
                output = model(x)
                total += F.cross_entropy(output, y, reduction="sum").item()
                correct += (output.argmax(1) == y).sum().item()
        val_loss = total / 16
        accuracy = correct / 16
        model.train()
        return val_loss, accuracy

    def train():
        model = make(); optimizer = sgd(model)
        found = []
        for epoch in range(2):
            train_loss = 0.0
            for x, y in loader():
                train_loss += update(model, optimizer, x, y)
            found.append(evaluate(model))
        return found
    """
    outcome = lab.play(lab.module(source).train)
    ends = [call["metrics"] for call in outcome.recorder.of("on_validation_end")]
    assert [(end["val_loss"], end["accuracy"]) for end in ends] == outcome.result
    assert "train_loss" not in ends[0]


def test_what_was_bound_before_it_is_none_of_its_metrics(lab):
    """The epoch's loss arrives with the epoch's other variables, though the validation is open."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                loss = update(model, optimizer, x, y)
            train_loss = loss
            model.eval()
            with torch.no_grad():
                total = sum([F.cross_entropy(model(x), y).item() for x, y in loader()])
            model.train()
            val_loss = total / 2
        return weights(model)
    """
    _, heard = lab.compare(source)
    ended = heard.recorder.of("on_validation_end")
    assert [sorted(arguments["metrics"]) for arguments in ended] == [["total", "val_loss"]] * 2
    logged = [(sorted(log["metrics"]), log["source"]) for log in heard.recorder.of("on_log")]
    assert logged == [(["train_loss"], "epoch"), (["total", "val_loss"], "validation")] * 2


def test_an_open_validation_is_known(lab):
    """`fit.in_validation`, and the count of those that are over."""
    seen = []

    class Watcher:
        name = "watcher"

        @hookimpl
        def on_validation_batch_start(self, fit):
            seen.append((fit.in_validation, fit.validations))

        @hookimpl
        def on_epoch_end(self, fit):
            seen.append((fit.in_validation, fit.validations))

    lab.play(lab.module(TRAIN.format(after=_loop())).train, plugins=[Watcher()])
    assert seen == [(True, 0), (True, 0), (False, 1), (True, 1), (True, 1), (False, 2)]


def test_its_loop_is_known(lab):
    """`fit.where("validation")` once there was one."""
    seen = []

    class Watcher:
        name = "watcher"

        @hookimpl
        def on_validation_end(self, fit):
            seen.append(fit.where("validation"))

        @hookimpl
        def on_train_start(self, fit):
            seen.append(fit.where("validation"))

    module = lab.module(TRAIN.format(after=_loop()))
    lab.play(module.train, plugins=[Watcher()])
    lines = (lab.prelude + textwrap.dedent(TRAIN.format(after=_loop()))).splitlines()
    place = 1 + max(i for i, line in enumerate(lines) if "for x, y in loader" in line)
    where = f"{module.__name__}.py:{place}"
    assert seen == [None, where, where]


def test_declared_by_hand(lab):
    """A comment on the loop's line keeps a loop from being the batches, until a step says more."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():  # hookcore: validation
                update(model, optimizer, x, y)
        return weights(model)
    """
    assert lab.story(source) == "T( E( b s s . )E E( b V( v )V s V( v )V s . )E )T R"


def _loop():
    return """
        with torch.no_grad():
            for x, y in loader():
                model(x)
"""
