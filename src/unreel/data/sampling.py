"""Sampling: which of a clip's T frames are read.

"segment" is the sampling of temporal segment networks (Wang et al. 2016, arXiv:1608.00859): T cut into equal parts,
one frame of each.

What this file is not: it reads nothing, and draws from no generator but the one it is given.

Shape letters: T frames of the clip, n frames chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from unreel.errors import ConfigError


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames of a clip are taken.

    Args:
        policy: `uniform`: evenly spread from the first to the last. `segment`: one of each of `frames` equal parts,
            at random in training, else the middle one. `window`: `frames` frames `stride` apart, from a random place
            in training, else from the middle. `all`: every one.
        frames: n, how many (of a scan: slices of each plane); a shorter clip gives all it has, none twice.
        stride: distance of frames in a window.
        span: uniform: in training, the frames are spread over a random part of the clip, at least this share of it,
            above 0 to 1. Otherwise over all of it.
    """

    policy: Literal["uniform", "segment", "window", "all"] = "uniform"
    frames: int = 16
    stride: int = 1
    span: float = 1.0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ConfigError(f"frames and stride must be at least 1, got frames={self.frames} stride={self.stride}")
        if self.stride > 1 and self.policy != "window":
            raise ConfigError(f"stride belongs to the policy 'window', got stride={self.stride} with {self.policy!r}")
        if not 0 < self.span <= 1:
            raise ConfigError(f"span must be above 0 and at most 1, got {self.span}")
        if self.span < 1 and self.policy != "uniform":
            raise ConfigError(f"span belongs to the policy 'uniform', got span={self.span} with {self.policy!r}")

    @property
    def draws(self) -> bool:
        """Whether training takes other frames of a clip in each epoch."""
        return self.policy in ("segment", "window") or self.span < 1


def choose(length: int, config: SamplingConfig, generator: Generator | None = None) -> Tensor:
    """Indices of the frames to take, (n,) int64, ascending, none twice, 1 ≤ n ≤ T.

    Args:
        length: T ≥ 1.
        config: the policy.
        generator: draws at random (training); None takes the middle.
    """
    if config.policy == "uniform" and config.span < 1 and generator is not None:
        return _part(length, config, generator)
    n = min(config.frames, length)
    if config.policy == "all" or (config.policy != "window" and n == length):
        return torch.arange(length)
    if config.policy == "window":
        span = _span(config)
        start = max(0, length - span) // 2
        if generator is not None and length > span:
            start = int(torch.randint(length - span + 1, (), generator=generator))
        return torch.arange(start, min(length, start + span), config.stride)
    if config.policy == "uniform":
        # i · (T - 1) / (n - 1) rounded, in whole numbers so that no two meet; of one frame the middle
        return (2 * torch.arange(n) * (length - 1) + n - 1) // (2 * (n - 1)) if n > 1 else torch.tensor([length // 2])
    bounds = torch.arange(n + 1) * length // n
    begin, size = bounds[:-1], bounds.diff()
    if generator is None:
        return begin + size // 2
    return begin + (torch.rand(n, generator=generator, dtype=torch.float64) * size).long()


def choose_by_view(
    length: int, views: Tensor | None, config: SamplingConfig, generator: Generator | None = None
) -> Tensor:
    """What `choose` takes of each view by itself, the views in the order in which they first stand.

    Args:
        length: T ≥ 1.
        views: (T,) int64; None for one view.
        config: the policy.
        generator: as for `choose`.
    """
    if views is None:
        return choose(length, config, generator)
    places = [(views == view).nonzero().flatten() for view in dict.fromkeys(views.tolist())]
    return torch.cat([place[choose(len(place), config, generator)] for place in places])


def _part(length: int, config: SamplingConfig, generator: Generator) -> Tensor:
    """Frames spread over a random part of the clip."""
    share, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    part = max(min(config.frames, length), round(length * (config.span + (1 - config.span) * share)))
    start = round((length - part) * place)
    return start + choose(part, replace(config, span=1.0))


def windows(length: int, config: SamplingConfig) -> list[Tensor]:
    """Indices of windows that cover a long clip, for prediction: each (n,) int64, ascending.

    A window follows the other without a gap; the last one is moved back so that it ends with the clip.
    Any other policy gives the one choice that `choose` makes without a generator.

    Args:
        length: T ≥ 1.
        config: the policy.
    """
    span = _span(config)
    if config.policy != "window" or length <= span:
        return [choose(length, config)]
    starts = list(range(0, length - span + 1, config.frames * config.stride))
    if starts[-1] + span < length:
        starts.append(length - span)
    return [torch.arange(start, start + span, config.stride) for start in starts]


def within(times: Tensor, start: float | None, end: float | None) -> Tensor:
    """Indices of the frames from `start`, inclusive, to `end`, exclusive, (n,) int64; perhaps none.

    Args:
        times: (T,) seconds.
        start: None for the beginning.
        end: None for the end.
    """
    inside = torch.ones_like(times, dtype=torch.bool)
    if start is not None:
        inside &= times >= start
    if end is not None:
        inside &= times < end
    return inside.nonzero().flatten()


def _span(config: SamplingConfig) -> int:
    return (config.frames - 1) * config.stride + 1
