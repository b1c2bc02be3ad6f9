"""Where checkpoints go, which stay, and what happens where none can be written."""

from __future__ import annotations

import re
import signal

import pytest

pytestmark = pytest.mark.torch


def said(ended, pattern):
    return re.search(pattern, ended.err) is not None


def option(**options):
    return [part for k, v in options.items() for part in ("-o", f"checkpoint.{k}={v}")]


def contents(desk):
    files = desk.folder.joinpath("checkpoints").rglob("*")
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_nothing_of_the_training_changes(desk):
    for name in ("helpers.py", "trainer.py", "flat.py", "odd.py", "steps.py", "folds.py"):
        desk.put(name)
        bare = desk.bare(name)
        with_plugin = desk.run(*option(keep_best=1, every_n_steps=2, every_n_seconds=0.05), name)
        assert with_plugin.result == bare.result
        assert with_plugin.out == bare.out


def test_what_is_said(desk):
    name = desk.put("helpers.py")
    ended = desk.run(*option(keep_best=1, monitor="main.val_loss"), name)

    assert said(ended, "checkpoint .*saves each epoch .*in checkpoints/helpers, keeps the last 3")
    assert said(ended, "and the best 1  .off: -p no:checkpoint.")
    assert said(ended, "wrote 4 checkpoints, the last:  checkpoints/helpers/epoch-0004-step-000024")
    assert said(ended, r"the best \(main.val_loss 0\.\d+\):  checkpoints/helpers/epoch-000\d")
    quiet = desk.run("-q", name)
    assert quiet.err == ""


def test_the_last_and_the_best_stay(desk):
    name = desk.put("helpers.py")
    values = desk.bare(name, "--epochs", 8).result["history"]["val"]
    best = min(range(8), key=values.__getitem__) + 1
    desk.run(*option(keep_last=2, keep_best=1, monitor="main.val_loss"), name, "--epochs", 8)

    kept = [int(name[6:10]) for name in desk.checkpoints("helpers")]
    assert kept == sorted({7, 8, best})


def test_an_earlier_run_is_untouched(desk):
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 2)
    before = contents(desk)
    second = desk.run(*option(keep_last=1), name, "--epochs", 3)
    desk.run(*option(keep_last=1), name, "--epochs", 1)

    assert all(path.read_bytes() == content for path, content in before.items())
    assert said(second, "in checkpoints/helpers/run-2, .*an earlier run goes on with --resume")
    assert desk.checkpoints("helpers", "run-2") == ["epoch-0003-step-000018"]
    assert desk.checkpoints("helpers", "run-3") == ["epoch-0001-step-000006"]
    resumed = desk.run("--resume", name, "--epochs", 2)
    assert said(resumed, "continues from checkpoints/helpers/run-3/epoch-0001-step-000006")
    assert desk.checkpoints("helpers", "run-3")[-1] == "epoch-0002-step-000012"


def test_only_its_own_checkpoints_go(desk):
    """Two runs in one folder, a copy that the user made, and a file that he put into one."""
    name = desk.put("helpers.py")
    desk.run(name, "--epochs", 3)
    place = desk.folder / "checkpoints/helpers"
    (place / "epoch-0001-step-000006/notes.txt").write_text("mine")
    (place / "epoch-0002-step-000012").rename(place / "good one")
    desk.run("--resume", *option(keep_last=1), name, "--epochs", 6)

    assert desk.checkpoints("helpers") == ["epoch-0001-step-000006", "epoch-0006-step-000036"]
    assert (place / "epoch-0001-step-000006/notes.txt").exists()


def test_every_n_epochs_and_the_last_one(desk):
    name = desk.put("helpers.py")
    desk.run(*option(every_n_epochs=3), name, "--epochs", 7)

    steps = [int(name[6:10]) for name in desk.checkpoints("helpers")]
    assert steps == [3, 6, 7]


def test_epochs_where_there_are_none(desk):
    name = desk.put("steps.py")
    ended = desk.run(*option(every_n_epochs=2), name)

    assert ended.status == 2
    assert said(ended, "(?s)every_n_epochs = 2: the training loop has no epochs.*every_n_steps")


def test_steps_between_epochs(desk):
    name = desk.put("helpers.py")
    desk.run(*option(every_n_steps=4, keep_last=0), name, "--epochs", 2)

    assert desk.checkpoints("helpers") == [
        "epoch-0001-step-000004",
        "epoch-0001-step-000006",
        "epoch-0002-step-000008",
        "epoch-0002-step-000012",
    ]


def test_an_epochs_end_is_one_checkpoint_whatever_is_due_with_it(desk):
    """Its last step, and a validation in its last batch."""
    name = desk.put(
        "often.py",
        """
        import torch
        from torch import nn

        def check(model):
            model.eval()
            with torch.no_grad():
                val_loss = model(torch.ones(3, 2)).sum().item()
            model.train()
            return val_loss

        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(2):
            for step in range(4):
                optimizer.zero_grad()
                model(torch.ones(3, 2)).sum().backward()
                optimizer.step()
                if step % 2:
                    val_loss = check(model)
        """,
    )
    desk.run(*option(every_n_validations=1, every_n_steps=2, keep_last=0), name)

    assert desk.checkpoints("often") == [
        "epoch-0001-step-000002",
        "epoch-0001-step-000004",
        "epoch-0002-step-000006",
        "epoch-0002-step-000008",
    ]


def test_each_step_but_the_first_of_an_epoch(desk):
    """A loop shows its variables at the end of a batch that it was asked before."""
    name = desk.put("helpers.py")
    desk.run(*option(every_n_steps=1, keep_last=0), name, "--epochs", 2)

    steps = [int(folder.rpartition("-")[2]) for folder in desk.checkpoints("helpers")]
    assert [step for step in steps if step not in (1, 7)] == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


def test_every_n_seconds(desk):
    name = desk.put(
        "slow.py",
        """
        import time, torch
        from torch import nn

        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(30):
            model(torch.ones(3, 2)).sum().backward()
            optimizer.step()
            time.sleep(0.02)
        print("RESULT", step)
        """,
    )
    ended = desk.run(*option(every_n_seconds=0.15, keep_last=0), name)

    assert ended.result == 29
    assert 1 <= len(desk.checkpoints("slow")) <= 10
    desk.run("--resume", name)


def test_a_monitor_that_never_arrives(desk):
    name = desk.put("helpers.py")
    ended = desk.run(*option(keep_best=1, monitor="val_los", mode="min"), name)

    assert ended.status == 2
    assert said(ended, "(?s)checkpoint.monitor = 'val_los'.*there are: .*val_loss")
    assert desk.checkpoints("helpers") == ["epoch-0001-step-000006"]  # saved first


def test_a_monitor_that_nothing_goes_by(desk):
    name = desk.put("helpers.py")
    ended = desk.run(*option(monitor="val_loss"), name, "--epochs", 1)

    assert said(ended, "checkpoint.monitor = val_loss: nothing goes by it, keep_best is 0")
    assert ended.status == 0


# -- places that cannot be written to -------------------------------------------------------


@pytest.mark.parametrize("place", ["/proc/checkpoints", "taken"])
def test_a_directory_that_was_named(desk, place):
    name = desk.put("helpers.py")
    (desk.folder / "taken").write_text("a file")
    ended = desk.run(*option(directory=place), name)

    assert (ended.status, ended.out) == (2, "")
    assert said(ended, "(?s)checkpoint.directory = .*nothing can be saved there.*name another")


@pytest.mark.parametrize("place", ["~no one/ü [1]*", "a/../b c"])
def test_a_directory_with_an_odd_name(desk, place):
    """A ``~`` that names nobody's home is a name like any other, as in a shell."""
    name = desk.put("helpers.py")
    desk.run(*option(directory=place), name, "--epochs", 1)
    ended = desk.run("--resume-mode", "must", *option(directory=place), name, "--epochs", 2)

    assert said(ended, re.escape(f"continues from {place}/epoch-0001-step-000006"))


def test_the_default_directory(desk):
    name = desk.put("helpers.py")
    bare = desk.bare(name)
    (desk.folder / "checkpoints").write_text("a file")
    ended = desk.run(name)

    assert ended.status == 1
    assert ended.result == bare.result
    assert ended.err.index("no checkpoint will be saved, the training goes on") < len(ended.err)
    assert said(ended, "checkpoints is not a directory")
    assert (desk.folder / "checkpoints").read_text() == "a file"


def test_a_disk_that_is_full_from_the_start(desk, monkeypatch):
    import shutil

    usage = shutil.disk_usage(desk.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    name = desk.put("helpers.py")
    ended, typed = desk.run(name), desk.run(*option(directory="ck"), name)

    assert ended.status == 1
    assert said(ended, "has 100 bytes free")
    assert ended.result
    assert typed.status == 2
    assert "epoch" not in typed.out


def test_a_disk_that_fills_up(desk):
    """The limit on a file's size stands for a full disk: writing fails, reading does not."""
    import resource

    name = desk.put("helpers.py")
    bare = desk.bare(name)
    desk.run(name, "--epochs", 1)
    good = contents(desk)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        ended = desk.run("--resume", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert ended.status == 1
    assert ended.result == bare.result
    assert ended.err.count("the checkpoint was not saved (each epoch)") == 3  # tried each time
    assert said(ended, "File too large")
    assert contents(desk) == good
    assert desk.run("--resume", name).result == bare.result


# -- what cannot be resumed from ------------------------------------------------------------


def test_a_loop_that_cannot_be_resumed_says_so_and_is_saved(desk):
    name = desk.put(
        "stream.py",
        """
        import torch
        from torch import nn

        def numbers():
            yield from range(3)

        def main():
            torch.manual_seed(0)
            model = nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for epoch in numbers():
                for batch in range(3):
                    optimizer.zero_grad()
                    model(torch.ones(3, 2)).sum().backward()
                    optimizer.step()

        main()
        """,
    )
    ended = desk.run(name)

    assert said(ended, "not resumed from: the loop at stream.py:12 iterates over a generator")
    assert ended.err.count("iterates over a generator") == 1
    assert desk.checkpoints("stream")[0] == "epoch-0001-step-000003-partial"
    again = desk.run("--resume", name)
    assert said(again, "the run starts fresh")
    assert desk.checkpoints("stream", "run-2")


def test_an_iterator_that_is_carried_along(desk):
    name = desk.put(
        "carried.py",
        """
        import torch
        from torch import nn
        from torch.utils.data import DataLoader

        def main():
            torch.manual_seed(0)
            model = nn.Linear(2, 1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            batches = iter(DataLoader(torch.randn(40, 2), 2))
            for step in range(10):
                optimizer.zero_grad()
                model(next(batches)).sum().backward()
                optimizer.step()

        main()
        """,
    )
    ended = desk.run(*option(every_n_steps=3), name)

    assert said(ended, "no name of the loop leads to the DataLoader of batches")
    assert said(desk.run("--resume", name), "the run starts fresh")


# -- other ways in --------------------------------------------------------------------------


def test_an_instrumented_function(desk):
    name = desk.put(
        "called.py",
        """
        import sys, torch, hookcore
        from pathlib import Path
        from torch import nn

        def train(epochs=3):
            torch.manual_seed(0)
            data, losses = torch.randn(12, 2), []
            model = nn.Linear(2, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            for epoch in range(epochs):
                for part in torch.randperm(12).split(4):
                    loss = (model(data[part]) ** 2).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                if sys.argv[1:] == [str(epoch)]:
                    sys.exit(5)
            return losses

        bare = train()
        resume = "must" if sys.argv[1:] == ["go on"] else None
        options = {"checkpoint": {"directory": Path("checkpoints") / "train"}}
        again = hookcore.instrument(train, only=["checkpoint"], resume=resume, options=options)()
        print("RESULT", "true" if again == bare else "false")
        """,
    )
    first = desk.bare(name)
    assert first.result is True
    assert desk.checkpoints("train")[-1] == "epoch-0003-step-000009"
    assert desk.bare(name, "go on").result is True


def test_loops_that_are_declared_are_saved_for_their_weights(desk):
    name = desk.put(
        "declared.py",
        """
        import torch, hookcore
        from torch import nn

        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with hookcore.run(only=["checkpoint"], name="by hand"):
            for epoch in hookcore.epochs(range(2)):
                for part in hookcore.batches(torch.randn(12, 2).split(4)):
                    optimizer.zero_grad()
                    model(part).sum().backward()
                    optimizer.step()
        """,
    )
    ended = desk.bare(name)

    assert said(ended, "can be used, but not resumed from: the loop at declared.py")
    assert desk.checkpoints("by_hand") == [
        "epoch-0001-step-000003-partial",
        "epoch-0002-step-000006-partial",
    ]
