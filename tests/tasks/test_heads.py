"""Measures of heads against scikit-learn, and of their segments against each head measured alone."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score
from torch import Tensor
from torch.nn import functional

from unreel.tasks.heads import HeadMeasures
from unreel.tasks.segments import SegmentScores

LABELS = ("kiss", "a/b", "rain", "never")


def frames(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, truth and films of 3 films of 100 frames; scores have ties, and the last head never holds."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(60, 4, generator=generator) < 0.4).long().repeat_interleave(5, dim=0)
    truth[:, 3] = 0
    noise = torch.rand(300, 4, generator=generator)
    scores = (0.5 * truth + 0.7 * noise).mul(20).round().div(24)
    return scores, truth, torch.arange(3).repeat_interleave(100)


def values_of(labels: tuple[str, ...], scores: Tensor, truth: Tensor, films: Tensor) -> dict[str, float]:
    measure = HeadMeasures(labels)
    measure.update(scores, truth, films)
    return {name: float(value) for name, value in measure.compute().items()}


def test_frames_as_scikit_learn() -> None:
    scores, truth, films = frames()
    values = values_of(LABELS, scores, truth, films)
    said = scores >= 0.5
    for index, label in enumerate(LABELS[:3]):
        ap = average_precision_score(truth[:, index], scores[:, index])
        assert values[f"ap/{label}"] == pytest.approx(ap, abs=1e-6)
        assert values[f"f1/{label}"] == pytest.approx(f1_score(truth[:, index], said[:, index]), abs=1e-6)
        precision, recall = (measure(truth[:, index], said[:, index]) for measure in (precision_score, recall_score))
        assert (values[f"precision/{label}"], values[f"recall/{label}"]) == pytest.approx((precision, recall))
    assert values["macro_ap"] == pytest.approx(sum(values[f"ap/{label}"] for label in LABELS[:3]) / 3)
    assert values["accuracy"] == pytest.approx((said == truth).float().mean().item())
    assert math.isnan(values["ap/never"])
    assert values["f1/never"] == 0, "it was said"
    assert values["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-6)


def test_segments_of_a_head_are_those_of_the_head_alone() -> None:
    scores, truth, films = frames()
    values = values_of(LABELS, scores, truth, films)
    means = []
    for index, label in enumerate(LABELS):
        alone = SegmentScores(2, background=0)
        alone.update(functional.one_hot((scores[:, index] >= 0.5).long(), 2).float(), truth[:, index], films)
        expected = alone.compute()
        for name in ("f1_at_10", "f1_at_25", "f1_at_50"):
            assert values[f"{name}/{label}"] == pytest.approx(float(expected[name]))
        means.append(float(expected["f1_at_50"]))
    assert values["f1_at_50"] == pytest.approx(sum(means) / 4)
    assert 0 < values["f1_at_50"] < values["f1_at_10"] < 1, "a perfect or hopeless answer would prove little"


def test_a_head_of_which_nothing_can_be_said_is_in_no_mean() -> None:
    scores, truth, films = frames()
    scores[:, 3] = 0
    values = values_of(LABELS, scores, truth, films)
    assert all(math.isnan(values[f"{name}/never"]) for name in ("ap", "f1", "f1_at_25"))
    without = values_of(LABELS[:3], scores[:, :3], truth[:, :3], films)
    for name in ("macro_ap", "macro_f1", "f1_at_10", "f1_at_50"):
        assert values[name] == pytest.approx(without[name])


def test_one_head_and_one_frame() -> None:
    one = torch.ones(1, 1)
    values = values_of(("x",), one, one.long(), torch.zeros(1, dtype=torch.int64))
    assert set(values.values()) == {1.0}
    values = values_of(("x",), one[:0], one[:0].long(), torch.zeros(0, dtype=torch.int64))
    assert all(math.isnan(value) for value in values.values())
