"""Reconstruction: how badly each frame of a film can be made again is how unusual it is. Learned without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat

from unreel.clip import ClipBatch
from unreel.errors import ConfigError
from unreel.tasks.base import Labelled, Task
from unreel.tasks.labels import UNKNOWN, valid_frames
from unreel.tasks.measures import collect

NORMAL_NAMES = frozenset({"0", "normal", "background"})
"""Labels of frames in which nothing is unusual; whatever else a frame is called is an anomaly."""
_BEST_PSNR = 100.0  # decibels of a frame that is made again without any error


class Reconstructs(Protocol):
    """What this task asks of a model beside its errors."""

    @property
    def variance(self) -> Tensor:
        """Mean variance of the training pixels, a scalar."""
        ...


class Reconstruct(Task[Tensor]):
    """One number a frame, its mean squared reconstruction error, which training makes small.

    Labels are asked for by measures alone, and by the loss so that it leaves out frames that are known to be anomalous:
    what is unusual must not be learned. They come as segments (start, end, label) in seconds; a label of the whole clip
    holds for every frame that no segment covers. `NORMAL_NAMES` are normal, every other label is an anomaly. In a clip
    with segments and no label of its own, frames outside of them are normal; of a clip without either nothing is known.
    Target `anomalous` (T,): 0, 1, or −1 where nothing is known.
    """

    readout = "frame"
    monitor = "mse"
    mode = "min"
    has_classes = False

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """`error`, whatever the labels are.

        Raises:
            ConfigError: all of the clips are known to be anomalous from beginning to end, so that there is nothing to
                learn. Folders of films that are not called after what is usual are taken for that.
        """
        if examples and all(map(_is_anomalous, examples)):
            names = sorted({label for example in examples for label in example.labels})
            raise ConfigError(
                f"expected clips of what is usual, all of {len(examples)} are labelled as anomalies ("
                f"{', '.join(names[:5])}): call what is usual {' or '.join(sorted(NORMAL_NAMES))}, or leave labels out"
            )
        return ("error",)

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`anomalous` (T,), int64."""
        outside = 0 if example.segments else UNKNOWN
        if example.labels:
            outside = int(any(map(_is_anomaly, example.labels)))
        target = torch.full(times.shape, outside, dtype=torch.int64)
        for segment in example.segments:
            label = int(_is_anomaly(segment.label)) if segment.label else UNKNOWN
            target[(times >= segment.start) & (times < segment.end)] = label
        return {"anomalous": target}

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean error over valid frames not known to be anomalous, as a share of the training pixels' variance."""
        learned = valid_frames(batch) & (batch.targets["anomalous"] != 1)
        if not bool(learned.any()):
            return outputs.sum() * 0.0
        return outputs[learned].mean() / cast(Reconstructs, self.model).variance

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Errors (M, 1) of the valid frames, and 0, 1 or −1 (M,)."""
        seen = valid_frames(batch)
        return outputs[seen].float(), batch.targets["anomalous"][seen]

    def owners(self, batch: ClipBatch) -> Tensor:
        """The clip of each valid frame."""
        return valid_frames(batch).nonzero()[:, 0]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> None:
        """There is none: an error is told of a frame that was seen. `models.FrameCopy` is the control."""

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Mean error and PSNR of frames not known to be anomalous; AUC and average precision of the error."""
        return collect({"errors": ErrorMeasures(sync)})

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`times` and `errors` of the valid frames, in the order of time."""
        lengths = batch.lengths.tolist()
        return [
            {"times": times[:length].tolist(), "errors": errors[:length, 0].tolist()}
            for errors, times, length in zip(outputs.float(), batch.times, lengths, strict=True)
        ]

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: for each valid frame 1 where it is anomalous, 0 where not, None where nothing is known."""
        return [
            {"truth": [None if label == UNKNOWN else label for label in target[:length].tolist()]}
            for target, length in zip(batch.targets["anomalous"], batch.lengths.tolist(), strict=True)
        ]


class ErrorMeasures(Metric):
    """`mse`, `psnr` over frames not known to be anomalous; `auc`, `ap` of the error over frames of which it is known.

    PSNR is the mean over frames of −10·log10 of the error, in decibels against a peak of 1: that of uint8 pixels. What
    cannot be told, such as the AUC where no frame is anomalous, is nan.

    Args:
        sync: compute over what all processes have seen.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.errors: list[Tensor]
        self.truth: list[Tensor]
        for name in ("errors", "truth"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, truth: Tensor, clips: Tensor | None = None) -> None:
        """Add frames: scores (M, 1), truth (M,) of 0, 1, −1; clips are not looked at."""
        self.errors.append(scores[:, 0])
        self.truth.append(truth)

    def compute(self) -> dict[str, Tensor]:
        """The four measures, each a scalar."""
        errors, truth = dim_zero_cat(self.errors), dim_zero_cat(self.truth)
        usual, known = errors[truth != 1], truth != UNKNOWN
        errors, truth = errors[known], truth[known]
        nan = errors.new_tensor(torch.nan)
        both = bool((truth == 0).any()) and bool((truth == 1).any())
        decibels = -10 * usual.clamp_min(10 ** (-_BEST_PSNR / 10)).log10()
        # torchmetrics takes scores outside of 0..1 for logits; only their order counts
        ranks = errors.unique(return_inverse=True)[1].float()
        ranks = ranks / ranks.max().clamp_min(1) if len(ranks) else ranks
        return {
            "mse": usual.mean(),
            "psnr": decibels.mean(),
            "auc": binary_auroc(ranks, truth) if both else nan,
            "ap": binary_average_precision(ranks, truth) if both else nan,
        }


def _is_anomalous(example: Labelled) -> bool:
    """Whether no frame of it can be learned from."""
    return not example.segments and any(map(_is_anomaly, example.labels))


def _is_anomaly(label: str) -> bool:
    return label.lower() not in NORMAL_NAMES
