"""Training of one run: data, task and Lightning's Trainer put together, from the start or from where it was stopped."""

from __future__ import annotations

import logging
import warnings
from math import ceil
from pathlib import Path
from typing import NamedTuple, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from unreel.config import RunConfig
from unreel.data import (
    LONG_FRAMES,
    ClipDataset,
    ClipLoader,
    FilmLoader,
    FrameCache,
    SamplingConfig,
    Splits,
    class_weights,
    example_weights,
    frame_times,
    positive_weights,
)
from unreel.devices import best_device, leads
from unreel.errors import ConfigError
from unreel.models import Model, TextRNN, summarize
from unreel.runs import Run
from unreel.tasks import Caption, MultiTag, Regress, Task
from unreel.training import estimate
from unreel.training.callbacks import History, KeepWeights, ListLeftOut, ProgressBar, SeedEveryStep
from unreel.training.checkpoints import SafetensorsIO, check_resumable
from unreel.training.features import FeatureCache, GivesFeatures, features_stay
from unreel.training.statistics import fit_normalize
from unreel.training.stopping import KeepLast
from unreel.training.word_vectors import load_word_vectors

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # data.workers says how many
    ".*module\\(s\\) in eval mode.*",  # frozen encoders
    ".*smaller than the logging interval.*",  # short epochs
    ".*No (positive|negative) samples in targets.*",  # a small validation side: the value is told all the same
    ".*but have no `val_dataloader`.*",  # no validation side was asked for
    ".*`training_step` returned `None`.*",  # a film or chunk that cannot be read
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning on a newer torch
)
"""What Lightning and torchmetrics say of things that are meant so."""

STATISTICS_FRAMES = 16
"""Frames of a long clip from which mean and deviation of its pixels are told."""


class Best(NamedTuple):
    """The epoch whose weights were kept, counted from 0, and what was monitored on validation there, if anything."""

    epoch: int | None
    monitor: str
    value: float | None


def fit(run: Run, splits: Splits, console: Console | None = None, resume: bool = False) -> Best:
    """Train until done; afterwards `run.weights` holds the best weights on validation.

    Args:
        run: a folder made by `Run.create`.
        splits: what to learn from and what to choose on. The test side is not looked at.
        console: where progress is drawn.
        resume: go on from `run.checkpoint` if there is one; the result equals that of an undisturbed run, bit for bit
            on a CPU.

    Returns:
        The epoch whose weights were kept, and what was monitored there.

    Raises:
        ConfigError: a side of the split is empty, or settings cannot be met together.
        RunError: the checkpoint to go on from cannot be read, or another version wrote it.
        StoppedError: Ctrl-C or SIGTERM came; the state is saved.
    """
    config = run.config
    console = console or Console(stderr=True)
    check_sides(run, splits)
    resume = resume and run.checkpoint.is_file()
    if resume:
        check_resumable(run.checkpoint)
    task = build_task(run, splits)
    train_set, val_set = (build_dataset(run, task, splits, side) for side in ("train", "val"))
    model = cast(Model, task.model)
    if not resume:
        fit_normalize(model, _thinned(train_set) if is_long(run) else train_set)
        if isinstance(model, TextRNN) and model.config.embeddings is not None:
            coverage = load_word_vectors(model, model.config.embeddings, run.vocabulary, config.seed)
            console.print(str(coverage), highlight=False, markup=False)
    if task.from_features and isinstance(model, GivesFeatures):
        features = FeatureCache(
            cache_folder(run) / "features",
            model,
            config.data.workers,
            config.data.batch_size,
            best_device(config.training.accelerator),
            console,
        )
        train_set, val_set = features.of(train_set), features.of(val_set)
    run.write_text("model.txt", summarize(model, run.frame_shape, config.data.sampling.frames) + "\n")
    train_loader = build_loader(run, train_set)
    val_loader = build_loader(run, val_set)
    keeper = KeepWeights(run.weights, config.training.keep, f"val_{config.monitor}", task.mode)
    saver = KeepLast(run.checkpoint, config.training.checkpoint_minutes)
    lister = ListLeftOut(run.write_left_out, (train_loader, val_loader))
    trainer = build_trainer(run, task, keeper, saver, lister, console)
    if not resume and not task.from_features and leads():
        tell_costs(run, model, train_set, console)
    refuse_unused_parameters(config, trainer.world_size)
    if isinstance(train_loader, FilmLoader):
        refuse_several_processes(config.training.through_time, trainer.world_size)
        batches = len(train_loader)
    else:
        batches = ceil(ceil(len(train_set) / trainer.world_size) / config.data.batch_size)
    task.total_steps = config.training.epochs * ceil(batches / config.training.accumulate)
    validation = val_loader if splits.val else None
    with warnings.catch_warnings(), saver.listening():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        try:
            trainer.fit(task, train_loader, validation, ckpt_path=str(run.checkpoint) if resume else None)
        finally:
            train_loader.close()
            val_loader.close()
    if isinstance(train_loader, FilmLoader):
        train_loader.check_some_are_left()
    if trainer.is_global_zero:
        run.write_left_out({**train_loader.left_out, **val_loader.left_out})
    return Best(keeper.epoch, keeper.monitor, keeper.best)


def check_sides(run: Run, splits: Splits) -> None:
    """Refuse a split from which nothing can be learned, or chosen where something is to be chosen."""
    training = run.config.training
    chosen_by_validation = training.keep == "best" or training.patience is not None
    for side in ("train", "val") if chosen_by_validation else ("train",):
        if not getattr(splits, side):
            raise ConfigError(
                f"no clips for {side}: of {len(splits.examples)} clips none is there; change data.split, or do without "
                "validation: training.keep last, training.patience null"
            )


def build_task(run: Run, splits: Splits) -> Task:
    """The untrained task, with what it must know of the training clips."""
    weights = class_weights(splits.train, run.labels) if run.config.data.balance == "loss" else None
    task = run.fresh_task(weights, from_features=features_stay(run.config))
    if isinstance(task, MultiTag) and run.config.data.balance == "loss":
        films = ((example, frame_times(run.root / example.path, example, run.reading)) for example in splits.train)
        task.class_weights = positive_weights([task.encode(example, times)["labels"] for example, times in films])
    if isinstance(task, Regress):
        task.fit_scale(splits.train)
    if isinstance(task, Caption):
        task.fit_captions(splits.train)
    return task


def build_dataset(run: Run, task: Task, splits: Splits, side: str) -> ClipDataset:
    """The clips of one side as the run's configuration reads them."""
    data = run.config.data
    return ClipDataset(
        getattr(splits, side),
        run.root,
        sampling=data.sampling,
        preprocess=data.preprocess,
        augment=data.augment,
        encode_targets=task.encode,
        seed=run.config.seed,
        training=side == "train",
        cache=FrameCache(cache_folder(run) / "frames", run.reading) if data.cache == "disk" else None,
        memory=data.cache == "memory",
        frame_shape=run.frame_shape,
        reading=run.reading,
    )


def build_loader(run: Run, dataset: ClipDataset) -> ClipLoader | FilmLoader:
    """Batches of a dataset, or its films; shuffled, and balanced where asked for, if it is for training."""
    data, training = run.config.data, run.config.training
    balanced = dataset.training and data.balance == "sampler"
    weights = example_weights(dataset.examples, run.labels) if balanced else None
    if is_long(run):
        in_chunks = dataset.training and training.through_time == "truncated"
        return FilmLoader(dataset, training.chunk, in_chunks, dataset.training, run.config.seed, weights)
    return ClipLoader(
        dataset,
        data.batch_size,
        workers=0 if dataset.memory else data.workers,
        shuffle=dataset.training,
        seed=run.config.seed,
        weights=weights,
        pin_memory=torch.cuda.is_available(),
    )


def is_long(run: Run) -> bool:
    """Whether clips are read a chunk at a time."""
    return run.config.training.through_time != "whole"


def tell_costs(run: Run, model: Model, train_set: ClipDataset, console: Console) -> None:
    """Say what each way through time would need, where clips are long or are read a chunk at a time."""
    data, training = run.config.data, run.config.training
    if not is_long(run) and data.sampling.policy != "all" and data.sampling.frames <= LONG_FRAMES:
        return
    lengths = estimate.lengths_of(train_set)
    if not lengths or (not is_long(run) and max(lengths) <= LONG_FRAMES):
        return
    device = best_device(training.accelerator)
    a_frame = estimate.probe(model, train_set, training.chunk, device)
    if a_frame is None:
        return
    found = estimate.costs(a_frame, lengths, len(train_set), training.chunk, data.batch_size, data.workers)
    if run.task_type.readout != "frame" or not run.config.model.causal:
        found = found[:1]  # there is no other way
    estimate.tell(console, training.through_time, found, lengths, device)


def refuse_several_processes(way: str, processes: int) -> None:
    """Films differ in their number of chunks, so that processes would wait for each other for ever."""
    if processes > 1:
        raise ConfigError(
            f"training.through_time {way}: it trains in one process, training.devices gives {processes}; set "
            "training.devices 1"
        )


def refuse_unused_parameters(config: RunConfig, processes: int) -> None:
    """Epochs of concepts alone leave the decoder without gradients, and "ddp" would end at their second step."""
    strategy = config.training.strategy
    if processes > 1 and config.caption.concepts_first and strategy in ("auto", "ddp"):
        raise ConfigError(
            f"caption.concepts_first: its epochs leave the decoder unused, which training.strategy {strategy} cannot "
            f"do in {processes} processes; set training.strategy ddp_find_unused_parameters_true, or training.devices 1"
        )


def _thinned(dataset: ClipDataset) -> ClipDataset:
    """The same clips, a few frames of each."""
    few = SamplingConfig("uniform", frames=STATISTICS_FRAMES)
    return ClipDataset(
        dataset.examples,
        dataset.root,
        few,
        dataset.preprocess,
        frame_shape=dataset.frame_shape,
        reading=dataset.reading,
    )


def cache_folder(run: Run) -> Path:
    """Where decoded frames and features are kept."""
    return Path(run.config.data.cache_dir) if run.config.data.cache_dir else run.folder / "cache"


def build_trainer(
    run: Run, task: Task, keeper: KeepWeights, saver: KeepLast, lister: ListLeftOut, console: Console
) -> Trainer:
    """Lightning's Trainer as the run's configuration asks for it."""
    training = run.config.training
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    callbacks: list[Callback] = [
        SeedEveryStep(run.config.seed),
        keeper,
        History(run.folder / "history.csv"),
        ProgressBar(console, run.name, keeper.monitor),
        lister,
        saver,
    ]
    if training.patience is not None:
        patience = training.patience  # epochs without the monitored value, as those of captions' concepts, do not count
        callbacks.append(EarlyStopping(keeper.monitor, mode=task.mode, patience=patience, strict=False))
    return Trainer(
        max_epochs=training.epochs,
        accelerator=training.accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy=training.strategy,
        precision=training.precision,  # type: ignore[arg-type] (Lightning checks the name)
        gradient_clip_val=training.gradient_clip,
        accumulate_grad_batches=training.accumulate,
        logger=TensorBoardLogger(run.folder, name="tensorboard", version=""),
        callbacks=callbacks,
        plugins=[SafetensorsIO()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.folder,
    )
