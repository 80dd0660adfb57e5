"""Segments: what frames say when runs of one label are taken as a whole.

A frame-wise measure hardly notices when one long segment falls into ten pieces. These do:

- **F1 at an overlap** (Lea et al. 2017, arXiv:1611.05267): a segment that is said is right if the true segment of its
  label with which its intersection over union is greatest reaches the overlap, and no other one has claimed it. All
  clips are counted together.
- **Edit score** (Lea et al. 2016, arXiv:1602.02995): 1 minus the Levenshtein distance of the two sequences of segments,
  over the length of the longer one; the mean over clips.

Both as in the code of MS-TCN (Farha and Gall 2019), here from 0 to 1. A label that is `background` makes no segments.
Frames of which nothing is known are taken out before, and what they divided is one piece.

Frames that come in several updates join by the number of their clip, in the order in which they come.

Shape letters: M frames of all clips, S segments, K labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

OVERLAPS = (0.10, 0.25, 0.50)


def overlap_name(overlap: float) -> str:
    """The name of F1 at an overlap: `f1_at_25`."""
    return f"f1_at_{round(100 * overlap)}"


def clip_number(key: str) -> int:
    """A number for a clip that is the same in every batch, process and run: 63 bits of the hash of its key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


class Runs(NamedTuple):
    """Runs of equal label within a clip, over all frames in their order.

    Args:
        label: (S,).
        clip: (S,).
        begin: (S,) number of the first frame.
        end: (S,) number of the frame after the last.
    """

    label: Tensor
    clip: Tensor
    begin: Tensor
    end: Tensor


class Counts(NamedTuple):
    """How segments that were said and true segments fit.

    Args:
        hits: (overlaps, K) segments that are right.
        said: (K,) segments that were said.
        true: (K,) segments there are.
    """

    hits: Tensor
    said: Tensor
    true: Tensor

    def f1(self) -> Tensor:
        """(overlaps, K), nan for a label without any segment on either side."""
        return 2 * self.hits / (self.said + self.true)


def runs(labels: Tensor, clips: Tensor) -> Runs:
    """Runs of equal label (M,); frames of one clip (M,) stand together."""
    changes = torch.ones_like(clips, dtype=torch.bool)
    changes[1:] = (labels[1:] != labels[:-1]) | (clips[1:] != clips[:-1])
    begin = changes.nonzero().flatten()
    end = torch.cat([begin[1:], begin.new_full((min(len(begin), 1),), len(labels))])
    return Runs(labels[begin], clips[begin], begin, end)


def count_segments(
    said: Tensor, true: Tensor, clips: Tensor, classes: int, background: int | None, overlaps: Sequence[float]
) -> Counts:
    """Compare the segments of two labellings of the same frames, label by label.

    Args:
        said: (M,) labels that were said, 0 .. K - 1.
        true: (M,) labels that are true.
        clips: (M,) number of the clip of each frame; frames of one clip stand together, in the order of time.
        classes: K.
        background: the label whose runs are no segments; None where all are.
        overlaps: least intersection over union.
    """
    ours, theirs = runs(said, clips), runs(true, clips)
    # Where either changes, one pair of runs ends and another begins; two runs meet in one such stretch only.
    begin = torch.cat([ours.begin, theirs.begin]).unique()
    shared = torch.cat([begin[1:], begin.new_full((min(len(begin), 1),), len(said))]) - begin
    mine = torch.searchsorted(ours.begin, begin, right=True) - 1
    other = torch.searchsorted(theirs.begin, begin, right=True) - 1
    alike = ours.label[mine] == theirs.label[other]
    if background is not None:
        alike &= ours.label[mine] != background
    mine, other, shared = mine[alike], other[alike], shared[alike]
    union = (ours.end - ours.begin)[mine] + (theirs.end - theirs.begin)[other] - shared
    share = shared.double() / union
    # the best of each run that was said; of equals the earliest
    order = share.argsort(descending=True, stable=True)
    order = order[mine[order].argsort(stable=True)]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = mine[order][1:] != mine[order][:-1]
    best = order[first]
    hits = []
    for overlap in overlaps:
        claimed = other[best[share[best] >= overlap]].unique()
        hits.append(torch.bincount(theirs.label[claimed], minlength=classes))
    totals = [torch.bincount(found.label, minlength=classes) for found in (ours, theirs)]
    if background is not None:
        for total in totals:
            total[background] = 0
    return Counts(torch.stack(hits), *totals)


def edit_scores(said: Tensor, true: Tensor, clips: Tensor, background: int | None) -> Tensor:
    """The edit score of each clip, (clips,) float64; 1 where neither side has a segment. Arguments as above."""
    sequences: list[dict[int, list[int]]] = []
    for labels in (said, true):
        found = runs(labels, clips)
        of_clip: dict[int, list[int]] = {int(clip): [] for clip in clips.unique()}
        for clip, label in zip(found.clip.tolist(), found.label.tolist(), strict=True):
            if label != background:
                of_clip[clip].append(label)
        sequences.append(of_clip)
    scores = []
    for clip, ours in sequences[0].items():
        theirs = sequences[1][clip]
        longest = max(len(ours), len(theirs))
        scores.append(1 - edit_distance(tuple(ours), tuple(theirs)) / longest if longest else 1.0)
    return torch.tensor(scores, dtype=torch.float64)


@lru_cache(maxsize=4096)
def edit_distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Levenshtein's distance of two sequences. Kept, since an interval asks for those of the same clips many times."""
    long, short = sorted((one, other), key=len, reverse=True)
    letters, place = np.array(long, dtype=np.int64), np.arange(len(long) + 1)
    row = place
    for index, letter in enumerate(short, start=1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        row = np.minimum.accumulate(np.concatenate([[index], changed]) - place) + place
    return int(row[-1])


def gathered(*states: list[Tensor] | Tensor) -> list[Tensor]:
    """Frames of several updates put together; the last of the states is the number of the clip, by which they join."""
    whole = [dim_zero_cat(state) for state in states]
    order = whole[-1].argsort(stable=True)
    return [state[order] for state in whole]


class SegmentScores(Metric):
    """Edit score, and F1 at three overlaps, of frames that have one label each.

    Args:
        classes: K.
        background: the label whose runs are no segments; None where all are.
        sync: compute over what all processes have seen.

    compute gives `edit`, `f1_at_10`, `f1_at_25`, `f1_at_50`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, classes: int, background: int | None = None, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.classes, self.background = classes, background
        self.said: list[Tensor]
        self.true: list[Tensor]
        self.clips: list[Tensor]
        for name in ("said", "true", "clips"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, truth: Tensor, clips: Tensor | None = None) -> None:
        """Add frames.

        Args:
            scores: (M, K).
            truth: (M,) labels.
            clips: (M,) number of the clip of each frame; None for one clip.
        """
        self.said.append(scores.argmax(-1))
        self.true.append(truth)
        self.clips.append(torch.zeros_like(truth) if clips is None else clips)

    def compute(self) -> dict[str, Tensor]:
        """The measures, each a scalar; nan where there is no segment."""
        said, true, clips = gathered(self.said, self.true, self.clips)
        counts = count_segments(said, true, clips, self.classes, self.background, OVERLAPS)
        f1 = 2 * counts.hits.sum(1) / (counts.said.sum() + counts.true.sum())
        edit = edit_scores(said, true, clips, self.background).mean().to(f1)
        return {"edit": edit} | dict(zip(map(overlap_name, OVERLAPS), f1, strict=True))
