"""Measures of frames that carry several labels, each for itself: a number for every head, and their means.

A head that a measure says nothing about (no frame in which it holds, for average precision; neither one that holds nor
one that was said, for F1) is nan, and is left out of the mean over heads.

Shape letters: M frames of all clips, K heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision

from unreel.tasks.segments import OVERLAPS, Counts, count_segments, gathered, overlap_name

THRESHOLD = 0.5
"""A label is said where its score reaches this."""


class HeadMeasures(Metric):
    """Average precision, F1, precision, recall, and F1 of segments at three overlaps of each head; means; accuracy.

    Args:
        labels: the K names.
        sync: compute over what all processes have seen.

    compute gives `macro_ap`, `macro_f1`, `accuracy` (of all frames times heads), `f1_at_10`, `f1_at_25`, `f1_at_50`
    (means over heads), and for each head `ap/NAME`, `f1/NAME`, `precision/NAME`, `recall/NAME`, `f1_at_10/NAME` ...
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, labels: Sequence[str], sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.labels = tuple(labels)
        self.scores: list[Tensor]
        self.truth: list[Tensor]
        self.clips: list[Tensor]
        for name in ("scores", "truth", "clips"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, truth: Tensor, clips: Tensor | None = None) -> None:
        """Add frames.

        Args:
            scores: (M, K) from 0 to 1.
            truth: (M, K) 0 or 1.
            clips: (M,) number of the clip of each frame; None for one clip.
        """
        self.scores.append(scores)
        self.truth.append(truth)
        self.clips.append(torch.zeros_like(truth[:, 0]) if clips is None else clips)

    def compute(self) -> dict[str, Tensor]:
        """The measures, each a scalar."""
        scores, truth, clips = gathered(self.scores, self.truth, self.clips)
        said = (scores >= THRESHOLD).long()
        hits = (said * truth).sum(0)
        each = {
            "ap": torch.stack([_average_precision(*head) for head in zip(scores.T, truth.T, strict=True)]),
            "f1": 2 * hits / (said.sum(0) + truth.sum(0)),
        }
        at_overlaps = _segments(said, truth, clips).f1()
        each |= dict(zip(map(overlap_name, OVERLAPS), at_overlaps, strict=True))
        means = {name: values.nanmean() for name, values in each.items()}
        each |= {"precision": hits / said.sum(0), "recall": hits / truth.sum(0)}
        return {
            "macro_ap": means.pop("ap"),
            "macro_f1": means.pop("f1"),
            "accuracy": (said == truth).float().mean(),
            **means,
            **{
                f"{name}/{label}": value
                for name, values in each.items()
                for label, value in zip(self.labels, values, strict=True)
            },
        }


def _average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    if not bool(truth.any()):
        return scores.new_tensor(torch.nan)
    return binary_average_precision(scores, truth, validate_args=False)


def _segments(said: Tensor, truth: Tensor, clips: Tensor) -> Counts:
    """Segments of each head where it holds: each head of each clip is a sequence of its own."""
    frames, heads = said.shape
    # labels 2k and 2k + 1: head k does not hold, holds
    labels = 2 * torch.arange(heads, device=said.device)[:, None]
    number = clips.unique(return_inverse=True)[1] + frames * torch.arange(heads, device=clips.device)[:, None]
    counts = count_segments(
        (labels + said.T).flatten(), (labels + truth.T).flatten(), number.flatten(), 2 * heads, None, OVERLAPS
    )
    return Counts(counts.hits[:, 1::2], counts.said[1::2], counts.true[1::2])
