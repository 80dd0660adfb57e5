"""Intervals against published values, scipy, and data whose spread is known."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from unreel.inference import intervals
from unreel.inference.intervals import Interval, mean_interval, measure, wilson
from unreel.tasks.heads import HeadMeasures
from unreel.tasks.measures import one_class_each
from unreel.tasks.segments import SegmentScores


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (9, 10, 0.596, 0.982),
    ],
)
def test_wilson_as_published(hits: int, n: int, low: float, high: float) -> None:
    interval = wilson(hits, n)
    assert interval.value == hits / n
    digits = 1e-3 if n == 10 else 5.1e-5
    assert interval.low == pytest.approx(low, abs=digits)
    assert interval.high == pytest.approx(high, abs=digits)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=40, deadline=None)
def test_wilson_as_scipy(counts: tuple[int, int]) -> None:
    interval = wilson(*counts)
    expected = stats.binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_wilson_of_nothing() -> None:
    interval = wilson(0, 0)
    assert math.isnan(interval.value)
    assert (interval.low, interval.high) == (0, 1)


def test_mean_interval_as_scipy() -> None:
    values = [0.81, 0.84, 0.79, 0.9, 0.86]
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=interval.value, scale=stats.sem(values))
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.84, low, high), abs=1e-12)


def test_one_value_has_no_width() -> None:
    interval = mean_interval([0.5])
    assert interval.value == 0.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_text_and_json() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert Interval(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75}


def one_hot(classes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes, 2).float()


def accuracy() -> MetricCollection:
    return MetricCollection({"accuracy": MulticlassAccuracy(2, average="micro")})


def test_clips_of_one_group_count_as_one() -> None:
    """Ten sources of 8 equal clips are worth ten clips, not eighty."""
    truth = torch.zeros(10, dtype=torch.int64).repeat_interleave(8)
    said = torch.tensor([0, 1, 0, 0, 1, 0, 0, 0, 1, 0]).repeat_interleave(8)
    sources = [str(index // 8) for index in range(80)]
    clustered = measure(accuracy(), one_hot(said), truth, sources)["accuracy"]
    naive = measure(accuracy(), one_hot(said), truth, [str(index) for index in range(80)])["accuracy"]
    assert clustered.value == naive.value == pytest.approx(0.7)
    width = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert width == pytest.approx(math.sqrt(8), rel=0.25)


def test_the_bootstrap_agrees_with_the_normal_approximation() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(400, generator=generator)
    measures = MetricCollection({"mae": MeanAbsoluteError()})
    interval = measure(measures, errors, torch.zeros(400), [str(index) for index in range(400)])["mae"]
    half = 1.96 * errors.abs().std() / 20
    assert interval.value == pytest.approx(errors.abs().mean().item())
    assert interval.value - interval.low == pytest.approx(half.item(), rel=0.2)
    assert interval.high - interval.value == pytest.approx(half.item(), rel=0.2)


def test_a_perfect_score_is_not_certain() -> None:
    truth = torch.tensor([0, 1] * 5)
    interval = measure(accuracy(), one_hot(truth), truth, [str(index) for index in range(10)])["accuracy"]
    expected = wilson(10, 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((1, expected.low, 1))
    assert interval.low < 0.75


def test_the_same_data_give_the_same_interval() -> None:
    truth = torch.tensor([0, 1, 1, 0, 1, 0])
    scores = one_hot(torch.tensor([0, 1, 0, 0, 1, 1]))
    groups = list("aabbcc")
    first, second, other = (measure(accuracy(), scores, truth, groups, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first["accuracy"].value == other["accuracy"].value


def test_resamples_that_lack_a_class_warn_nobody() -> None:
    """With one positive clip, most resamples of auroc have no positive at all: they tell nothing of it."""
    truth = torch.tensor([0, 0, 0, 1])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.4, 0.6]])
    interval = measure(one_class_each(2, sync=False), scores, truth, list("abcd"))["auroc"]
    assert (interval.low, interval.value, interval.high) == (1, 1, 1)


def test_a_clip_that_is_drawn_twice_is_two_clips() -> None:
    """Two alike films: whatever is drawn measures alike, unless the film that is drawn twice joins with itself."""
    true, said = torch.tensor([1, 0, 1, 1, 0, 1]), torch.tensor([1, 0, 0, 1, 0, 0])
    films = torch.tensor([7, 7, 7, 3, 3, 3])
    measures = MetricCollection({"segments": SegmentScores(2, background=0)})
    interval = measure(measures, one_hot(said), true, list("aaabbb"), films)["f1_at_50"]
    assert (interval.low, interval.value, interval.high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_drawing_by_weight_gives_what_drawing_copies_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside another measure, the heads' are computed over copies of the films that were drawn."""
    monkeypatch.setattr(intervals, "RESAMPLES", 40)
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(90, 3, generator=generator) < 0.4).long().repeat_interleave(4, dim=0)
    truth[:, 2] = 0
    truth[100:104, 2] = 1  # one group alone has it: many draws do not
    noise = torch.rand(360, 3, generator=generator)
    scores = (0.5 * truth + 0.7 * noise).mul(20).round().div(24)  # with ties
    films = torch.arange(9).repeat_interleave(40)
    turns = torch.cat([torch.arange(360).unflatten(0, (9, 2, 20))[:, half].flatten() for half in (1, 0)])
    groups = [f"group {film // 2}" for film in films[turns].tolist()]  # of two films each, and one of one
    heads = HeadMeasures(("rain", "wind", "rare"))
    arguments = scores[turns], truth[turns], groups, films[turns]
    short = measure(MetricCollection({"heads": heads}), *arguments)
    copied = measure(MetricCollection({"heads": heads, "error": MeanAbsoluteError()}), *arguments)
    assert copied.keys() - short.keys() == {"error"}
    assert len(short) == 6 + 3 * 7
    for name, interval in short.items():
        expected = copied[name]
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-6, nan_ok=True
        ), name
    assert short["ap/rain"].low < short["ap/rain"].value < short["ap/rain"].high
    assert short["f1_at_50/wind"].low < short["f1_at_50/wind"].high


def test_without_an_interval_its_ends_are_null() -> None:
    assert Interval(0.5, 0.4, 0.6).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6}
    alone = mean_interval([0.5])
    assert json.loads(json.dumps(alone.to_json(), allow_nan=False)) == {"value": 0.5, "low": None, "high": None}
    assert wilson(0, 0).to_json() == {"value": None, "low": 0.0, "high": 1.0}
    assert str(alone) == "0.500"
