"""Clips through a trained task: what evaluate and predict share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unreel.clip import ClipBatch, LongClip
from unreel.config import RunConfig
from unreel.data import LONG_FRAMES, ClipDataset, ClipLoader, Example, FilmLoader
from unreel.data.readers.text import TextSource
from unreel.errors import ReadError
from unreel.models import MODELS
from unreel.nn import SeesViews
from unreel.runs import Run
from unreel.tasks import Task
from unreel.tasks.base import Said


def nothing(example: Example, times: Tensor) -> Mapping[str, Tensor]:
    """Targets of clips about which nothing is known."""
    del example, times
    return {}


def build_loader(
    run: Run,
    examples: Sequence[Example],
    root: Path,
    encode_targets: Callable[[Example, Tensor], Mapping[str, Tensor]],
) -> ClipLoader | FilmLoader:
    """A loader that treats clips as the run's validation clips were treated: same frames, same preprocessing.

    Clips come in batches, or, where one of them is too long to be held, each by itself and a chunk at a time.
    """
    data = run.config.data
    dataset = ClipDataset(
        examples,
        root,
        sampling=data.sampling,
        preprocess=data.preprocess,
        augment=None,
        encode_targets=encode_targets,
        seed=run.config.seed,
        training=False,
        reading=run.reading,
    )
    if streams(run.config, dataset):
        return FilmLoader(dataset, run.config.training.chunk)
    return ClipLoader(dataset, data.batch_size, data.workers, shared=False)


def streams(config: RunConfig, dataset: ClipDataset) -> bool:
    """Whether clips go through the model a chunk at a time, with its state carried on.

    They do if the model learned so; or if it can, being causal, and a clip has more than `LONG_FRAMES` frames. Models
    that see views never do: of a scan all slices are held.
    """
    if config.training.through_time != "whole":
        return True
    sampling = config.data.sampling
    if issubclass(MODELS[config.model.name], SeesViews):
        return False
    if not config.model.causal or (sampling.policy != "all" and sampling.frames <= LONG_FRAMES):
        return False
    counts = (dataset.count(index) for index in range(len(dataset)))
    return any(isinstance(count, int) and count > LONG_FRAMES for count in counts)


def outputs_of(
    task: Task[Said], loader: ClipLoader | FilmLoader, device: torch.device
) -> Iterator[tuple[ClipBatch, Said]]:
    """Batches and what the task says of them, both on the CPU; those of long clips without their frames."""
    task = task.to(device).eval()
    with torch.inference_mode(), closing(loader):
        for batch in loader:
            if isinstance(batch, ClipBatch):
                yield batch, task(batch.to(device)).cpu()
            elif isinstance(batch, LongClip):
                try:
                    outputs = task(batch.to(device)).cpu()
                except ReadError:  # the loader lists it
                    continue
                yield batch.whole, outputs
    task.cpu()


def described(run: Run, root: Path, example: Example) -> dict[str, Any]:
    """File and seconds of an example, as rows begin; of a text also its `words`, as the model was given them."""
    row: dict[str, Any] = {"file": example.path, "start": example.start, "end": example.end}
    if run.reads_text:
        row["words"] = TextSource(root / example.path, run.config.data.text).tokens
    return row
