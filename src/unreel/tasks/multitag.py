"""Tagging with several labels at a time: independent heads, each of which holds or does not hold in a frame."""

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
from unreel.tasks.heads import THRESHOLD, HeadMeasures
from unreel.tasks.labels import UNKNOWN, in_order, valid_frames
from unreel.tasks.measures import collect


class MultiTag(Task[Tensor]):
    """Any number of labels a frame: a sigmoid for each of K heads at each valid frame, binary cross-entropy.

    Labels come as segments (start, end, label) in seconds, end exclusive, that may overlap; a label of the whole clip
    holds in every frame. A head does not hold where no segment says so. Of the frames of a segment without a label
    nothing is known: they count in no loss and no measure. Class weights are those of the frames in which a head holds.
    Target `labels` (T, K): 1 where a head holds, 0 where not, −1 in frames of which nothing is known.
    """

    readout = "frame"
    monitor = "macro_ap"
    mode = "max"
    also = ("macro_f1",)

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """All labels of segments and clips, in natural order.

        Raises:
            ManifestError: there is none.
        """
        names = in_order(
            label for example in examples for label in [*example.labels, *(s.label for s in example.segments)] if label
        )
        if not names:
            raise ManifestError(
                f"expected at least one label of frames, found none in {len(examples)} clips; "
                "give rows with start, end and label"
            )
        return names

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`labels` (T, K), float32."""
        target = torch.zeros(len(times), len(self.labels))
        for label in example.labels:
            target[:, self.labels.index(label)] = 1
        for segment in example.segments:
            if segment.label:
                inside = (times >= segment.start) & (times < segment.end)
                target[inside, self.labels.index(segment.label)] = 1
        for segment in example.segments:
            if not segment.label:
                target[(times >= segment.start) & (times < segment.end)] = UNKNOWN
        return {"labels": target}

    def _known(self, batch: ClipBatch) -> Tensor:
        return valid_frames(batch) & (batch.targets["labels"] != UNKNOWN).all(-1)

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean binary cross-entropy over valid frames of which something is known, times heads; zero without any."""
        known = self._known(batch)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        smooth = self.optim.label_smoothing
        targets = batch.targets["labels"][known] * (1 - smooth) + smooth / 2
        return functional.binary_cross_entropy_with_logits(outputs[known], targets, pos_weight=self.class_weights)

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Probabilities (M, K) and 0/1 truth (M, K) of the valid frames of which something is known."""
        known = self._known(batch)
        return outputs[known].float().sigmoid(), batch.targets["labels"][known].long()

    def owners(self, batch: ClipBatch) -> Tensor:
        """The clip of each measured frame."""
        return self._known(batch).nonzero()[:, 0]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The share of frames in which each head holds."""
        frames = torch.cat([target["labels"] for target in targets])
        return frames[(frames != UNKNOWN).all(-1)].mean(0)

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Average precision, F1 and F1 of segments, of each head and their means; accuracy."""
        return collect({"heads": HeadMeasures(self.labels, sync)})

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`times`, `labels` (a list a frame) and `scores` (a list a head) of the valid frames, in the order of time."""
        rows = []
        lengths = batch.lengths.tolist()
        for output, times, length in zip(outputs.float().sigmoid(), batch.times, lengths, strict=True):
            scores = output[:length]
            rows.append(
                {
                    "times": times[:length].tolist(),
                    "labels": [self._names(frame) for frame in (scores >= THRESHOLD).tolist()],
                    "scores": dict(zip(self.labels, scores.T.tolist(), strict=True)),
                }
            )
        return rows

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: a list of labels for each valid frame, None where nothing is known."""
        return [
            {"truth": [None if UNKNOWN in frame else self._names(frame) for frame in target[:length].tolist()]}
            for target, length in zip(batch.targets["labels"], batch.lengths.tolist(), strict=True)
        ]

    def _names(self, holds: Sequence[float]) -> list[str]:
        return [name for name, holding in zip(self.labels, holds, strict=True) if holding]
