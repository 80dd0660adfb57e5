"""Reconstructions: the pictures that an autoencoder makes of chosen frames, and the copies that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import torch
from torch import Tensor

from unreel.clip import Clip, ClipBatch, LongClip
from unreel.data import ClipDataset, Example, SamplingConfig
from unreel.devices import best_device
from unreel.errors import ConfigError, ReadError
from unreel.inference.evaluate import Evaluation, evaluate_task
from unreel.inference.outputs import build_loader, nothing
from unreel.models import Autoencoder, FrameCopy
from unreel.nn import Normalize
from unreel.runs import Run

_CLIPS, _FRAMES = 64, 16  # from which the mean frame is told


def evaluate_copies(run: Run, trained_on: Sequence[Example], examples: Sequence[Example]) -> dict[str, Evaluation]:
    """The controls that learn nothing, on the same examples: the mean frame of training, and the previous frame.

    Args:
        run: of an autoencoder.
        trained_on: the training examples.
        examples: what is measured on.

    Raises:
        ConfigError: no training clip can be read any more.
    """
    task = run.trained_task()
    normalize = _autoencoder(task.model).normalize
    mean = _mean_frame(run, trained_on, normalize)
    found = {}
    for name, previous in (("mean_frame", False), ("previous_frame", True)):
        copies = run.task_type(FrameCopy(normalize, mean, previous), run.labels, run.config.optim)
        found[name] = evaluate_task(run, copies, examples, run.root)
    return found


def reconstruct(run: Run, example: Example, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Frames of an example as the model sees them, and what it makes of them, each (n, C, H, W).

    Frames of uint8 come as numbers from 0 to 1, and so do their reconstructions, which may lie a little outside.

    Args:
        run: of an autoencoder.
        example: its path is relative to `run.root`.
        places: numbers of n frames among those that the run takes of the example, ascending.

    Raises:
        ReadError: the file cannot be read.
    """
    device = best_device(run.config.training.accelerator)
    model = _autoencoder(run.trained_task().model).to(device)
    wanted = set(places)
    frames: list[Tensor] = []
    made: list[Tensor] = []
    loader = build_loader(run, [example], run.root, nothing)
    with torch.inference_mode(), closing(loader):
        for batch in loader:
            if not isinstance(batch, ClipBatch | LongClip):
                continue
            state, begin = None, 0
            pieces = map(batch.read, range(batch.chunks)) if isinstance(batch, LongClip) else [batch.frames]
            for piece in pieces:
                again, state = model.reconstruct(piece.to(device), None, state)
                chosen = [place - begin for place in range(begin, begin + piece.shape[1]) if place in wanted]
                scale = 255.0 if piece.dtype == torch.uint8 else 1.0
                frames.append(piece[0, chosen].cpu().float() / scale)
                made.append(again[0, chosen].cpu())
                begin += piece.shape[1]
    if not frames:
        raise ReadError(example.path, next(iter(loader.left_out.values()), "cannot be read"))
    return torch.cat(frames), torch.cat(made)


def _autoencoder(model: torch.nn.Module) -> Autoencoder:
    if not isinstance(model, Autoencoder):
        raise ConfigError(f"expected a run of the model autoencoder, this one is {type(model).__name__}")
    return model


def _mean_frame(run: Run, examples: Sequence[Example], normalize: Normalize) -> Tensor:
    """(C, H, W), normalised, over up to 64 clips spread over the examples."""
    step = -(-len(examples) // _CLIPS)
    few = SamplingConfig("uniform", frames=_FRAMES)
    clips = ClipDataset(examples[::step], run.root, few, run.config.data.preprocess, frame_shape=run.frame_shape)
    read = [clip for clip in (clips[0, index] for index in range(len(clips))) if isinstance(clip, Clip)]
    if not read:
        raise ConfigError(f"expected readable training clips, none of {len(clips)} could be read")
    total = torch.stack([normalize(clip.frames).double().sum(0) for clip in read]).sum(0)
    return (total / sum(map(len, read))).float()
