"""The same training under other frameworks: one function a rival, features off or on.

``on`` means a progress bar, a schedule stepped with each batch, and once an epoch a validation with
early stopping and a checkpoint. Each function trains ``job.model`` and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import loops
import ours
import torch
from jobs import LR, Job


@attrs.frozen
class Rival:
    """One row of the race.

    Attributes:
        run: Trains a job, with the features or without.
        distribution: Whose version is printed.
        imports: What a user's script would import.
        note: What its ON row leaves to the loop or does otherwise.
    """

    run: Callable[[Job, bool], Any]
    distribution: str
    imports: str
    note: str = ""


def hookcore(job: Job, on: bool) -> None:
    """Ours: off is an open run without plugins."""
    (ours.hookcore_on if on else ours.hookcore_off)(job)


def bare(job: Job, on: bool) -> None:
    """The reference against itself: the noise floor."""
    (ours.by_hand if on else ours.bare)(job)


def lightning(job: Job, on: bool) -> None:
    """Lightning's Trainer."""
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def training_step(self, batch: Any, _index: int) -> Any:
            x, y = batch
            return job.loss(self.model(x), y)

        def validation_step(self, batch: Any, _index: int) -> None:
            x, y = batch
            self.log("val_loss", job.loss(self.model(x), y))

        def configure_optimizers(self) -> Any:
            optimizer = job.sgd()
            if not on:
                return optimizer
            schedule = {"scheduler": job.schedule(optimizer), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    callbacks = [
        TQDMProgressBar(),
        EarlyStopping("val_loss", patience=loops.PATIENCE),
        ModelCheckpoint(job.folder, save_top_k=-1),
    ]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=job.epochs,
        logger=False,
        callbacks=callbacks if on else [],
        enable_progress_bar=on,
        enable_checkpointing=on,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    trainer.fit(Module(), job.loader, job.validation if on else None)


def accelerate(job: Job, on: bool) -> None:
    """Accelerate: its own loop is the user's, so are the policies."""
    from accelerate import Accelerator
    from tqdm import tqdm

    accelerator = Accelerator(cpu=True)
    optimizer = job.sgd()
    model, optimizer, loader, validation, schedule = accelerator.prepare(
        job.model, optimizer, job.loader, job.validation, job.schedule(optimizer)
    )
    best, bad = float("inf"), 0
    model.train()
    for epoch in range(job.epochs):
        for x, y in tqdm(loader, file=job.sink) if on else loader:
            optimizer.zero_grad()
            loss = job.loss(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            if on:
                schedule.step()
        if on:
            val_loss = loops.validate(model, validation)
            accelerator.save_state(str(job.folder / str(epoch)))
            best, bad = (val_loss, 0) if val_loss < best else (best, bad + 1)
            if bad > loops.PATIENCE:
                break


def transformers(job: Job, on: bool) -> None:
    """Hugging Face's Trainer."""
    from torch.utils.data import SequentialSampler, default_collate
    from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = self.model(x)
            return {"loss": job.loss(logits, labels), "logits": logits}

    class InOrder(Trainer):
        def _get_train_sampler(self, *_args: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    def collate(items: Any) -> dict[str, Any]:
        return dict(zip(("x", "labels"), default_collate(items), strict=True))

    each = "epoch" if on else "no"
    arguments = TrainingArguments(
        str(job.folder),
        num_train_epochs=job.epochs,
        use_cpu=True,
        per_device_train_batch_size=job.batch,
        per_device_eval_batch_size=job.batch,
        max_grad_norm=0,
        lr_scheduler_type="constant",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        eval_strategy=each,
        save_strategy=each,
        disable_tqdm=not on,
        metric_for_best_model="loss" if on else None,
        load_best_model_at_end=on,
    )
    optimizer = job.sgd()
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    schedule = job.schedule(optimizer) if on else constant
    InOrder(
        Wrapped(),
        arguments,
        collate,
        job.data,
        job.validation_data if on else None,
        optimizers=(optimizer, schedule),
        callbacks=[EarlyStoppingCallback(loops.PATIENCE)] if on else [],
    ).train()


def ignite(job: Job, on: bool) -> None:
    """Ignite's engines."""
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping, LRScheduler
    from ignite.handlers.tqdm_logger import ProgressBar
    from ignite.metrics import Loss

    optimizer = job.sgd()
    trainer = create_supervised_trainer(job.model, optimizer, job.loss)
    if on:
        validation = job.validation
        evaluator = create_supervised_evaluator(job.model, {"loss": Loss(job.loss)})
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(validation))
        stop = EarlyStopping(loops.PATIENCE, lambda e: -e.state.metrics["loss"], trainer)
        evaluator.add_event_handler(Events.COMPLETED, stop)
        schedule = LRScheduler(job.schedule(optimizer))
        trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
        saved = {"model": job.model, "optimizer": optimizer, "schedule": schedule}
        saver = DiskSaver(str(job.folder), require_empty=False)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint(saved, saver, n_saved=None))
        ProgressBar(file=job.sink).attach(trainer)
    trainer.run(job.loader, max_epochs=job.epochs)


def keras(job: Job, on: bool) -> None:
    """Keras with torch as its backend; its checkpoints hold the weights alone."""
    import keras

    x = keras.Input(tuple(job.data.tensors[0].shape[1:]))
    out = keras.layers.TorchModuleWrapper(job.model, output_shape=(None, 10))(x)
    model = keras.Model(x, out)
    rate = keras.optimizers.schedules.PolynomialDecay(LR, job.total, 0.0) if on else LR
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    path = str(job.folder / "{epoch}.weights.h5")
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=loops.PATIENCE),
        keras.callbacks.ModelCheckpoint(path, save_weights_only=True),
    ]
    model.fit(
        job.loader,
        epochs=job.epochs,
        verbose=int(on),
        callbacks=callbacks if on else [],
        validation_data=job.validation if on else None,
        shuffle=False,
    )


def skorch(job: Job, on: bool) -> None:
    """Skorch's NeuralNet."""
    from skorch import NeuralNet
    from skorch.callbacks import Checkpoint, EarlyStopping, LRScheduler, ProgressBar
    from skorch.helper import predefined_split

    callbacks = [
        EarlyStopping(patience=loops.PATIENCE, sink=lambda *_: None),
        LRScheduler(
            torch.optim.lr_scheduler.LambdaLR,
            step_every="batch",
            lr_lambda=lambda s: 1 - s / job.total,
        ),
        Checkpoint(monitor=None, dirname=str(job.folder)),
        ProgressBar(),
    ]
    NeuralNet(
        job.model,
        torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=LR,
        max_epochs=job.epochs,
        batch_size=job.batch,
        train_split=predefined_split(job.validation_data) if on else None,
        callbacks=callbacks if on else "disable",
        verbose=0,
    ).fit(job.data)


def fastai(job: Job, on: bool) -> None:
    """The Learner of fastai; its checkpoints hold the weights alone."""
    from fastai.basics import Callback, CancelValidException, DataLoaders, Learner, OptimWrapper
    from fastai.callback.progress import ProgressCallback
    from fastai.callback.schedule import ParamScheduler, SchedLin
    from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback

    class NoValidation(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    sgd = functools.partial(torch.optim.SGD, momentum=0.9)
    learn = Learner(
        DataLoaders(job.loader, job.validation),
        job.model,
        torch.nn.CrossEntropyLoss(),
        lr=LR,
        path=job.folder,
        opt_func=functools.partial(OptimWrapper, opt=sgd),
    )
    if on:
        callbacks = [
            EarlyStoppingCallback(patience=loops.PATIENCE),
            SaveModelCallback(every_epoch=True),
            ParamScheduler({"lr": SchedLin(LR, 0.0)}),
        ]
        learn.fit(job.epochs, cbs=callbacks)
        return
    with learn.no_logging():
        learn.remove_cbs(learn.cbs.filter(lambda cb: isinstance(cb, ProgressCallback)))
        learn.fit(job.epochs, cbs=[NoValidation()])


def torchtnt(job: Job, on: bool) -> None:
    """TorchTNT's fit."""
    from torchtnt.framework import callbacks
    from torchtnt.framework.fit import fit
    from torchtnt.framework.train import train
    from torchtnt.framework.unit import EvalUnit, TrainUnit
    from torchtnt.utils.early_stop_checker import EarlyStopChecker

    class Unit(TrainUnit, EvalUnit):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.optimizer, self.losses = job.model, job.sgd(), []
            self.schedule = job.schedule(self.optimizer) if on else None
            self.val_loss = torch.tensor(1e9)  # read before the first validation

        def train_step(self, _state: Any, data: Any) -> None:
            x, y = data
            self.optimizer.zero_grad()
            loss = job.loss(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()

        def eval_step(self, _state: Any, data: Any) -> None:
            x, y = data
            self.losses.append(job.loss(self.model(x), y))

        def on_eval_end(self, _state: Any) -> None:
            self.val_loss = torch.stack(self.losses).mean()
            self.losses.clear()

    if not on:
        train(Unit(), job.loader, max_epochs=job.epochs)
        return
    features = [
        callbacks.TQDMProgressBar(),
        callbacks.DistributedCheckpointSaver(
            str(job.folder), save_every_n_epochs=1, knob_options=None
        ),
        callbacks.EarlyStopping("val_loss", EarlyStopChecker("min", loops.PATIENCE)),
    ]
    fit(
        Unit(),
        job.loader,
        job.validation,
        max_epochs=job.epochs,
        evaluate_every_n_epochs=1,
        callbacks=features,
    )


RIVALS = {
    "bare": Rival(bare, "torch", "import torch"),
    "hookcore": Rival(hookcore, "hookcore", "import hookcore, torch"),
    "ignite": Rival(ignite, "pytorch-ignite", "import ignite.engine, ignite.handlers"),
    "torchtnt": Rival(torchtnt, "torchtnt", "import torchtnt.framework"),
    "skorch": Rival(skorch, "skorch", "import skorch, skorch.callbacks"),
    "accelerate": Rival(
        accelerate, "accelerate", "from accelerate import Accelerator", "features by hand"
    ),
    "transformers": Rival(transformers, "transformers", "from transformers import Trainer"),
    "lightning": Rival(lightning, "lightning", "from lightning.pytorch import Trainer"),
    "fastai": Rival(fastai, "fastai", "import fastai.basics, fastai.callback.progress"),
    "keras": Rival(keras, "keras", "import keras"),
}
