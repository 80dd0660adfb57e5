"""Weights against class imbalance: of classes in the loss, or of examples in the order of training.

Shape letters: N examples, K classes.
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


def example_weights(examples: Sequence[Example], classes: Sequence[str]) -> Tensor:
    """Weight of each example when drawing with replacement, (N,) float32: the mean of its labels' class weights.

    With one label a clip all classes are then drawn equally often. An example without labels weighs 1.
    """
    weights = class_weights(examples, classes)
    index = {name: number for number, name in enumerate(classes)}
    rows = [[index[label] for label in labels_of(example)] for example in examples]
    return torch.stack([weights[row].mean() if row else torch.tensor(1.0) for row in rows])
