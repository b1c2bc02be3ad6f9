"""Metrics from the loop's own variables: each value once, when its name was bound."""

from __future__ import annotations

import gc
import weakref

import pytest

from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]


def arrivals(outcome, *, sources=("epoch", "batch", "validation", "log")):
    """What arrived, one `(source, values)` an event."""
    return [
        (call["source"], call["metrics"])
        for call in outcome.recorder.of("on_log")
        if call["source"] in sources
    ]


def logs(lab, source, *args, plugins=()):
    bare, heard = lab.compare(source, *args, plugins=plugins)
    assert heard.same == bare.same
    return arrivals(heard)


EPOCHS = """
def train(values=(3.0, 2.0, 2.0)):
    model = make(); optimizer = sgd(model)
    for epoch in range(len(values)):
        for x, y in loader():
            update(model, optimizer, x, y)
        {body}
    return weights(model)
"""


def epochs(body):
    return EPOCHS.format(body=body)


def test_an_epochs_variable_arrives_at_its_end(lab):
    """Once an epoch."""
    assert logs(lab, epochs("val_loss = values[epoch]")) == [
        ("epoch", {"val_loss": 3.0}),
        ("epoch", {"val_loss": 2.0}),
        ("epoch", {"val_loss": 2.0}),
    ]


def test_an_unchanged_value_is_new_when_it_was_bound(lab):
    """Patience counts arrivals: an accuracy that stays 97 has arrived again."""
    assert logs(lab, epochs("correct = 97")) == [("epoch", {"correct": 97.0})] * 3


def test_a_left_over_value_is_none(lab):
    """Bound in the first epoch alone, it arrives then and never again."""
    assert logs(lab, epochs("if epoch == 0: best = 1.5")) == [("epoch", {"best": 1.5})]


def test_a_name_bound_again_arrives_again(lab):
    """Every second epoch, for one."""
    assert logs(lab, epochs("if epoch != 1: score = float(epoch)")) == [
        ("epoch", {"score": 0.0}),
        ("epoch", {"score": 2.0}),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "a = 1.5",
        "a: float = 1.5",
        "a, b = 1.5, 'text'",
        "(a, [b, *c]) = 1.5, ['text']",
        "a = b = 1.5; del b",
        "a = 1; a += 0.5",
    ],
)
def test_all_ways_to_bind(lab, body):
    """Plain names, however they are assigned to."""
    for source, values in logs(lab, epochs(body)):
        assert source == "epoch"
        assert values["a"] == 1.5


@pytest.mark.parametrize(
    "value",
    ["'text'", "[1.0]", "None", "True", "(1.0,)", "torch.ones(2)", "model", "1j", "object()"],
)
def test_no_numbers_are_no_metrics(lab, value):
    """Flags neither."""
    assert logs(lab, epochs(f"found = {value}")) == []


@pytest.mark.parametrize(
    "value", ["2", "2.0", "torch.tensor(2.0)", "torch.tensor([2])", "__import__('math').sqrt(4)"]
)
def test_numbers_are_metrics(lab, value):
    """Of Python, or tensors of one element."""
    assert logs(lab, epochs(f"found = {value}"))[0] == ("epoch", {"found": 2.0})


def test_a_dict_of_scalars(lab):
    """Each key by its own name; what is no number is left out."""
    body = "stats = {'loss': 1.0, 'name': 'x', 'acc': torch.tensor(0.5), 3: 1.0}"
    assert logs(lab, epochs(body))[0] == ("epoch", {"stats.loss": 1.0, "stats.acc": 0.5})


def test_a_helpers_variables_arrive_at_its_return(lab):
    """Under their own names."""
    source = """
    def one_epoch(model, optimizer):
        total = 0.0
        for x, y in loader():
            total += update(model, optimizer, x, y)
        mean = 4.0
        return total

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            one_epoch(model, optimizer)
        return weights(model)
    """
    found = logs(lab, source)
    assert [(source, sorted(values)) for source, values in found] == [
        ("epoch", ["mean", "total"])
    ] * 2


def test_a_value_that_is_passed_on_counts_once(lab):
    """The helper's at its return; the caller's name for the same object is no arrival."""
    source = """
    def evaluate(model):
        model.eval()
        with torch.no_grad():
            val_loss = F.cross_entropy(model(X), Y).item()
        model.train()
        return val_loss

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            val_loss = evaluate(model)
        return weights(model)
    """
    found = [sorted(values) for _, values in logs(lab, source)]
    assert found.count(["val_loss"]) == 2


def test_one_name_in_two_functions(lab):
    """The first owns the name; the other's is called after its function."""
    source = """
    def one_epoch(model, optimizer):
        loss = 5.0
        for x, y in loader():
            update(model, optimizer, x, y)

    def evaluate(model):
        model.eval()
        with torch.no_grad():
            model(X)
        loss = 3.0
        model.train()

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            one_epoch(model, optimizer)
            evaluate(model)
        return weights(model)
    """
    assert (
        logs(lab, source)
        == [
            ("epoch", {"loss": 5.0}),
            ("validation", {"evaluate.loss": 3.0}),
        ]
        * 2
    )


def test_bound_in_the_epoch_and_in_its_batches(lab):
    """A sum is the epoch's: begun there, grown in the batches."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        totals = []
        for epoch in range(2):
            total = 0.0
            for x, y in loader():
                total += update(model, optimizer, x, y)
            totals.append(total)
        return totals
    """
    bare, heard = lab.compare(source)
    assert [values["total"] for _, values in arrivals(heard)] == bare.result


def test_one_level_arrives_with_the_batch_that_bound_it(lab):
    """An evaluation every so many steps; the rest of the steps have no arrivals of it."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for step in range(4):
            update(model, optimizer)
            if step % 2 == 1:
                model.eval()
                with torch.no_grad():
                    val_loss = F.cross_entropy(model(X), Y).item()
                model.train()
        return weights(model)
    """
    found = logs(lab, source)
    assert [source for source, values in found if "val_loss" in values] == ["validation"] * 2


def test_batch_variables_arrive_on_request(lab):
    """`run.metrics.refresh()` has the current batch's read at its end, once."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for i in range(3):
                loss = float(10 * epoch + i)
                update(model, optimizer)
        return weights(model)
    """

    class Display:
        name = "display"

        @hookimpl
        def on_batch_start(self, run, fit, batch):
            if batch == 1:
                run.metrics.refresh()

    assert logs(lab, source) == []
    heard = lab.play(lab.module(source).train, plugins=[Display()])
    assert arrivals(heard) == [("batch", {"loss": 1.0}), ("batch", {"loss": 11.0})]


def test_a_variable_of_a_module(lab):
    """A script's loop at module level has its module's names."""
    source = """
    model = make(); optimizer = sgd(model)
    for epoch in range(2):
        for x, y in loader():
            update(model, optimizer, x, y)
        val_loss = 3.0 - epoch
    """
    from hookcore.testing import Recorder, isolated_run

    recorder = Recorder()
    with isolated_run(recorder):
        lab.module(source)
    found = [call["metrics"] for call in recorder.of("on_log")]
    assert found == [{"val_loss": 3.0}, {"val_loss": 2.0}]


def test_an_epoch_that_was_left_still_delivers(lab):
    """What it had bound when it broke off."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(3):
            for x, y in loader():
                update(model, optimizer, x, y)
            val_loss = 1.0 + epoch
            if epoch == 1:
                break
        return weights(model)
    """
    assert logs(lab, source) == [("epoch", {"val_loss": 1.0}), ("epoch", {"val_loss": 2.0})]


def test_returned_from_the_epoch(lab):
    """A return inside the loop reads the epoch's variables too."""
    source = """
    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(3):
            for x, y in loader():
                update(model, optimizer, x, y)
            val_loss = 1.0 + epoch
            if epoch == 1:
                return weights(model)
    """
    found = [values for _, values in logs(lab, source)]
    assert found == [{"val_loss": 1.0}, {"val_loss": 2.0}]


def test_logging_by_hand_goes_before(lab):
    """`hookcore.log` outside a run does nothing, inside it arrives at once."""
    source = epochs("import hookcore; hookcore.log(score=epoch)")
    assert logs(lab, source) == [("log", {"score": float(e)}) for e in range(3)]


# -- nothing is pinned -------------------------------------------------------------------------

KEEPING = """
import weakref

def train(graphs, batches):
    model = make(); optimizer = sgd(model)
    for epoch in range(2):
        for x, y in loader():
            batches.append(weakref.ref(x))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        mean = loss * 1.0
        graphs.append(weakref.ref(mean))
        first = x[0, 0]
"""


def test_a_kept_tensor_is_a_detached_copy(lab):
    """Neither the graph nor the batch that it is a view of stays alive."""
    graphs, batches = [], []
    outcome = lab.play(lab.module(KEEPING).train, graphs, batches)
    gc.collect()
    assert [reference() for reference in (*graphs, *batches)] == [None] * 6
    kept = outcome.run.metrics.latest("mean")
    assert kept.grad_fn is None
    assert not kept.requires_grad
    assert outcome.run.metrics.latest("first").untyped_storage().nbytes() == 4


def test_no_batch_is_alive_beside_the_users(lab):
    """While a batch is fetched, none that the bare loop would not hold."""
    source = """
    import gc, weakref

    def data(alive):
        for _ in range(4):
            batch = torch.randn(8, 4)
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            gc.collect(0)
            alive.append(sum(ref() is not None for ref in alive if not isinstance(ref, int)))

    def train():
        model = make(); optimizer = sgd(model)
        alive = []
        for epoch in range(2):
            for x in data(alive):
                update(model, optimizer, x, Y[:8])
                del x
        return [n for n in alive if isinstance(n, int)]
    """
    bare, heard = lab.compare(source)
    assert heard.result == bare.result == [0] * 8


def test_a_run_keeps_nothing_of_the_training(lab):
    """After it, the models and optimizers are the user's alone."""
    source = """
    import weakref

    def train():
        model = make(); optimizer = sgd(model)
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
            with torch.no_grad():
                model(X)
        return weakref.ref(model), weakref.ref(optimizer)
    """

    class Nosy:
        name = "nosy"

        @hookimpl
        def on_batch_end(self, fit):
            assert fit.models

    outcome = lab.play(lab.module(source).train, plugins=[Nosy()])
    del outcome
    gc.collect()
    model, optimizer = lab.play(lab.module(source).train).result
    gc.collect()
    assert (model(), optimizer()) == (None, None)


def test_an_exception_is_not_kept(lab):
    """Its traceback would pin the loop's tensors."""
    source = """
    class Big:
        pass

    def train(kept):
        import weakref
        model = make(); optimizer = sgd(model)
        big = Big()
        kept.append(weakref.ref(big))
        for epoch in range(2):
            for x, y in loader():
                update(model, optimizer, x, y)
                raise ValueError("no")
    """
    kept: list[weakref.ref] = []
    outcome = lab.play(lab.module(source).train, kept)
    gc.collect()
    assert outcome.result == ("ValueError", "no")
    assert kept[0]() is None
