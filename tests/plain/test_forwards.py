"""Hooks on the models come and go; where a plugin listens to forward calls they stay.

Programs are generated: loops of one level and of two, whose batches train, evaluate in the ways
that there are, and switch gradients off for something else. Each runs under a plugin that listens
to forward calls, and under one that does not.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import hookimpl

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("fewer_objects")]

HELPERS = """
def average(model):
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.9)

@torch.no_grad()
def helper(model):
    return model(X)

def held(model):
    with torch.no_grad():
        yield
        model(X)
        yield

def fails(model):
    with torch.no_grad():
        model(X[0, 0])

frozen = make()
"""

PIECES = {
    "train": "update(model, optimizer, x, y)",
    "train twice": "update(model, optimizer, x, y); update(model, optimizer, x, y)",
    "no_grad": "with torch.no_grad(): model(X)",
    "inference": "with torch.inference_mode(): model(X)",
    "set": "with torch.set_grad_enabled(False): model(X)",
    "set by calls": "torch.set_grad_enabled(False); model(X); torch.set_grad_enabled(True)",
    "decorated": "helper(model)",
    "eval": "model.eval(); model(X); model.train()",
    "both": "model.eval(); helper(model); model.train()",
    "eval inside": "with torch.no_grad(): model.eval(); model(X); model.train()",
    "average": "average(model)",
    "eval of another": "frozen.eval(); frozen(X)",
    "another": "with torch.no_grad(): frozen(X)",
    "switched": "with torch.no_grad(), torch.enable_grad(): update(model, optimizer, x, y)",
    "loader": "for a, b in loader(): helper(model)",
    "parts": "for a in X.split(8):\n    with torch.no_grad(): model(a)",
    "held": "kept = held(model); next(kept); average(model); next(kept); kept.close()",
    "fails": "try: fails(model)\nexcept Exception: pass",
}


@st.composite
def programs(draw):
    """The source of one: what each batch does, always or in some of its iterations."""
    lines = []
    for name in draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=4)):
        every, at = draw(st.sampled_from([(1, 0), (2, 1), (3, 2), (3, 0)]))
        lines.append(f"if step % {every} == {at}:")
        lines += [f"    {line}" for line in PIECES[name].splitlines()]
    lines.insert(draw(st.sampled_from([0, len(lines)])), "update(model, optimizer, x, y)")
    head = ["for x, y in [(X[:8], Y[:8]), (X[8:], Y[8:])] * 4:"]
    if draw(st.booleans()):
        head = ["for epoch in range(2):", *(f"    {line}" for line in head)]
    indent = "    " * (len(head) + 1)
    return "\n".join([
        HELPERS,
        "def train():",
        "    model = make(); optimizer = sgd(model); step = 0",
        *(f"    {line}" for line in head),
        *(f"{indent}{line}" for line in lines),
        f"{indent}step += 1",
    ])  # fmt: skip


EVENTS = {
    "on_batch_start": "b",
    "on_optimizer_step_end": "s",
    "on_validation_start": "V(",
    "on_validation_batch_start": "v",
    "on_validation_end": ")V",
    "on_batch_end": ".",
    "on_epoch_end": "/",
}


def listener(*others):
    """A plugin that writes these events down, and listens to others for nothing."""
    words, members = [], {"name": "listener"}
    for event in (*EVENTS, *others):
        made = {}
        exec(f"def {event}(self): words.append({EVENTS.get(event, '')!r})", {"words": words}, made)
        members[event] = hookimpl(made[event])
    return type("Listener", (), members)(), words


@settings(max_examples=40)
@given(programs())
def test_who_listens_to_forward_calls_changes_no_other_event(lab, source):
    """Nor what is computed; and each runs as it does without hookcore."""
    bare, ours = lab.pair(source)
    stories = []
    for others in ((), ("on_forward_start",)):
        plugin, words = listener(*others)
        assert lab.play(ours.train, plugins=[plugin], quiet=True).same == lab.bare(bare.train).same
        stories.append("".join(words))
    assert stories[0] == stories[1]
