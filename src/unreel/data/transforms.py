"""Transforms of frames: preprocessing, which is part of a trained model, and augmentation, which is not.

Preprocessing is done to every frame by itself and always the same: at training, prediction and serving. Augmentation
does one thing to all frames of a clip, drawn from a seed. Both see uint8 images only: fields, features and tokens pass
untouched.

What this file is not: pixels become numbers around zero in the model (`nn.Normalize`), not here; what is done to sound
is in `sound_transforms.py`.

Shape letters: T frames, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from unreel.data.sound_transforms import SoundAugmentConfig
from unreel.errors import ConfigError

_CROP_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class PreprocessConfig:
    """What is done to every frame.

    Args:
        size: (H, W) of all frames afterwards, pixels.
        fit: `stretch` to the size; `crop` what hangs over on the longer side; `pad` with black on the shorter one.
        channels: `rgb` (3) or `grey` (1).
    """

    size: tuple[int, int] = (112, 112)
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    channels: Literal["rgb", "grey"] = "rgb"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"size must be (height, width) in pixels, each at least 1, got {self.size}")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done at random, alike to all frames of a clip.

    Args:
        flip: mirror left and right, half of the time.
        crop: the smallest share of the area that a random crop keeps, above 0 to 1; 1 crops nothing.
        shift: move by whole pixels, up to this share of the height up or down and of the width left or right, 0 to 1;
            what comes in is black. 0.125 is the pad-and-crop of CIFAR-10 by four pixels.
        brightness: a factor from 1 - brightness to 1 + brightness, 0 to 1.
        contrast: a factor from 1 - contrast to 1 + contrast, 0 to 1.
        sound: what is done to sound; the others are done to images.
    """

    flip: bool = False
    crop: float = 1.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    sound: SoundAugmentConfig = field(default_factory=SoundAugmentConfig)

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ConfigError(f"crop must be above 0 and at most 1, got {self.crop}")
        for name in ("shift", "brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


def is_images(frames: Tensor) -> bool:
    """Whether frames are images: uint8 (T, C, H, W) with 1 or 3 channels."""
    return frames.dtype == torch.uint8 and frames.ndim == 4 and frames.shape[1] in (1, 3)


def preprocess(frames: Tensor, config: PreprocessConfig) -> Tensor:
    """Images (T, C, H, W) uint8 at the size and channels of `config`, bilinear with antialiasing; others untouched."""
    if not is_images(frames):
        return frames
    if config.channels == "grey":
        frames = functional.rgb_to_grayscale(frames) if frames.shape[1] == 3 else frames
    height, width = config.size
    if config.fit != "stretch":
        ratios = height / frames.shape[2], width / frames.shape[3]
        ratio = max(ratios) if config.fit == "crop" else min(ratios)
        bound = max if config.fit == "crop" else min
        inner = [
            bound(edge, max(1, round(size * ratio))) for edge, size in zip(config.size, frames.shape[2:], strict=True)
        ]
        frames = _resize(frames, inner[0], inner[1])
        frames = functional.center_crop(frames, [height, width])
    else:
        frames = _resize(frames, height, width)
    if config.channels == "rgb" and frames.shape[1] == 1:
        frames = frames.expand(-1, 3, -1, -1)
    return frames.contiguous()


def augment(frames: Tensor, config: AugmentConfig, seed: int) -> Tensor:
    """Images (T, C, H, W) uint8 changed at random, alike in all T, size and channels kept; others untouched.

    The same seed gives the same change. The global random state stays as it is.
    """
    if not is_images(frames) or config == AugmentConfig():
        return frames
    steps = _steps(replace(config, flip=False, shift=0.0), (frames.shape[2], frames.shape[3]))
    if steps is not None:
        # torch.manual_seed would touch the generators of accelerators too, which a fork of the CPU's does not put back
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            frames = steps(frames)
    edges, moved = _edges(config, frames.shape), np.empty(tuple(frames.shape), np.uint8)
    _move(_padded(frames, edges), _draw(edges, config.flip, seed), moved)
    return torch.from_numpy(moved)


def augment_each(frames: Tensor, config: AugmentConfig, seeds: Sequence[int]) -> Tensor:
    """Images (n, C, H, W), each changed by a seed of its own: what `augment` makes of n clips of one frame, faster."""
    if not is_images(frames) or config == AugmentConfig():
        return frames
    if replace(config, flip=False, shift=0.0) != AugmentConfig():
        return torch.cat([augment(frame[None], config, seed) for frame, seed in zip(frames, seeds, strict=True)])
    edges, moved = _edges(config, frames.shape), np.empty(tuple(frames.shape), np.uint8)
    for here, seed, there in zip(_padded(frames, edges), seeds, moved, strict=True):
        _move(here, _draw(edges, config.flip, seed), there)
    return torch.from_numpy(moved)


class _Draw(NamedTuple):
    """Where the picture is cut out of the padded one, and whether it is mirrored."""

    down: int
    right: int
    mirrored: bool


def _edges(config: AugmentConfig, size: Sequence[int]) -> tuple[int, int]:
    """By how many pixels pictures of (..., H, W) are moved at most, down and right."""
    return round(config.shift * size[-2]), round(config.shift * size[-1])


def _draw(edges: tuple[int, int], flip: bool, seed: int) -> _Draw:
    drawn = hashlib.blake2b(str(seed).encode(), digest_size=9).digest()  # several times faster than a generator
    down, right = (
        int.from_bytes(drawn[4 * axis : 4 * axis + 4], "little") % (2 * edge + 1) for axis, edge in enumerate(edges)
    )
    return _Draw(down, right, flip and drawn[8] % 2 == 1)


def _padded(frames: Tensor, edges: tuple[int, int]) -> NDArray[np.uint8]:
    *rest, height, width = frames.shape
    down, right = edges
    padded = np.zeros((*rest, height + 2 * down, width + 2 * right), np.uint8)  # several times faster than np.pad
    padded[..., down : down + height, right : right + width] = frames.numpy()
    return padded


def _move(padded: NDArray[np.uint8], draw: _Draw, out: NDArray[np.uint8]) -> None:
    height, width = out.shape[-2:]
    cut = padded[..., draw.down : draw.down + height, draw.right : draw.right + width]
    out[...] = cut[..., ::-1] if draw.mirrored else cut


@lru_cache
def _steps(config: AugmentConfig, size: tuple[int, int]) -> v2.Compose | None:
    """What torchvision does, if anything. Flips and shifts are drawn apart: they are cheap, and often all there is."""
    steps: list[torch.nn.Module] = []
    if config.crop < 1:
        steps.append(v2.RandomResizedCrop(size, (config.crop, 1.0), _CROP_RATIO, antialias=True))
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.contrast))
    return v2.Compose(steps) if steps else None


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    if frames.shape[2:] == (height, width):
        return frames
    return functional.resize(frames, [height, width], antialias=True)
