"""Measures that several tasks take, by torchmetrics."""

from __future__ import annotations

from collections.abc import Mapping

from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score


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
