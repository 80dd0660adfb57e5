"""Clips through a trained task: what evaluate and predict share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unreel.clip import ClipBatch
from unreel.data import ClipDataset, ClipLoader, Example
from unreel.runs import Run
from unreel.tasks import Task


def nothing(example: Example, times: Tensor) -> Mapping[str, Tensor]:
    """Targets of clips about which nothing is known."""
    del example, times
    return {}


def build_loader(
    run: Run,
    examples: Sequence[Example],
    root: Path,
    encode_targets: Callable[[Example, Tensor], Mapping[str, Tensor]],
) -> ClipLoader:
    """A loader that treats clips as the run's validation clips were treated: same frames, same preprocessing."""
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
    )
    return ClipLoader(dataset, data.batch_size, data.workers, shared=False)


def outputs_of(task: Task, loader: ClipLoader, device: torch.device) -> Iterator[tuple[ClipBatch, Tensor]]:
    """Batches and the task's outputs for them, both on the CPU."""
    task = task.to(device).eval()
    with torch.inference_mode():
        for batch in loader:
            yield batch, task(batch.to(device)).cpu()
    task.cpu()


def described(example: Example) -> dict[str, Any]:
    """File and seconds of an example, as rows begin."""
    return {"file": example.path, "start": example.start, "end": example.end}
