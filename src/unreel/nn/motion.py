"""FrameDifference: each frame minus the one before it. Motion without a motion model.

What this file is not: no optical flow, and nothing looks ahead: a stream gives the same numbers frame by frame.

Shape letters: N clips, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unreel.ops import valid

State = tuple[Tensor, ...]


class FrameDifference(nn.Module):
    """x_t - x_{t-1}; zero at the first frame of a clip, which has none before it."""

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Differences of whole clips, or of the next frames of each.

        Args:
            x: (N, T, *) float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            (N, T, *) with zeros in the padding, and the state: the last valid frame of each clip, (N, *).
        """
        before = x[:, 0] if state is None else state[0]
        difference = x - torch.cat([before.unsqueeze(1), x[:, :-1]], 1)
        if lengths is None:
            return difference, (x[:, -1],)
        return valid.zero_padding(difference, lengths), (valid.last(x, lengths),)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, *) to its difference (N, *) and the state after it."""
        difference, after = self(x.unsqueeze(1), None, state)
        return difference[:, 0], after
