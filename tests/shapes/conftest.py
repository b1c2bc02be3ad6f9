"""Loops of every shape: what is true of each of them, asked in one place.

A shape is a function ``train(n)`` of plain PyTorch, ``n`` being how often its outermost loop goes
round. What torch itself tells of the bare loop is the truth; what the events are is written down.
"""

from __future__ import annotations

import re

import attrs
import pytest

from hookcore import hookimpl

pytest.importorskip("torch")

from hookcore import snapshot as snapshots

ROUNDS = 3


@attrs.define(eq=False, slots=False)
class Truth:
    """What torch tells below everything that hookcore touches.

    Attributes:
        steps: Class of each optimizer that stepped, and how often, in the order of first steps.
        losses: What backward passes began from.
    """

    steps: list = attrs.field(factory=list)
    losses: list = attrs.field(factory=list)
    _depth: int = attrs.field(default=0, init=False)

    def __enter__(self):
        import torch
        from torch.optim import optimizer

        self._seen, self._autograd = {}, torch.autograd
        self._handles = (
            optimizer.register_optimizer_step_pre_hook(self._began),
            optimizer.register_optimizer_step_post_hook(self._ended),
        )
        self._backward, torch.autograd.backward = torch.autograd.backward, self._watched
        return self

    def __exit__(self, *_):
        for handle in self._handles:
            handle.remove()
        self._autograd.backward = self._backward
        self.steps = [(type(one).__name__, count) for one, count in self._seen.values()]
        self._seen = {}

    def _began(self, optimizer, *_):
        self._depth += 1

    def _ended(self, optimizer, *_):
        self._depth -= 1
        if not self._depth:
            self._seen.setdefault(id(optimizer), [optimizer, 0])[1] += 1

    def _watched(self, tensors, *args, **kwargs):
        self.losses.append(_number(tensors))
        return self._backward(tensors, *args, **kwargs)


class Census:
    """What a plugin sees of the models, the optimizers and the losses."""

    name = "census"

    def __init__(self):
        self.models, self.losses = [], []
        self._stepped = {}

    @property
    def steps(self):
        return [(type(one).__name__, count) for one, count in self._stepped.values()]

    @hookimpl
    def on_optimizer_step_end(self, optimizer):
        self._stepped.setdefault(id(optimizer), [optimizer, 0])[1] += 1

    @hookimpl
    def on_train_end(self, fit):
        self.models.append(sorted(type(model).__name__ for model in fit.models))

    @hookimpl
    def on_backward_start(self, loss):
        self.losses.append(_number(loss))


class Stopper:
    """Asks for the end of each fit in its second round."""

    name, role = "stopper", "control"

    @hookimpl
    def on_epoch_start(self, fit, epoch):
        if epoch == 1:
            fit.stop("enough")

    @hookimpl
    def on_batch_start(self, fit, batch):
        if batch == 1 and not fit.has_epochs:
            fit.stop("enough")


class Shelf:
    """Captures at each round's end, dies after the second, and begins from there."""

    name, role = "shelf", "persist"

    def __init__(self, folder, *, resume=False):
        self._folder, self._resume = folder, resume
        self.kind, self.notes, self.resumed = "", [], False

    @hookimpl
    def on_run_start(self, run):
        if self._resume:
            run.restore(snapshots.read(self._folder), self._folder)

    @hookimpl
    def on_resume(self):
        self.resumed = True

    @hookimpl
    def on_epoch_end(self, run, fit, how):
        if how == "finished" and not self._resume and not fit.replaying:
            run.capture("epoch")

    @hookimpl
    def on_batch_end(self, run, fit, how):
        if how == "finished" and not fit.has_epochs and not self._resume:
            run.capture("batch")  # of one level: an iteration is a round

    @hookimpl
    def on_checkpoint_save(self, fit, snapshot):
        rounds = fit.epochs_done if fit.has_epochs else fit.batches
        if fit.index == 0 and rounds >= 2 and not self._folder.exists():
            self.kind, self.notes = snapshot.header.kind, list(snapshot.notes)
            snapshots.write(snapshot, self._folder)
            raise SystemExit("dead")


class Inquiry:
    """Asks of a shape everything that is to hold.

    Args:
        lab: Makes and runs the modules.
        folder: For one checkpoint.
    """

    def __init__(self, lab, folder):
        self._lab, self._folder = lab, folder

    def __call__(
        self,
        source,
        story,
        *,
        models="Sequential",
        steps=None,
        stops=True,
        resumes=True,
    ):
        """Run a shape bare, watched, stopped and resumed.

        Args:
            source: The text of a module with ``train(n)``.
            story: Its events as words; ``3*[...]`` stands for three times what is inside.
            models: Classes of the first fit's models, sorted, as one text.
            steps: Steps by optimizer, where they are not those that torch tells.
            stops: Whether a stop in round 2 is the same as ``train(2)``.
            resumes: Whether a resume after round 2 is possible; or a piece of the reason why not,
                given with the checkpoint or by the resumed run; None where it is not asked.
        """
        bare, ours = self._lab.pair(source)
        with Truth() as truth:
            whole = self._lab.bare(bare.train, ROUNDS)
        self.is_watched(ours, whole, story, truth, models, steps)
        if stops:
            self.is_stopped(bare, ours)
        if resumes is not None:
            self.is_resumed(ours, whole, resumes)

    def is_watched(self, ours, whole, story, truth, models, steps):
        """The events are these, and the results are those of the bare loop."""
        assert self._lab.play(ours.train, ROUNDS, quiet=True).same == whole.same
        census = Census()
        heard = self._lab.play(ours.train, ROUNDS, plugins=[census])
        assert heard.story == unfolded(story)
        assert heard.same == whole.same
        assert census.steps == (truth.steps if steps is None else steps)
        assert " ".join(census.models[0] if census.models else ()) == models
        assert _is_in_order(census.losses, truth.losses)

    def is_stopped(self, bare, ours):
        """A stop in round 2 is as if there were no third: what follows the loop runs."""
        two = self._lab.bare(bare.train, 2)
        stopped = self._lab.play(ours.train, ROUNDS, plugins=[Stopper()])
        assert stopped.same == two.same
        assert "STOP" in stopped.story
        assert _plain(stopped.story) == _plain(self._lab.play(ours.train, 2).story)

    def is_resumed(self, ours, whole, resumes):
        """After a death in round 2 a resumed run ends as an uninterrupted one."""
        shelf = Shelf(self._folder)
        died = self._lab.play(ours.train, ROUNDS, plugins=[shelf], quiet=True)
        assert died.result == ("SystemExit", "dead")
        if shelf.kind != "epoch":
            assert resumes is not True, shelf.notes
            assert resumes in " ".join(shelf.notes)
            return
        shelf = Shelf(self._folder, resume=True)
        resumed = self._lab.play(ours.train, ROUNDS, plugins=[shelf], quiet=True)
        if resumes is not True:
            assert resumed.result[0] == "UsageError"
            assert resumes in resumed.result[1]
            return
        assert resumed.same == whole.same
        assert shelf.resumed


def unfolded(story):
    """A story with each ``3*[...]`` written out, the innermost first."""
    while "*[" in story:
        story = re.sub(
            r"(\d+)\*\[([^\[\]]*)\]", lambda m: " ".join([m[2].strip()] * int(m[1])), story
        )
    return " ".join(story.split())


def _plain(story):
    """Without what only tells how a loop ends: a stop, a break, the round that only breaks."""
    story = story.replace(" STOP", "").replace("E( )E<broke> ", "").replace("b .<broke> ", "")
    return re.sub(r"<\w+>", "", story)


def _is_in_order(some, every):
    """Whether ``some`` is what is left of ``every`` when a few are struck out."""
    rest = iter(every)
    return all(any(one == other for other in rest) for one in some)


def _number(tensors):
    first = tensors[0] if isinstance(tensors, (tuple, list)) else tensors
    return float(first.detach().sum())


@pytest.fixture
def inquiry(tmp_path):
    """Makes what asks a shape everything, of a lab or what stands for one."""
    return lambda lab: Inquiry(lab, tmp_path / "checkpoint")


@pytest.fixture
def inquire(lab, inquiry):
    """Ask a shape everything."""
    return inquiry(lab)
