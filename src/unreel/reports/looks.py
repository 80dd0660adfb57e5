"""Looks: a picture with heat over it: what was looked at, or what counted, in colour; the rest in dim grey.

Shape letters: T frames, P places of a map (h, w), H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_COLORS = "inferno"


def heated(pixels: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Pixels (H, W, 1 or 3) as dim grey, with heat (H, W) from 0 to 1 in colour over it: (H, W, 3)."""
    share = heat[..., None]
    grey = pixels.mean(-1, keepdims=True) * 0.75
    color = np.asarray(mpl.colormaps[_COLORS](0.25 + 0.7 * heat))[..., :3] * 255
    cover = 0.85 * np.sqrt(share)
    return np.rint(grey * (1 - cover) + color * cover).astype(np.uint8)


def look(pixels: NDArray[np.uint8], places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The same with the heat (h, w) of a map, from 0 to 1, which is spread over the pixels."""
    wide = torch.from_numpy(np.ascontiguousarray(places))[None, None]
    size = (pixels.shape[0], pixels.shape[1])
    return heated(pixels, functional.interpolate(wide, size, mode="bilinear", align_corners=False)[0, 0].numpy())


def look_at(frames: NDArray[np.uint8], places: NDArray[np.float64]) -> tuple[NDArray[np.uint8], int]:
    """The frame of (T, H, W, 1 or 3) that has most of the heat (T, h, w), with it over it; and its number."""
    frame = int(places.sum((1, 2)).argmax())
    return look(frames[frame], places[frame] / max(places.max(), 1e-12)), frame


def side_by_side(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Frames (H, W, 1 or 3) in one row (H, ·, 3), a white line between them."""
    height, width = frames[0].shape[:2]
    line = np.full((height, max(1, round(width * 0.03)), 3), 255, dtype=np.uint8)
    shown = [np.broadcast_to(frame, (height, width, 3)) for frame in frames]
    return np.concatenate([part for frame in shown for part in (frame, line)][:-1], axis=1)


def find_grid(places: int, frame: tuple[int, ...]) -> tuple[int, int]:
    """(h, w) of a map of P places whose sides are most nearly as those (H, W) of the frame."""
    sides = [(places // across, across) for across in range(1, places + 1) if places % across == 0]
    wanted = math.log(frame[0] / frame[1])
    return min(sides, key=lambda side: abs(math.log(side[0] / side[1]) - wanted))
