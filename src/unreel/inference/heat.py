"""Heat: which frames of a clip, and which places in them, a model's answer came from, by the gradient at its maps.

Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) at the model's last maps, frame by frame: the gradient of the
answer's logit runs back through readout and recurrence to the map of each frame. Averaged over the places of the
frame, it weighs the map's channels; what is positive of their weighted sum is the heat. Where the readout treats
places differently, as a flattened map does, that average forgets where a channel counts: HiResCAM (Draelos and Carin
2020, arXiv 2011.08891) multiplies place by place instead, and is exact for a linear readout. What this file is not: it
opens no file and draws nothing.

Shape letters: N clips, T frames, C channels, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unreel.clip import ClipBatch
from unreel.nn import Sites, Watch
from unreel.ops import valid

Method = Literal["hires_cam", "grad_cam"]
Answer = Callable[[ClipBatch], Tensor]
"""A batch to outputs (N, K) or (N, T, K), such as a Task in eval mode."""


@dataclass(frozen=True, eq=False)
class Heat:
    """What counted.

    Args:
        scores: (N,) the explained output of each clip, as `score_of` has it.
        importance: (N, T) the share of each frame, at least 0; 1 over each clip, or all 0 where nothing spoke for the
            answer; 0 in the padding.
        places: (N, T, *space) heat of the model's map, at least 0, 0 in the padding; the space is empty where the map
            has no places.
        attention: (N, T) weights of a readout by attention; None without one.
    """

    scores: Tensor
    importance: Tensor
    places: Tensor
    attention: Tensor | None


def find_heat(answer: Answer, sites: Sites, batch: ClipBatch, targets: Tensor, method: Method) -> Heat:
    """Explain one output of each clip.

    Args:
        answer: the model.
        sites: of the model, at least one map.
        batch: clips, on the model's device.
        targets: (N,) int64, the number of the output that is explained.
        method: "grad_cam" averages gradients over the places of a frame, "hires_cam" does not.
    """
    with Watch(sites) as watch, torch.enable_grad():
        scores = score_of(answer(batch), batch.lengths, targets)
        gradients = watch.gradients(scores.sum())
        attention = watch.attention()
    places, importance = weigh(watch, gradients, batch, method)
    return Heat(scores.detach(), importance, places, None if attention is None else _stretched(attention, batch))


def weigh(watch: Watch, gradients: Sequence[Tensor], batch: ClipBatch, method: Method) -> tuple[Tensor, Tensor]:
    """Heat of the places (N, T, *space), and the share of each frame (N, T), see `Heat`.

    Args:
        watch: what the model was run under.
        gradients: of each of its leaves.
        batch: the clips.
        method: see `find_heat`.
    """
    heat = []
    for site, leaf, gradient in zip(watch.owners(), watch.leaves, gradients, strict=True):
        channels = 1 if site.packed else 2
        space = tuple(range(channels + 1, leaf.ndim))
        weights = gradient if method == "hires_cam" or not space else gradient.mean(space, keepdim=True)
        heat.append((weights * leaf.detach()).sum(channels).relu())
    places = watch.per_frame(heat, batch.lengths, batch.frames.shape[1], batch.views)
    frames = places.flatten(2).sum(2) if places.ndim > 2 else places
    total = frames.sum(1, keepdim=True)
    return places, torch.where(total > 0, frames / total, 0)


def score_of(outputs: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """The explained number (N,): output `targets` (N,) of outputs (N, K); of (N, T, K) its mean over valid frames."""
    clips = outputs if outputs.ndim == 2 else valid.mean(outputs, lengths)
    return clips.gather(1, targets[:, None])[:, 0]


def strongest(outputs: Tensor, lengths: Tensor) -> Tensor:
    """The number (N,) of the highest output of each clip; of (N, T, K) the highest in the mean over valid frames."""
    return (outputs if outputs.ndim == 2 else valid.mean(outputs, lengths)).argmax(1)


def over_frames(places: Tensor, space: tuple[int, ...]) -> Tensor | None:
    """Heat (T, *map) of one clip, spread over frames of `space`: (T, *space), 1 at most; None for maps without places.

    Between the centres of the map's places it is interpolated linearly.
    """
    if places.ndim != 1 + len(space) or not space:
        return None
    mode = "bilinear" if len(space) == 2 else "linear"
    spread = functional.interpolate(places.unsqueeze(1), space, mode=mode, align_corners=False)[:, 0]
    return spread / spread.max().clamp_min(torch.finfo(spread.dtype).tiny)


def _stretched(weights: Tensor, batch: ClipBatch) -> Tensor:
    """Weights (N, T') of frames that were put together in time, as (N, T) of the frames themselves."""
    length = batch.frames.shape[1]
    times = -(-length // weights.shape[1])
    weights = valid.zero_padding(weights.repeat_interleave(times, 1)[:, :length], batch.lengths)
    return weights / weights.sum(1, keepdim=True)
