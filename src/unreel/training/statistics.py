"""Mean and deviation of training frames, for a model's `Normalize`.

Shape letters: T frames, C channels.
"""

from __future__ import annotations

import torch

from unreel.clip import Clip
from unreel.data import ClipDataset
from unreel.errors import ConfigError
from unreel.models import Model, TextRNN

CLIPS = 64  # enough for one mean and one deviation a channel


def fit_normalize(model: Model, dataset: ClipDataset) -> None:
    """Set `model.normalize` from up to 64 clips spread over the dataset, unless pretrained weights brought their own.

    Tokens have neither mean nor deviation, so that a model of texts stays as it is.

    Raises:
        ConfigError: none of these clips can be read.
    """
    if isinstance(model, TextRNN) or not model.measures_statistics:
        return
    step = -(-len(dataset) // CLIPS)
    clips = (dataset[0, index] for index in range(0, len(dataset), step))
    sums = [_sums(clip) for clip in clips if isinstance(clip, Clip)]
    if not sums:
        raise ConfigError(f"expected readable training clips, none of {len(dataset)} could be read")
    count, total, squares = (torch.stack(column).sum(0) for column in zip(*sums, strict=True))
    mean = total / count
    deviation = (squares / count - mean**2).clamp_min(0).sqrt()
    model.normalize.set_(mean, torch.where(deviation > 1e-6, deviation, 1.0))  # a channel that never changes stays 0


def _sums(clip: Clip) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Count, sum and sum of squares a channel, of pixels in 0..1, over frames (T, C, *)."""
    frames = clip.frames.flatten(2) if clip.frames.ndim > 2 else clip.frames.unsqueeze(2)
    values = frames.double() / (255.0 if clip.frames.dtype == torch.uint8 else 1.0)
    count = torch.tensor(float(values.shape[0] * values.shape[2]), dtype=torch.float64)
    return count, values.sum((0, 2)), values.square().sum((0, 2))
