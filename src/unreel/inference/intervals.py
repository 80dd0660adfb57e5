"""How sure a measured value is: 95 % intervals that respect groups.

Clips of one source resemble each other, so what is drawn again and again is the group, not the clip (cluster
bootstrap, percentile method). A bootstrap of a perfect score would claim no doubt at all; for proportions the interval
is therefore joined with Wilson's (Wilson 1927).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from unreel.tasks.measures import OfDraws

RESAMPLES = 500
Z = 1.959964  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its 95 % interval; nan where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_json(self) -> dict[str, float | None]:
        """As a dict; null is what there is none of: the ends, or a value that cannot be told."""
        return {name: None if math.isnan(number) else number for name, number in asdict(self).items()}


def wilson(hits: float, n: int) -> Interval:
    """Wilson's score interval of a proportion of `hits` in `n` trials; [0, 1] around nan where n is 0."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    p = hits / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of several runs with Student's 95 % interval; no width can be told from fewer than two."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def measure(
    measures: MetricCollection,
    scores: Tensor,
    truth: Tensor,
    groups: Sequence[str],
    clips: Tensor | None = None,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute every measure over M items with its interval.

    Args:
        measures: torchmetrics over (scores, truth); it is reset before and after.
        scores: (M, K).
        truth: (M, ...).
        groups: the group of each of the M items.
        clips: (M,) number of the clip of each item, for measures that ask for it; None where every item is a clip.
        seed: of the resampling.
    """
    clips = torch.arange(len(truth)) if clips is None else clips.unique(return_inverse=True)[1]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    of_item = torch.tensor([numbers[group] for group in groups])
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(len(numbers), (len(numbers),), generator=generator) for _ in range(RESAMPLES)]
    values = _compute(measures, scores, truth, clips)
    draws = _draws(measures, scores, truth, clips, of_item, drawn)
    return {name: _interval(name, value, draws.get(name, ()), len(truth)) for name, value in values.items()}


def _draws(
    measures: MetricCollection, scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, drawn: Sequence[Tensor]
) -> dict[str, list[float]]:
    """The measures over groups (M,) that are drawn again and again, each time as the numbers (G,) say."""
    only = next(iter(measures.values())) if len(measures) == 1 else None
    if isinstance(only, OfDraws):
        often = torch.stack([draw.bincount(minlength=len(draw)) for draw in drawn])
        found = only.of_draws(scores, truth, clips, groups, often)
        return {name: values.tolist() for name, values in found.items()}
    rows = list(groups.argsort(stable=True).split(groups.bincount().tolist()))
    draws: dict[str, list[float]] = {}
    for draw in drawn:
        members = [rows[group] for group in draw.tolist()]
        chosen = torch.cat(members)
        # a group that is drawn twice is two groups: its clips must not join with themselves
        copy = torch.repeat_interleave(torch.tensor([len(row) for row in members]))
        for name, value in _compute(measures, scores[chosen], truth[chosen], clips[chosen] + copy * len(truth)).items():
            draws.setdefault(name, []).append(value)
    return draws


def _compute(measures: MetricCollection, scores: Tensor, truth: Tensor, clips: Tensor) -> dict[str, float]:
    measures.reset()
    with warnings.catch_warnings():
        # a resample may lack a class; torchmetrics warns and says 0 or nan
        warnings.filterwarnings("ignore", module="torchmetrics")
        measures.update(scores, truth, clips=clips)
        values = {name: float(value) for name, value in measures.compute().items()}
    measures.reset()
    return values


def _interval(name: str, value: float, draws: Sequence[float], n: int) -> Interval:
    known = torch.tensor([draw for draw in draws if math.isfinite(draw)], dtype=torch.float64)
    if len(known) == 0:
        return Interval(value, math.nan, math.nan)
    low, high = torch.quantile(known, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    if name == "accuracy":
        proportion = wilson(value * n, n)
        low, high = min(low, proportion.low), max(high, proportion.high)
    return Interval(value, min(low, value), max(high, value))
