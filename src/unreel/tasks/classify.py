"""Classification of clips: one class each, or any number of classes each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MultilabelAccuracy,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.tasks.base import Labelled, Task
from unreel.tasks.labels import sorted_labels
from unreel.tasks.measures import MacroMultilabelAUROC, collect, one_class_each


class Classify(Task[Tensor]):
    """One class a clip: softmax over K classes, cross-entropy.

    Target `label` (): the index of the class.
    """

    readout = "clip"
    monitor = "accuracy"
    mode = "max"
    also = ("macro_f1", "auroc")

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """All labels that occur, in natural order. An example without exactly one label is refused."""
        for example in examples:
            if len(example.labels) != 1:
                raise ManifestError(
                    f"classify needs exactly one label a clip, {example.key} has {list(example.labels)}; "
                    "for several labels a clip use --task multilabel, for labels in time --task tag"
                )
        return sorted_labels(examples, at_least=2)

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`label` (), int64."""
        return {"label": torch.tensor(self.labels.index(example.labels[0]))}

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Cross-entropy, weighted by class where weights are given."""
        return functional.cross_entropy(
            outputs, batch.targets["label"], self.class_weights, label_smoothing=self.optim.label_smoothing
        )

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) and class indices (N,)."""
        return outputs.float().softmax(-1), batch.targets["label"]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Frequencies of the classes: the majority scores highest."""
        return torch.bincount(torch.stack([target["label"] for target in targets]), minlength=len(self.labels)) / len(
            targets
        )

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Accuracy, macro F1, macro AUROC."""
        return one_class_each(len(self.labels), sync)

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`label`, its `score`, and the `scores` of all classes, probabilities."""
        rows = []
        for scores in outputs.float().softmax(-1).tolist():
            best = max(range(len(scores)), key=scores.__getitem__)
            row = {"label": self.labels[best], "score": scores[best]}
            rows.append(row | {"scores": dict(zip(self.labels, scores, strict=True))})
        return rows

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: the label."""
        return [{"truth": self.labels[index]} for index in batch.targets["label"].tolist()]


class MultiLabel(Task[Tensor]):
    """Any number of classes a clip: a sigmoid each, binary cross-entropy. A class is said when its score is ≥ 0.5.

    Target `labels` (K,): 1.0 where the class holds.
    """

    readout = "clip"
    monitor = "macro_ap"
    mode = "max"
    also = ("macro_f1", "auroc", "accuracy")

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """All labels that occur, in natural order. An example may have none."""
        return sorted_labels(examples, at_least=1)

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`labels` (K,), float32."""
        return {"labels": torch.tensor([float(name in example.labels) for name in self.labels])}

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean binary cross-entropy over clips and classes."""
        smooth = self.optim.label_smoothing
        targets = batch.targets["labels"] * (1 - smooth) + smooth / 2
        return functional.binary_cross_entropy_with_logits(outputs, targets, self.class_weights)

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) and 0/1 truth (N, K)."""
        return outputs.float().sigmoid(), batch.targets["labels"].long()

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Frequency of each class."""
        return torch.stack([target["labels"] for target in targets]).mean(0)

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Macro average precision, macro F1, macro AUROC, and accuracy over clips times classes."""
        k = len(self.labels)
        return collect(
            {
                "macro_ap": MultilabelAveragePrecision(k, average="macro", sync_on_compute=sync),
                "macro_f1": MultilabelF1Score(k, average="macro", sync_on_compute=sync),
                "auroc": MacroMultilabelAUROC(k, sync),
                "accuracy": MultilabelAccuracy(k, average="micro", sync_on_compute=sync),
            }
        )

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`labels` whose score is ≥ 0.5, and the `scores` of all classes, probabilities."""
        return [
            {
                "labels": [name for name, score in zip(self.labels, scores, strict=True) if score >= 0.5],
                "scores": dict(zip(self.labels, scores, strict=True)),
            }
            for scores in outputs.float().sigmoid().tolist()
        ]

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: the list of labels."""
        return [
            {"truth": [name for name, holds in zip(self.labels, row, strict=True) if holds]}
            for row in batch.targets["labels"].tolist()
        ]
