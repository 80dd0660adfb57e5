"""Weights against class imbalance: of classes in the loss, or of examples in the order of training.

Shape letters: N examples, T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unreel.data.manifest import Example, labels_of


def class_weights(examples: Sequence[Example], classes: Sequence[str]) -> Tensor:
    """Weight of each class in the loss, (K,) float32: inverse to how often it occurs, 1 on average over occurrences.

    A class that does not occur weighs 1. Segments count one each, however long.
    """
    index = {name: number for number, name in enumerate(classes)}
    counts = torch.zeros(len(classes), dtype=torch.float64)
    for example in examples:
        for label in labels_of(example):
            counts[index[label]] += 1
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts)
    return torch.where(present, weights, 1.0).float()


def positive_weights(frames: Sequence[Tensor], most: float = 20.0) -> Tensor:
    """Weight of the frames in which each label holds, (K,) float32: frames without it over frames with it.

    Both kinds then weigh alike in the loss of a label. A label that always or never holds weighs 1: there is nothing to
    balance.

    Args:
        frames: for each film (T, K), 1 where a label holds, 0 where it does not, negative where nothing is known.
        most: no weight is above this or below its inverse, so that a label of a handful of frames does not drown the
            others: 20 means that labels rarer than one frame in 21 count as if they were that frequent.
    """
    known = torch.cat([film[(film >= 0).all(-1)] for film in frames]).double()
    positive = known.sum(0)
    negative = len(known) - positive
    weights = (negative / positive.clamp_min(1)).clamp(1 / most, most)
    return torch.where((positive > 0) & (negative > 0), weights, 1.0).float()


def example_weights(examples: Sequence[Example], classes: Sequence[str]) -> Tensor:
    """Weight of each example when drawing with replacement, (N,) float32: the mean of its labels' class weights.

    With one label a clip all classes are then drawn equally often. An example without labels weighs 1.
    """
    weights = class_weights(examples, classes)
    index = {name: number for number, name in enumerate(classes)}
    rows = [[index[label] for label in labels_of(example)] for example in examples]
    return torch.stack([weights[row].mean() if row else torch.tensor(1.0) for row in rows])
