"""How the weights move: the optimiser's settings, and the learning rate at each step.

What this file is not: it knows no model. Training may have parts, such as the epochs of a captioner that learn from
rewards; each begins anew, with a learning rate of its own.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from unreel.errors import ConfigError

FIRST, LAST = 1 / 25, 1 / 250_000
"""Shares of the highest learning rate that a cycle begins and ends with, those of torch's OneCycleLR."""


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move.

    Args:
        optimizer: AdamW (weight decay on matrices and kernels only), or SGD with Nesterov momentum 0.9.
        lr: the highest learning rate.
        weight_decay: decoupled decay a step, times the learning rate.
        schedule: `onecycle` warms up and then falls along a cosine to almost zero over the whole training;
            `constant` stays.
        warmup: the part of all steps spent on warming up, 0 to 1 (onecycle).
        label_smoothing: 0 to 1, the share of each target spread over all classes (classification).
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    schedule: Literal["onecycle", "constant"] = "onecycle"
    warmup: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"lr must be greater than 0, got {self.lr}")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")


class Part(NamedTuple):
    """A part of training: so many steps of the optimiser, up to this share of `OptimConfig.lr`."""

    steps: int
    share: float = 1.0


def begins(parts: Sequence[Part]) -> tuple[int, ...]:
    """The first step of each part, counted from 0."""
    return tuple(accumulate((part.steps for part in parts[:-1]), initial=0))


def rate(step: int, parts: Sequence[Part], optim: OptimConfig) -> float:
    """The learning rate at a step, counted from 0, as a share of `optim.lr`; behind the last step that of the last."""
    starts = begins(parts)
    place = bisect(starts, step) - 1
    part = parts[place]
    if optim.schedule == "constant":
        return part.share
    return part.share * one_cycle(min(step - starts[place], part.steps - 1), part.steps, optim.warmup)


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """The learning rate at a step of so many, as a share of the highest: up along a cosine, then down.

    Equal to torch's OneCycleLR, of which no two with different heights can share an optimiser: each keeps its own in
    the optimiser's groups, in the same place.

    Args:
        step: 0 to steps - 1.
        steps: at least 1.
        warmup: the part of the steps that go up, 0 to 1.
    """
    top, end = warmup * steps - 1, steps - 1
    if step < top:
        return _along_cosine(FIRST, 1.0, step / top)
    return _along_cosine(1.0, LAST, (step - top) / (end - top))


def _along_cosine(start: float, end: float, way: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))
