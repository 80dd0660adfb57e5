"""Measures that several tasks take, by torchmetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score


@runtime_checkable
class OfDraws(Protocol):
    """A metric that knows a shorter way to its values over groups of clips drawn again and again."""

    def of_draws(
        self, scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, drawn: Tensor
    ) -> dict[str, Tensor]:
        """What `compute` gives, (R,) each, were the items of each group seen as often as `drawn` says.

        Args:
            scores: (M, K).
            truth: (M, ...).
            clips: (M,) number of the clip of each item. The clips of a group that is drawn twice are clips apart.
            groups: (M,) int64, number from 0 to G - 1 of the group of each item; that of its clip.
            drawn: (R, G) int64, how often each group is drawn.
        """
        ...


def collect(measures: Mapping[str, Metric]) -> MetricCollection:
    """A collection whose names are the keys, without sharing of states, so that a reset of one is a reset of one."""
    return MetricCollection(dict(measures), compute_groups=False)


def one_class_each(classes: int, sync: bool) -> MetricCollection:
    """Accuracy, macro F1 and macro AUROC of items that have one class each."""
    return collect(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", sync_on_compute=sync),
            "macro_f1": MulticlassF1Score(classes, average="macro", sync_on_compute=sync),
            "auroc": MulticlassAUROC(classes, average="macro", sync_on_compute=sync),
        }
    )
