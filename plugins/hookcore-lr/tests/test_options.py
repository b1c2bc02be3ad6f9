"""Options, their combinations, and functions by name; no torch."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

import hookcore
from hookcore_lr import LR
from hookcore_lr.courses import load_function
from hookcore_lr.policies import Policy


@pytest.fixture
def functions(monkeypatch):
    """The module lr_functions."""
    spec = importlib.util.spec_from_file_location(
        "lr_functions", Path(__file__).with_name("functions.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "lr_functions", module)


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "magic"},
        {"policy": "plateau", "factor": 1.0},
        {"policy": "plateau", "factor": 0.0},
        {"policy": "plateau", "patience": -1},
        {"policy": "plateau", "threshold_mode": "percent"},
        {"policy": "plateau", "min_lr": (0.1, -1.0)},
        {"policy": "loss", "grow": 0.9},
        {"policy": "loss", "shrink": 1.1},
        {"policy": "loss", "smoothing": 1.0},
        {"policy": "loss", "interval": 0},
        {"policy": "warmup", "steps": 0},
        {"policy": "warmup", "start_factor": 0.0},
        {"policy": "one_cycle", "max_lr": 0.0},
        {"policy": "one_cycle", "pct_start": 1.5},
        {"policy": "cosine", "t_max": 0},
        {"policy": "cosine", "per": "batch"},
        {"policy": "function", "returns": "nothing"},
        {"mode": "best"},
        {"monitor": ""},
    ],
)
def test_values_are_checked(options):
    """A wrong value is refused, by the field's name."""
    with pytest.raises(ValueError, match=list(options)[-1]):
        LR(**options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"policy": "cosine", "patience": 3}, "lr.patience has no effect with policy 'cosine'"),
        ({"factor": 0.5, "policy": "loss"}, "lr.factor has no effect"),
        ({"max_lr": 1.0}, "lr.max_lr has no effect with policy 'observe'"),
        ({"policy": "plateau", "per": "step"}, "lr.per has no effect"),
        ({"policy": "warmup"}, "policy 'warmup' needs lr.steps"),
        ({"policy": "one_cycle"}, "policy 'one_cycle' needs lr.max_lr"),
        ({"policy": "function"}, "policy 'function' needs lr.function"),
    ],
)
def test_combinations_are_checked(options, what):
    """Before the first iteration, in three parts."""
    with pytest.raises(hookcore.UsageError) as caught:
        Policy(LR(**options), "lr").prepare()
    assert caught.value.what.startswith(what)
    assert caught.value.why
    assert "-o lr." in caught.value.way_out


def test_refused_before_the_first_iteration():
    """A run does not even begin."""
    begun = []
    with pytest.raises(hookcore.UsageError), hookcore.run(
        only=[], plugins=[LR(policy="warmup")]
    ):
        begun.append(1)
    assert begun == []


@pytest.mark.parametrize(
    ("spelled", "why"),
    [
        ("halve", "no module:name"),
        (":halve", "no module:name"),
        ("no_such_module_at_all:f", "ModuleNotFoundError"),
        ("lr_functions:no_such", "AttributeError"),
        ("lr_functions:NUMBER", "is a int"),
        ("lr_functions:asks_too_much", "asks for weather"),
    ],
)
def test_functions_are_checked(functions, spelled, why):
    """Each thing that can be wrong with a name is said."""
    with pytest.raises(hookcore.UsageError) as caught:
        load_function(spelled, "lr")
    assert why in caught.value.why


def test_a_function_names_what_it_uses(functions):
    """Defaults of its own are left to it."""
    plugin = LR(policy="function", function="lr_functions:by_step", returns="lr")
    policy = Policy(plugin, "lr")
    policy.prepare()
    course = policy.course([{"lr": 0.4}, {"lr": 0.2}], SimpleNamespace(epoch=-1))
    assert course.lrs == [0.4, 0.2]
    course.advance(0.0, 0)
    assert course.lrs == [0.2, 0.1]


def test_unknown_lengths():
    """Where the loop does not tell how long it is, the option is needed."""
    fit = SimpleNamespace(has_epochs=True, total_epochs=None, total_batches=4, epoch=-1)
    for options in (
        {"policy": "one_cycle", "max_lr": 1.0},
        {"policy": "cosine"},
        {"policy": "cosine", "per": "step"},
    ):
        with pytest.raises(hookcore.UsageError, match="the loop does not tell"):
            Policy(LR(**options), "lr").course([{"lr": 0.1}], fit)


@pytest.mark.torch
def test_one_value_a_group():
    """As many as there are groups, or one for all."""
    plugin = LR(policy="one_cycle", max_lr=(1.0, 2.0), total_steps=10)
    with pytest.raises(hookcore.UsageError, match="has 2 values"):
        Policy(plugin, "lr").course([{"lr": 0.1}], SimpleNamespace())


def test_momentum_to_cycle():
    """An optimizer may have none."""
    plugin = LR(policy="one_cycle", max_lr=1.0, total_steps=10, cycle_momentum=True)
    with pytest.raises(hookcore.UsageError, match="neither momentum nor betas"):
        Policy(plugin, "lr").course([{"lr": 0.1}], SimpleNamespace())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"policy": "plateau", "patience": 1},
        {"policy": "loss"},
        {"policy": "warmup", "steps": 5},
        {"policy": "one_cycle", "max_lr": 0.1},
        {"policy": "cosine"},
        {"policy": "function", "function": "a:b"},
    ],
)
def test_about_and_hooks(options):
    """A clause each; a policy listens to what it needs and to nothing else."""
    plugin = LR(**options)
    assert plugin.about(None)[0].islower()
    assert (plugin.on_backward_start is None) == (plugin.policy != "loss")
    assert (plugin.on_log is None) == (plugin.policy not in ("observe", "plateau"))
    assert (plugin.on_scheduler_step is None) == (plugin.policy == "observe")


def test_observing_needs_no_torch():
    """A run without torch, start to end, under the default policy."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import hookcore, hookcore_lr\n"
        "with hookcore.run(only=[], plugins=[hookcore_lr.LR()], strict=True):\n"
        "    for epoch in hookcore.epochs(range(3)):\n"
        "        for _ in hookcore.batches(range(2)): pass\n"
        "        with hookcore.validation(): hookcore.log(val_loss=1.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reports changes of the learning rate" in done.stderr


def test_readme_has_every_option():
    """By name and in the order of the class, with its default where that is one word."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    table = readme.partition("## Options")[2].partition("## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| (`[^`]*`|[^|]*) \|", table)
    fields = [field for field in attrs.fields(LR) if field.init]
    assert [name for name, _ in rows] == [field.name for field in fields]
    words = {"none": None, "yes": True, "no": False, "a third": 1 / 3}
    for (name, default), field in zip(rows, fields, strict=True):
        said = words.get(default, default.strip("`"))
        assert said == (field.default if default in words else str(field.default)), name
