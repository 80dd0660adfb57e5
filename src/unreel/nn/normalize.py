"""Normalize: pixels to numbers of mean 0 and deviation 1, with the statistics stored beside the weights.

What this file is not: it measures no statistics; whoever has seen the training data sets them with `set_`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError


class Normalize(nn.Module):
    """(x / scale - mean) / std for each channel; scale is 255 for uint8 pixels, which thus lie in 0..1, else 1.

    Args:
        mean: one number for each channel, in units of x / scale.
        std: as mean; positive.

    Raises:
        ConfigError: mean and std differ in length, or a deviation is not a positive number.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(mean)))
        self.register_buffer("std", torch.ones(len(mean)))
        self.set_(mean, std)

    def set_(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        """Write new statistics into the buffers. Arguments and errors as at construction."""
        new_mean, new_std = (torch.as_tensor(value, dtype=torch.float64) for value in (mean, std))
        if new_mean.shape != self.mean.shape or new_std.shape != self.mean.shape:
            raise ConfigError(
                f"mean and std must have one number for each of {len(self.mean)} channels, "
                f"got {tuple(new_mean.shape)} and {tuple(new_std.shape)}"
            )
        if not (new_mean.isfinite().all() and new_std.isfinite().all() and (new_std > 0).all()):
            raise ConfigError(f"mean must be finite and std positive, got {new_mean.tolist()}, {new_std.tolist()}")
        self.mean.copy_(new_mean)
        self.std.copy_(new_std)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise frames.

        Args:
            x: (V, C, *), uint8 or float.

        Returns:
            (V, C, *) in the dtype of the statistics (float32).
        """
        if x.shape[1] != len(self.mean):
            raise ValueError(f"frames must have {len(self.mean)} channels, got {tuple(x.shape)}")
        # One multiplication and one addition a pixel: x·gain + offset.
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        sizes = (-1,) + (1,) * (x.ndim - 2)
        gain = (1.0 / (scale * self.std)).reshape(sizes)
        offset = (-self.mean / self.std).reshape(sizes)
        return (x.to(gain.dtype) * gain).add_(offset)

    def extra_repr(self) -> str:
        """The number of channels, for print(model)."""
        return f"channels={len(self.mean)}"
