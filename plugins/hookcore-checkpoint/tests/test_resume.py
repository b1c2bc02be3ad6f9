"""Killed and continued, each script ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import importlib.util
import math
import os
import re

import pytest

pytestmark = pytest.mark.torch
AT_ONCE = "-o", "checkpoint.background=no"  # what a kill finds on the disk is then known
HAS_EARLYSTOP = importlib.util.find_spec("hookcore_earlystop") is not None


def said(ended, pattern):
    return re.search(pattern, ended.err) is not None


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def files(desk):
    found = desk.folder.joinpath("checkpoints").rglob("*")
    return {path: path.read_bytes() for path in found if path.is_file()}


SIZED = """
import sys, torch
from torch import nn
from torch.utils.data import DataLoader

def main():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(int(sys.argv[2])):
        for part in DataLoader(torch.randn(20, 3), int(sys.argv[1])):
            optimizer.zero_grad()
            (model(part) ** 2).mean().backward()
            optimizer.step()
            print("a step")
    print([p.tolist() for p in model.parameters()])

main()
"""


def is_sound(result):
    """Losses that are finite and differ from each other: there was something to get wrong."""
    found = numbers(result)
    assert all(map(math.isfinite, found))
    assert len(set(found)) > 5


@pytest.mark.parametrize("script", ["helpers", "trainer", "flat", "odd"])
@pytest.mark.parametrize("hit", ["batch/2/SIGKILL", "batch/9/SIGKILL", "batch/15/SIGKILL"])
def test_killed_in_mid_epoch(desk, script, hit):
    name = desk.put(f"{script}.py")
    bare = desk.bare(name)
    is_sound(bare.result)
    with_plugin = desk.run(name)
    assert with_plugin.result == bare.result

    killed = desk.run("-o", f"striker.hit={hit}", "-o", "checkpoint.directory=ck", name)
    assert killed.status == -9
    resumed = desk.run("--resume", "-o", "checkpoint.directory=ck", name)

    assert resumed.status == 0
    assert resumed.result == bare.result


@pytest.mark.parametrize("script", ["helpers", "odd"])
def test_killed_and_killed_again_in_mid_epoch(desk, script):
    """What a resumed run saves is as good as what a first one does."""
    name = desk.put(f"{script}.py")
    bare = desk.bare(name)
    often = *("-o", "checkpoint.every_n_steps=2"), *AT_ONCE

    assert desk.run("-o", "striker.hit=step/7/SIGKILL", *often, name).status == -9
    again = desk.run("--resume", "-o", "striker.hit=step/6/SIGKILL", *often, name)
    assert again.status == -9
    assert said(again, f"continues from checkpoints/{script}/epoch-000.-step-000006")
    resumed = desk.run("--resume", *often, name)

    assert said(resumed, f"continues from checkpoints/{script}/epoch-000.-step-000010")
    assert resumed.result == bare.result


COMPREHENSION = """
import torch

def main():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    for epoch in range(2):
        [step(x) for x in torch.randn(12, 3).split(4)]

main()
"""


def test_the_opening_lines_name_what_to_change(desk):
    """Only what is asked for and cannot be had: a checkpoint inside an epoch, here."""
    name = desk.put("short.py", COMPREHENSION)
    ended = desk.run("-o", "checkpoint.every_n_steps=2", name)

    assert said(
        ended,
        r"a resume goes back to an epoch's end, not between: "
        r"the loop at short.py:15 is a comprehension\n  write it as a for statement",
    )


@pytest.mark.parametrize("form", ["while", "for"])
@pytest.mark.parametrize("hit", ["step/9/SIGKILL", "step/26/SIGKILL"])
def test_a_loop_over_steps(desk, form, hit):
    name = desk.put("steps.py")
    bare = desk.bare(name, "--form", form)
    is_sound(bare.result)

    options = *("-o", f"striker.hit={hit}"), *("-o", "checkpoint.every_n_steps=4"), *AT_ONCE
    killed = desk.run(*options, name, "--form", form)
    assert killed.status == -9
    reached = (int(hit.split("/")[1]) - 1) // 4 * 4
    assert desk.checkpoints("steps")[-1] == f"step-{reached:06d}"  # met exactly
    resumed = desk.run("--resume", name, "--form", form)

    assert resumed.result == bare.result


def test_a_loop_without_epochs_is_saved_at_each_validation(desk):
    name = desk.put("steps.py")
    bare = desk.bare(name, "--steps", 40)

    assert desk.run("-o", "striker.hit=step/29/SIGKILL", *AT_ONCE, name).status == -9
    assert desk.checkpoints("steps") == ["step-000010", "step-000020"]
    resumed = desk.run("--resume", name, "--steps", 40)

    assert resumed.result == bare.result
    assert desk.checkpoints("steps")[-1] == "step-000040"


def test_each_fold_is_a_fit_with_names_of_its_own(desk):
    name = desk.put("folds.py")
    bare = desk.bare(name)

    assert desk.run("-o", "striker.hit=epoch/5/SIGKILL", *AT_ONCE, name).status == -9
    before = desk.checkpoints("folds")
    assert before[-2:] == ["epoch-0003-step-000012", "fit-1-epoch-0001-step-000004"]
    resumed = desk.run("--resume", name)

    assert resumed.result == bare.result
    assert set(before) < set(desk.checkpoints("folds"))
    assert len(desk.checkpoints("folds")) == 9  # three of each fit, none of them twice


@pytest.mark.parametrize("step", [13, 16])
def test_a_fold_that_was_finished_is_not_the_next_one(desk, step):
    """Killed between a fold's last checkpoint and the next one's first, once and again."""
    name = desk.put("folds.py")
    bare = desk.bare(name)
    assert desk.run("-o", f"striker.hit=step/{step}/SIGKILL", *AT_ONCE, name).status == -9
    assert desk.checkpoints("folds")[-1] == "epoch-0003-step-000012"
    options = "-o", "striker.hit=step/6/SIGKILL", *AT_ONCE
    again = desk.run("--resume", *options, name)

    assert again.status == -9
    assert desk.checkpoints("folds")[-1] == "fit-1-epoch-0001-step-000004"
    resumed = desk.run("--resume", name)
    assert said(resumed, "continues from checkpoints/folds/fit-1-epoch-0001-step-000004")
    assert resumed.result == bare.result


def test_workers_shuffle_and_augment_as_before(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name, "--workers", 2, "--epochs", 3)

    assert desk.run("-o", "striker.hit=batch/9/SIGKILL", name, "--workers", 2).status == -9
    resumed = desk.run("--resume", name, "--workers", 2, "--epochs", 3)

    assert resumed.result == bare.result


@pytest.mark.parametrize("script", ["helpers", "odd", "flat"])
def test_more_epochs_than_before(desk, script):
    """What the loop only reads, a list of rates above all, is as long as it is now."""
    name = desk.put(f"{script}.py")
    three, six = (["--epochs", 3], ["--epochs", 6]) if script == "helpers" else ([3], [6])
    bare = desk.bare(name, *six)

    short = desk.run(name, *three)
    resumed = desk.run("--resume", name, *six)

    assert short.result == desk.bare(name, *three).result
    assert resumed.result == bare.result


def test_a_finished_run_has_nothing_left_to_train(desk):
    name = desk.put("helpers.py")
    first = desk.run(name)
    again = desk.run("--resume", name)

    assert again.status == 0
    assert again.result == first.result
    assert said(again, "nothing was left to train")


def test_an_edited_script_is_refused(desk):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    source, before = (desk.folder / name).read_text(), files(desk)
    desk.put(name, source.replace("loss.backward()", "(2 * loss).backward()"))
    edited = desk.run("--resume", name)

    assert edited.status == 2
    assert files(desk) == before
    assert said(edited, "(?s)belongs to other code.*helpers.py.*start afresh")
    assert "epoch" not in edited.out

    desk.put(name, "# a comment\n" + source.replace("import argparse", "import argparse\n\n"))
    assert desk.run("--resume", name).status == 0

    desk.put(name, source.replace("def main():", "def main():\n    for _ in map(print, '.'): pass"))
    assert desk.run("--resume", name).status == 2


def test_another_model_is_refused(desk):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    before = files(desk)
    other = desk.run("--resume", name, "--width", 13)

    assert other.status == 2
    assert files(desk) == before
    assert said(other, r"(?s)another model \(model\).*size mismatch for 0.weight.*start afresh")
    assert "epoch" not in other.out


def test_batches_of_another_size_are_refused(desk):
    name = desk.put("sized.py", SIZED)
    desk.run(name, 4, 2)
    before = files(desk)
    other = desk.run("--resume", name, 5, 4)

    assert (other.status, other.out) == (2, "")
    assert said(other, "(?s)with other loops.*were of 4, now of 5.*then: 4 2; now: 5 4.*afresh")
    assert files(desk) == before
    resumed, bare = desk.run("--resume", name, 4, 4), desk.bare(name, 4, 4)
    assert resumed.out.splitlines() == bare.out.splitlines()[10:]


def test_a_checkpoint_of_another_script_is_refused(desk):
    """Before its first step; the loop that was not met is named."""
    desk.put("helpers.py")
    desk.run("helpers.py", "--epochs", 2)
    before = files(desk)
    other = desk.run(
        "--resume", "-o", "checkpoint.directory=checkpoints/helpers", desk.put("trainer.py")
    )

    assert (other.status, other.out) == (2, "")
    assert said(other, r"another run\n    the loop at helpers.py:\d+.*not reached\n  start afresh")
    assert files(desk) == before


def test_another_number_of_processes_is_refused(desk, monkeypatch):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    before = files(desk)
    monkeypatch.setenv("WORLD_SIZE", "2")
    other = desk.run("--resume", name)

    assert (other.status, other.out) == (2, "")
    assert said(other, "(?s)another size.*one process trained .*then, now 2 processes.*afresh")
    assert files(desk) == before


def test_a_newer_format_is_refused(desk):
    """Rather than going back to an older checkpoint in silence."""
    import hashlib

    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    manifest = desk.folder / "checkpoints/helpers/epoch-0002-step-000012/manifest.json"
    text = re.sub(rb'"format": \d+', b'"format": 999', manifest.read_bytes())
    zeros = text.replace(text[12:76], b"0" * 64, 1)
    manifest.write_bytes(zeros.replace(b"0" * 64, hashlib.sha256(zeros).hexdigest().encode(), 1))
    before = files(desk)
    newer = desk.run("--resume", name)

    assert (newer.status, newer.out) == (2, "")
    assert said(newer, "(?s)epoch-0002-step-000012 cannot be continued.*format is 999.*--upgrade")
    assert files(desk) == before


def test_a_checkpoint_that_was_half_written_is_passed_over(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    desk.run(name, "--epochs", 3)
    (desk.folder / "checkpoints/helpers/epoch-0003-step-000018/tensors.pt").unlink()
    before = files(desk)
    resumed = desk.run("--resume", "-o", "checkpoint.keep_last=0", name)

    assert said(resumed, "(?s)epoch-0003-step-000018 is damaged .*tensors.pt is missing")
    assert resumed.result == bare.result
    there = files(desk)
    latest = desk.folder / "checkpoints/helpers/latest"  # a link, which goes on
    assert all(there[path] == before[path] for path in before if latest not in path.parents)


def test_nothing_to_continue_from(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name, "--epochs", 1)
    must = desk.run("--resume-mode", "must", name, "--epochs", 1)
    auto = desk.run("--resume", name, "--epochs", 1)

    assert (must.status, must.out) == (2, "")
    assert said(must, "(?s)no checkpoint to continue from.*checkpoints/helpers.*--resume")
    assert auto.status == 0
    assert said(auto, "no checkpoint in checkpoints/helpers: the run starts fresh")
    assert auto.result == bare.result


def test_weights_alone(desk):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    weights = desk.run("--resume-mode", "weights", name, "--epochs", 2)

    assert weights.status == 0
    assert said(weights, "takes the weights of checkpoints/helpers/epoch-0002-step-000012")
    first = desk.bare(name, "--epochs", 2).result["history"]["val"]
    assert weights.result["history"]["val"][0] < first[0]  # it went on learning
    assert desk.checkpoints("helpers", "run-2")  # a run of its own


def test_weights_that_do_not_fit_stay_behind(desk):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    weights = desk.run("--resume-mode", "weights", name, "--epochs", 1, "--width", 13)

    assert weights.status == 0
    assert said(weights, r"weights of the checkpoint were taken; not taken were:\n    0.weight, "
                         r"\[12, 6\] there and \[13, 6\] here")  # fmt: skip
    assert weights.result


def test_a_damaged_checkpoint_is_passed_over(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    desk.run(name, "--epochs", 3)
    newest = desk.folder / "checkpoints/helpers/epoch-0003-step-000018/tensors.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = desk.run("--resume", name)

    assert said(resumed, "(?s)epoch-0003-step-000018 is damaged and passed over.*SHA-256")
    assert said(resumed, "continues from checkpoints/helpers/epoch-0002")
    assert resumed.result == bare.result
    assert "epoch-0003-step-000018-2" in desk.checkpoints("helpers")  # the bad one is untouched
    assert newest.read_bytes() == content


def test_a_new_process(desk):
    """Nothing imported before, as a user has it."""
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    killed = desk.process("run", "-o", "checkpoint.keep_last=2", name, "--epochs", 2)
    resumed = desk.process("run", "--resume", name)

    assert killed.status == resumed.status == 0
    assert resumed.result == bare.result


@pytest.mark.skipif(not HAS_EARLYSTOP, reason="needs hookcore-earlystop")
def test_patience_goes_on(desk):
    name = desk.put("helpers.py")
    stopping = [
        *("-p", "earlystop", "-o", "earlystop.monitor=main.val_loss", "-o", "earlystop.mode=max"),
        *("-o", "earlystop.patience=3", name, "--epochs", 12),
    ]
    whole = desk.run(*stopping)
    assert said(whole, "was stopped by earlystop")
    epochs = len(whole.result["history"]["val"])
    assert 3 < epochs < 12

    desk.run("-o", f"striker.hit=batch/{6 * (epochs - 1) + 2}/SIGKILL", *stopping)
    resumed = desk.run("--resume", *stopping)

    assert said(resumed, "earlystop goes on")
    assert resumed.result == whole.result


def test_a_stop_can_be_resumed_from(desk):
    """Stopped in the middle of a loop over steps, by a plugin, it goes on where it was."""
    name = desk.put("steps.py")
    bare = desk.bare(name)
    stopped = desk.run("-o", "striker.stop=5", "-o", "checkpoint.every_n_steps=100", name)

    assert said(stopped, "was stopped by striker")
    assert len(stopped.result["losses"]) == 5
    assert desk.checkpoints("steps") == ["step-000005"]
    assert desk.run("--resume", name).result == bare.result


def test_what_a_run_left_that_died_in_its_first_checkpoint_goes(desk):
    """Even where the run that comes to go on finds nothing, and saves nothing."""
    from hookcore.snapshot.draft import hidden_name

    name = desk.put("steps.py")
    place = desk.folder / "checkpoints/steps"
    dead = hidden_name("step-000003").replace(f"-{os.getpid()}-", "-4194305-")  # no such process
    place.joinpath(dead).mkdir(parents=True)
    place.joinpath(dead, "tensors.pt").write_bytes(b"half")
    ended = desk.run("--resume", name, "--form", "for")

    assert said(ended, "no checkpoint in checkpoints/steps: the run starts fresh")
    assert ended.result == desk.bare(name, "--form", "for").result
    assert list(place.iterdir()) == []
