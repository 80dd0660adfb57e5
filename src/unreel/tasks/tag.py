"""Tagging: one class for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.tasks.base import Labelled, Task
from unreel.tasks.labels import UNKNOWN, in_order, valid_frames
from unreel.tasks.measures import one_class_each
from unreel.tasks.segments import SegmentScores

BACKGROUND = "background"
"""The label of frames in which nothing goes on: its runs are no segments."""


class Tag(Task[Tensor]):
    """One class a frame: softmax over K classes at each valid frame, cross-entropy over frames of known class.

    Labels come as segments (start, end, label) in seconds, end exclusive, a later row winning over an earlier one;
    a label of the whole clip holds for every frame that no segment covers. A segment without a label says that nothing
    is known.
    Target `label` (T,): class indices, −1 where nothing is said.
    """

    readout = "frame"
    monitor = "accuracy"
    mode = "max"
    also = ("macro_f1", "auroc")

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """All labels of segments and clips, in natural order.

        Raises:
            ManifestError: fewer than two of them, or a clip with more than one label for the whole of it.
        """
        for example in examples:
            if len(example.labels) > 1:
                raise ManifestError(f"tag needs at most one label for a whole clip, {example.key} has {example.labels}")
        names = in_order(
            label for example in examples for label in [*example.labels, *(s.label for s in example.segments)] if label
        )
        if len(names) < 2:
            raise ManifestError(
                f"expected at least 2 different labels of frames, found {list(names)}; frames outside of every segment "
                "count as unknown, so give them a label of their own, for instance rows with the label 'background'"
            )
        return names

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`label` (T,), int64."""
        whole = self.labels.index(example.labels[0]) if example.labels else UNKNOWN
        target = torch.full(times.shape, whole, dtype=torch.int64)
        for segment in example.segments:
            label = self.labels.index(segment.label) if segment.label else UNKNOWN
            target[(times >= segment.start) & (times < segment.end)] = label
        return {"label": target}

    def _known(self, batch: ClipBatch) -> Tensor:
        return valid_frames(batch) & (batch.targets["label"] != UNKNOWN)

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Cross-entropy over valid frames of known class; zero, with a gradient of zero, where there are none."""
        known = self._known(batch)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        return functional.cross_entropy(
            outputs[known],
            batch.targets["label"][known],
            self.class_weights,
            label_smoothing=self.optim.label_smoothing,
        )

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Probabilities (M, K) and class indices (M,) of the valid frames of known class."""
        known = self._known(batch)
        return outputs[known].float().softmax(-1), batch.targets["label"][known]

    def owners(self, batch: ClipBatch) -> Tensor:
        """The clip of each valid frame of known class."""
        return self._known(batch).nonzero()[:, 0]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Frequencies of the classes among frames of known class."""
        known = torch.cat([target["label"] for target in targets])
        return torch.bincount(known[known != UNKNOWN], minlength=len(self.labels)) / (known != UNKNOWN).sum()

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Accuracy, macro F1 and macro AUROC over frames; edit score and F1 of segments at three overlaps."""
        background = self.labels.index(BACKGROUND) if BACKGROUND in self.labels else None
        measures = one_class_each(len(self.labels), sync)
        measures.add_metrics({"segments": SegmentScores(len(self.labels), background, sync)})
        return measures

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`times`, `labels` and `scores` (a list a class) of the valid frames, in the order of time."""
        rows = []
        lengths = batch.lengths.tolist()
        for output, times, length in zip(outputs.float().softmax(-1), batch.times, lengths, strict=True):
            scores = output[:length]
            rows.append(
                {
                    "times": times[:length].tolist(),
                    "labels": [self.labels[index] for index in scores.argmax(-1).tolist()],
                    "scores": dict(zip(self.labels, scores.T.tolist(), strict=True)),
                }
            )
        return rows

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: a label for each valid frame, None where nothing is known."""
        return [
            {"truth": [None if index == UNKNOWN else self.labels[index] for index in target[:length].tolist()]}
            for target, length in zip(batch.targets["label"], batch.lengths.tolist(), strict=True)
        ]
