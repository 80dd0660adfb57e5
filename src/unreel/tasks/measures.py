"""Measures that several tasks take, by torchmetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MultilabelAUROC,
)
from torchmetrics.utilities import dim_zero_cat


@runtime_checkable
class OfDraws(Protocol):
    """A metric that knows a shorter way to its values over groups of clips drawn again and again."""

    def of_draws(
        self, scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, drawn: Tensor
    ) -> dict[str, Tensor]:
        """What `compute` gives, (R,) each, were the items of each group seen as often as `drawn` says.

        A value of which draws tell nothing is left out, and has no interval.

        Args:
            scores: (M, K).
            truth: (M, ...).
            clips: (M,) number of the clip of each item. The clips of a group that is drawn twice are clips apart.
            groups: (M,) int64, number from 0 to G - 1 of the group of each item; that of its clip.
            drawn: (R, G) int64, how often each group is drawn.
        """
        ...


class MacroAUROC(MulticlassAUROC):
    """The mean of the AUROC of each class against the rest, over the classes for which there is one.

    That of a class to which no item belongs, or every one, is no number, where torchmetrics takes it for 0; with no
    class left the mean is nan.

    Args:
        classes: K.
        sync: whether processes put their items together.
    """

    def __init__(self, classes: int, sync: bool) -> None:
        super().__init__(classes, average="none", sync_on_compute=sync)

    def compute(self) -> Tensor:
        """The mean, ()."""
        of_class = torch.nn.functional.one_hot(dim_zero_cat(self.target), self.num_classes)
        return _mean_of_known(super().compute(), of_class)


class MacroMultilabelAUROC(MultilabelAUROC):
    """As MacroAUROC, of items with several labels: of each label against its absence.

    Args:
        labels: K.
        sync: whether processes put their items together.
    """

    def __init__(self, labels: int, sync: bool) -> None:
        super().__init__(labels, average="none", sync_on_compute=sync)

    def compute(self) -> Tensor:
        """The mean, ()."""
        return _mean_of_known(super().compute(), dim_zero_cat(self.target))


def _mean_of_known(each: Tensor, truth: Tensor) -> Tensor:
    """The mean of `each` (K,) over the columns of `truth` (M, K) that hold both 0 and 1."""
    return each[(truth.amax(0) != truth.amin(0))].mean()


def collect(measures: Mapping[str, Metric]) -> MetricCollection:
    """A collection whose names are the keys, without sharing of states, so that a reset of one is a reset of one."""
    return MetricCollection(dict(measures), compute_groups=False)


def one_class_each(classes: int, sync: bool) -> MetricCollection:
    """Accuracy, macro F1 and macro AUROC of items that have one class each."""
    return collect(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", sync_on_compute=sync),
            "macro_f1": MulticlassF1Score(classes, average="macro", sync_on_compute=sync),
            "auroc": MacroAUROC(classes, sync),
        }
    )
