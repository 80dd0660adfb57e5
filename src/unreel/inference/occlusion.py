"""Occlusion: what a model's answer loses when a part of the clip is covered. Slow, plain, and a check of the heat.

Zeiler and Fergus (2014) cover patches of an image; here frames are covered as well. A frame is replaced by the mean of
the clip's frames, of the same view where there are several, so that what stays the same in the clip stays; the only
frame of its view by its mean colour. Words have no mean and are left out. A patch is covered in all frames with the
clip's mean colour. What this file is not: it computes no gradient.

Shape letters: T frames, P parts, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional

from unreel.clip import ClipBatch
from unreel.inference.heat import Answer, score_of

PARTS = 32
"""At most so many parts of a clip are covered one after another: neighbouring frames of longer clips share one."""
GRID = 7
"""Patches along each side of a frame, or as many as it has places."""
TOGETHER = 8
"""Covered clips that go through the model at a time."""


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What was lost.

    Args:
        parts: (T,) int64, the number of the part that each frame is in, 0 first.
        frames: (P,) how far the score fell without each part; None for a single word, which cannot be left out.
        patches: (G,) or (G, G), G ≤ GRID, how far it fell without each patch; None where it was not asked or frames
            have no places. Of several scores at once (`falls`), these are the last dimension of both.
    """

    parts: Tensor
    frames: Tensor | None
    patches: Tensor | None

    def of(self, number: int) -> Occlusion:
        """That of one of several scores."""
        frames, patches = (None if lost is None else lost[..., number] for lost in (self.frames, self.patches))
        return Occlusion(self.parts, frames, patches)


def occlude(answer: Answer, clip: ClipBatch, target: int, with_patches: bool = True) -> Occlusion:
    """Cover parts and patches of one clip.

    Args:
        answer: the model.
        clip: a batch of one clip without padding.
        target: the number of the output that is explained.
        with_patches: cover patches too.
    """

    def score(batch: ClipBatch) -> Tensor:
        return score_of(answer(batch), batch.lengths, torch.full_like(batch.lengths, target))

    return falls(score, clip, with_patches)


def falls(score: Callable[[ClipBatch], Tensor], clip: ClipBatch, with_patches: bool = True) -> Occlusion:
    """Cover parts and patches of one clip, as `occlude` does, for any score.

    Args:
        score: of the clips of a batch, (N,), or (N, S) for several of each.
        clip: a batch of one clip without padding.
        with_patches: cover patches too.
    """
    frames = clip.frames[0]
    length = len(frames)
    each = -(-length // PARTS)
    parts = torch.arange(length) // each
    count = int(parts[-1]) + 1
    whole = _scores(score, clip, [frames])
    by_frames = None
    if frames.ndim > 1:
        views = None if clip.views is None else clip.views[0]
        hidden = mean_frames(frames, views)
        covered = (torch.where(_column(parts == part, frames), hidden, frames) for part in range(count))
        by_frames = whole - _scores(score, clip, covered)
    elif count > 1:
        covered = (frames[(parts != part).to(frames.device)] for part in range(count))
        by_frames = whole - _scores(score, clip, covered)
    by_patches = None
    if with_patches and frames.ndim in (2, 4):
        by_patches = (whole - _scores(score, clip, _without_patches(frames))).unflatten(0, _grid(frames))
    return Occlusion(parts, by_frames, by_patches)


def mean_frames(frames: Tensor, views: Tensor | None) -> Tensor:
    """What covers each frame of (T, *frame): the mean frame of its view, or its mean colour if it is the only one."""
    views = torch.zeros(len(frames), dtype=torch.int64, device=frames.device) if views is None else views
    exact = frames.double()
    covers = torch.empty_like(exact)
    for view in views.unique():
        place = views == view
        mean = exact[place].mean(0)
        covers[place] = _flat(mean) if int(place.sum()) == 1 else mean
    return _like(covers, frames)


def pooled(heat: Tensor, grid: Sequence[int]) -> Tensor:
    """Heat (T, *space) over all frames, in patches (*grid)."""
    total = heat.sum(0)[None, None]
    if total.ndim == 3:
        return functional.adaptive_avg_pool1d(total, grid[0])[0, 0]
    return functional.adaptive_avg_pool2d(total, (grid[0], grid[1]))[0, 0]


def agreement(occlusion: Occlusion, importance: Tensor, heat: Tensor | None) -> dict[str, float | None]:
    """`frames` and `patches`: the rank correlation of what was lost and of the heat; None where there is none.

    Args:
        occlusion: of one score.
        importance: (T,) the share of each frame in the heat.
        heat: (T, *space) over the frames; None where it has no places.
    """
    found: dict[str, float | None] = {"frames": None, "patches": None}
    if occlusion.frames is not None:
        of_parts = torch.zeros_like(occlusion.frames).index_add(0, occlusion.parts, importance.double().cpu())
        found["frames"] = rank_correlation(of_parts, occlusion.frames)
    if occlusion.patches is not None and heat is not None:
        found["patches"] = rank_correlation(pooled(heat, occlusion.patches.shape), occlusion.patches)
    return found


def rank_correlation(one: Tensor, other: Tensor) -> float | None:
    """Spearman's rank correlation of two tensors of one size; None where a rank is not defined, or of fewer than 3."""
    from scipy.stats import spearmanr

    a, b = one.flatten().double().cpu(), other.flatten().double().cpu()
    if len(a) < 3 or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return None
    found = float(spearmanr(a.numpy(), b.numpy())[0])  # type: ignore[arg-type]
    return found if math.isfinite(found) else None


def _scores(score: Callable[[ClipBatch], Tensor], clip: ClipBatch, covered: Iterator[Tensor] | list[Tensor]) -> Tensor:
    """The score, or scores, of each covered clip; shorter ones are padded with zeros."""
    scores = []
    with torch.inference_mode():
        for group in _grouped(covered):
            lengths = torch.tensor([len(frames) for frames in group], device=clip.lengths.device)
            batch = replace(
                clip,
                frames=torch.nn.utils.rnn.pad_sequence(group, batch_first=True),
                lengths=lengths,
                times=clip.times[:, : int(lengths.max())].expand(len(group), -1),
                keys=clip.keys * len(group),
                views=None if clip.views is None else clip.views.expand(len(group), -1),
                targets={},
            )
            scores.append(score(batch).double().cpu())
    return torch.cat(scores)


def _grouped(covered: Iterator[Tensor] | list[Tensor]) -> Iterator[list[Tensor]]:
    group: list[Tensor] = []
    for frames in covered:
        group.append(frames)
        if len(group) == TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _without_patches(frames: Tensor) -> Iterator[Tensor]:
    """The frames (T, F) or (T, C, H, W) with one patch covered after another."""
    mean = frames.double().mean(0)
    color = _like(_flat(mean) if frames.ndim == 4 else mean, frames)
    edges = [
        [size * place // patches for place in range(patches + 1)]
        for size, patches in zip(_space(frames), _grid(frames), strict=True)
    ]
    for place in product(*(pairwise(line) for line in edges)):
        where = (..., *(slice(*ends) for ends in place))
        covered = frames.clone()
        covered[where] = color[where]
        yield covered


def _flat(frame: Tensor) -> Tensor:
    """A frame (C, H, W) of its mean colour, or (D,) of its mean number."""
    return frame.mean((-2, -1) if frame.ndim > 2 else None, keepdim=frame.ndim > 2).expand_as(frame)


def _space(frames: Tensor) -> tuple[int, ...]:
    return tuple(frames.shape[2:] if frames.ndim == 4 else frames.shape[1:])


def _grid(frames: Tensor) -> tuple[int, ...]:
    return tuple(min(GRID, size) for size in _space(frames))


def _column(chosen: Tensor, frames: Tensor) -> Tensor:
    return chosen.to(frames.device).reshape(-1, *(1,) * (frames.ndim - 1))


def _like(values: Tensor, frames: Tensor) -> Tensor:
    """Values in the dtype of the frames, rounded where these are whole numbers."""
    return (values if frames.is_floating_point() else values.round()).to(frames.dtype)
