"""Positions: numbers that say when a frame is and where in it a place lies, for layers to which order is nothing.

Attention weighs a set: it gives the same whatever the order of frames and places, unless the features themselves say
when and where. Along each of three axes a position u is told by sin(2^k·π·u) and cos(2^k·π·u), k = 0..OCTAVES-1, with u
the middle of the frame in its clip, of the row and of the column in the map, each from 0 to 1 (Mildenhall et al. 2020,
arXiv 2003.08934, equation 4). What this file is not: nothing here is learned.

Shape letters: N clips, T frames, H' W' rows and columns of places, P = H'·W'.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OCTAVES = 4
POSITION_SIZE = 3 * 2 * OCTAVES
"""Numbers that tell of one place: of its frame, its row and its column, sines and cosines."""


def positions(lengths: Tensor, t: int, grid: tuple[int, int]) -> Tensor:
    """When and where each place is, (N, T, P, POSITION_SIZE) float32, each number in [-1, 1].

    A frame's place in its clip is measured in the clip's own length, so that padding changes nothing before it.

    Args:
        lengths: (N,) int64, valid frames of each clip; on their device all is computed.
        t: T.
        grid: (H', W'); places are row after row.
    """
    device = lengths.device
    time = (torch.arange(t, device=device) + 0.5) / lengths[:, None]
    row, column = ((torch.arange(size, device=device) + 0.5) / size for size in grid)
    time = time[:, :, None, None].expand(-1, -1, *grid)
    where = [axis.expand_as(time) for axis in (row[:, None], column)]
    angles = torch.stack([time, *where], -1).flatten(2, 3).unsqueeze(-1)
    angles = angles * (math.pi * 2 ** torch.arange(OCTAVES, device=device))
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(3)
