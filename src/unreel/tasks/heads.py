"""Measures of frames that carry several labels, each for itself: a number for every head, and their means.

A head that a measure says nothing about (no frame in which it holds, for average precision; neither one that holds nor
one that was said, for F1) is nan, and is left out of the mean over heads.

Everything is a sum over frames or over segments, so that films that are drawn twice, or not at all, are films of weight
two or zero: scores are put in order once for all draws of a bootstrap (`of_draws`).

Shape letters: M frames of all clips, K heads, G groups of clips, R draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

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
        one = torch.zeros_like(clips)
        whole = self.of_draws(scores, truth, clips, one, one.new_ones(1, 1))
        return {name: value[0] for name, value in whole.items()}

    def of_draws(
        self, scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, drawn: Tensor
    ) -> dict[str, Tensor]:
        """The measures over groups of clips that are drawn with replacement, (R,) each, without regard to `update`.

        A group that is drawn twice counts as two that are alike. What is costly, above all the order of the scores, is
        done once for all draws.

        Args:
            scores: (M, K) from 0 to 1.
            truth: (M, K) 0 or 1.
            clips: (M,) number of the clip of each frame.
            groups: (M,) int64, number from 0 to G - 1 of the group of each frame; that of its clip.
            drawn: (R, G) int64, how often each group is drawn.
        """
        sums = _sums(scores, truth, clips, groups, drawn.shape[1])
        each = [self._measures(sums, times) for times in drawn]
        return {name: torch.stack([values[name] for values in each]) for name in each[0]}

    def _measures(self, sums: _Sums, drawn: Tensor) -> dict[str, Tensor]:
        """All measures, where groups are drawn so often (G,)."""
        times = drawn[:, None]
        hits, said, true, right = ((times * counts).sum(0) for counts in sums.frames)
        each = {"ap": _average_precision(sums.ranks, drawn), "f1": 2 * hits / (said + true)}
        segments = Counts(*((times * counts).sum(-2) for counts in sums.segments))
        each |= dict(zip(map(overlap_name, OVERLAPS), segments.f1(), strict=True))
        means = {name: values.nanmean() for name, values in each.items()}
        each |= {"precision": hits / said, "recall": hits / true}
        return {
            "macro_ap": means.pop("ap"),
            "macro_f1": means.pop("f1"),
            "accuracy": right.sum() / ((drawn * sums.sizes).sum() * len(self.labels)),
            **means,
            **{
                f"{name}/{label}": value
                for name, values in each.items()
                for label, value in zip(self.labels, values, strict=True)
            },
        }


class _Ranks(NamedTuple):
    """Frames of each head from the highest score to the lowest.

    Args:
        truth: (M, K).
        groups: (M, K).
        ends: (M, K) the last place at which there is the same score.
    """

    truth: Tensor
    groups: Tensor
    ends: Tensor


class _Sums(NamedTuple):
    """What all measures are computed from.

    Args:
        ranks: for average precision.
        frames: hits, frames in which each head was said, in which it holds, and right frames, each (G, K).
        sizes: (G,) frames.
        segments: hits (overlaps, G, K), and segments that were said and that are true, (G, K).
    """

    ranks: _Ranks
    frames: tuple[Tensor, ...]
    sizes: Tensor
    segments: Counts


def _sums(scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, count: int) -> _Sums:
    said = (scores >= THRESHOLD).long()
    frames = (said * truth, said, truth, (said == truth).long())
    empty = truth.new_zeros(count, truth.shape[1])
    return _Sums(
        ranks=_ranks(scores, truth, groups),
        frames=tuple(empty.index_add(0, groups, counts) for counts in frames),
        sizes=groups.bincount(minlength=count),
        segments=_segments(said, truth, clips, groups, count),
    )


def _ranks(scores: Tensor, truth: Tensor, groups: Tensor) -> _Ranks:
    falling, order = scores.sort(0, descending=True)
    last = torch.ones_like(falling, dtype=torch.bool)
    last[:-1] = falling[1:] != falling[:-1]
    # a place that is not its score's last one takes the next that is
    places = torch.arange(len(scores), device=scores.device)[:, None].expand_as(order)
    later = places.masked_fill(~last, len(scores))
    ends = later.flip(0).cummin(0).values.flip(0) if len(scores) else later
    return _Ranks(truth.gather(0, order), groups[order], ends)


def _average_precision(ranks: _Ranks, drawn: Tensor) -> Tensor:
    """(K,): the mean, over frames in which the head holds, of the precision among all frames that score no lower."""
    if not len(ranks.truth):
        return torch.full(ranks.truth.shape[1:], torch.nan, device=drawn.device)
    times = drawn[ranks.groups]
    holds = times * ranks.truth
    hits = holds.cumsum(0)
    precision = hits / times.cumsum(0).clamp_min(1)
    return (holds * precision.gather(0, ranks.ends)).sum(0) / hits[-1]


def _segments(said: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, count: int) -> Counts:
    """Segments of each head where it holds, by group: each head of each clip is a sequence of its own."""
    order = clips.argsort(stable=True)
    said, truth, clips, groups = said[order], truth[order], clips[order], groups[order]
    frames, heads = said.shape
    head = torch.arange(heads, device=said.device)[:, None]
    # labels 2n and 2n + 1: head and group number n does not hold, holds
    labels = 2 * (count * head + groups)
    number = clips.unique(return_inverse=True)[1] + frames * head
    kinds = 2 * heads * count
    found = count_segments(
        (labels + said.T).flatten(), (labels + truth.T).flatten(), number.flatten(), kinds, None, OVERLAPS
    )
    return Counts(*(counts[..., 1::2].unflatten(-1, (heads, count)).transpose(-1, -2) for counts in found))
