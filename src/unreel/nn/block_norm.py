"""BlockNorm: batch normalisation whose statistics are those of blocks of consecutive frames.

A film that is read chunk by chunk never shows all its frames at once, so statistics over all of them cannot be had.
Those of small parts of a batch can, and train as well or better: the ghost batch normalisation of Hoffer, Hubara and
Soudry (2017, arXiv 1705.08741). Here a part is a block of frames in time, so a film gives the same numbers in chunks
as in one piece wherever a chunk holds whole blocks. What this file is not: no layer of space, and no running statistics
across processes.

Shape letters: N clips, T frames, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.ops import valid


class BlockNorm(nn.Module):
    """Each channel brought to mean 0 and variance 1, then times `weight` plus `bias`, as torch.nn.BatchNorm2d has it.

    In train mode the statistics are those of each block of frames, over its valid frames in all clips and over space;
    each block updates the running statistics once, in the order of time. In eval mode the running statistics are used,
    and no frame knows of another. Frames are counted from the first of each call. Padding is never seen.

    Args:
        channels: C, the axis after time, not the last one.
        frames: in a block; the last block of a call may have fewer.
        momentum: share of a block in the running statistics.
        eps: added to the variance.

    Raises:
        ConfigError: a number is out of range.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, frames: int = 16, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        if channels < 1 or frames < 1:
            raise ConfigError(f"channels and frames must be at least 1, got {channels} and {frames}")
        if not 0 < momentum <= 1 or eps <= 0:
            raise ConfigError(f"momentum must be in (0, 1] and eps positive, got {momentum} and {eps}")
        self.channels = channels
        self.frames = frames
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: (N, T, C, *).
            lengths: (N,) int64, valid frames of each clip; None where all are.

        Returns:
            (N, T, C, *), zeros in the padding.

        Raises:
            ValueError: x has another shape; in train mode, a block has one value a channel, so no variance.
        """
        if x.ndim < 3 or x.shape[2] != self.channels:
            raise ValueError(f"x must be (N, T, {self.channels}, *), got {tuple(x.shape)}")
        if not self.training:
            return self._normalize(x, lengths)
        blocks = [
            self._normalize(
                block, None if lengths is None else (lengths - index * self.frames).clamp(0, block.shape[1])
            )
            for index, block in enumerate(x.split(self.frames, 1))
        ]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)

    def _normalize(self, block: Tensor, lengths: Tensor | None) -> Tensor:
        seen = valid.pack(block, lengths)
        if self.training:
            if len(seen) == 0:
                return torch.zeros_like(block)
            self.num_batches_tracked.add_(1)
        normal = functional.batch_norm(
            seen,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return valid.unpack(normal, lengths, block.shape[1])

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return f"{self.channels}, frames={self.frames}, momentum={self.momentum}, eps={self.eps}"
