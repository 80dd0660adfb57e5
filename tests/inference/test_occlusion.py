"""Occlusion against sums that can be done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unreel.clip import ClipBatch
from unreel.inference.occlusion import GRID, PARTS, mean_frames, occlude, pooled, rank_correlation


def clip_of(frames: Tensor, views: Tensor | None = None) -> ClipBatch:
    times = torch.arange(len(frames), dtype=torch.float64).unsqueeze(0)
    lengths = torch.tensor([len(frames)])
    return ClipBatch(frames.unsqueeze(0), lengths, times, ("clip",), None if views is None else views.unsqueeze(0))


def weighted(weight: Tensor):
    """Output 1 is the sum of weight (T, *frame) times the frames; output 0 says nothing."""

    def answer(batch: ClipBatch) -> Tensor:
        said = (batch.frames * weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(said), said], 1)

    return answer


def test_of_a_linear_model_a_frame_costs_what_sets_it_off_from_the_mean() -> None:
    frames, weight = torch.rand(20, 2, 14, 14), torch.randn(20, 2, 14, 14)
    found = occlude(weighted(weight), clip_of(frames), 1)
    lost = (weight * (frames - frames.mean(0))).sum((1, 2, 3))
    torch.testing.assert_close(found.frames, lost.double(), rtol=1e-4, atol=1e-4)
    assert found.parts.tolist() == list(range(20))


def test_of_a_linear_model_a_patch_costs_what_sets_it_off_from_the_mean_colour() -> None:
    frames, weight = torch.rand(3, 2, 14, 21), torch.randn(3, 2, 14, 21)
    found = occlude(weighted(weight), clip_of(frames), 1)
    lost = weight * (frames - frames.mean((0, 2, 3))[:, None, None])
    by_patch = lost.sum((0, 1)).unflatten(1, (GRID, 3)).unflatten(0, (GRID, 2)).sum((1, 3))
    torch.testing.assert_close(found.patches, by_patch.double(), rtol=1e-4, atol=1e-4)
    assert occlude(weighted(weight), clip_of(frames), 1, with_patches=False).patches is None


def test_only_what_a_model_looks_at_costs_anything() -> None:
    weight = torch.zeros(6, 1, 7, 7)
    weight[3, 0, 2, 5] = 1
    frames = torch.zeros(6, 1, 7, 7)
    frames[3] = 1
    found = occlude(weighted(weight), clip_of(frames), 1)
    assert found.frames is not None
    assert found.frames.nonzero().flatten().tolist() == [3]
    assert found.patches is not None
    assert found.patches.nonzero().tolist() == [[2, 5]]
    assert not occlude(weighted(weight), clip_of(frames), 0).frames.any()  # type: ignore[union-attr]


def test_neighbours_of_a_long_clip_share_a_part() -> None:
    frames, weight = torch.rand(70, 1, 7, 7), torch.randn(70, 1, 7, 7)
    found = occlude(weighted(weight), clip_of(frames), 1, with_patches=False)
    assert found.parts.tolist() == [frame // 3 for frame in range(70)]
    assert found.frames is not None
    assert len(found.frames) == 24 <= PARTS
    lost = (weight * (frames - frames.mean(0))).sum((1, 2, 3))
    torch.testing.assert_close(found.frames[1], lost[3:6].sum().double(), rtol=1e-4, atol=1e-4)


def test_words_are_left_out() -> None:
    values = torch.tensor([0.0, 1.0, -2.0, 5.0])

    def answer(batch: ClipBatch) -> Tensor:
        """The sum of what words are worth, and no padding behind a shorter text counts."""
        inside = torch.arange(batch.frames.shape[1]) < batch.lengths[:, None]
        assert not batch.frames[~inside].any()
        return (values[batch.frames] * inside).sum(1, keepdim=True)

    found = occlude(answer, clip_of(torch.tensor([3, 1, 2, 1])), 0)
    assert found.frames is not None
    assert found.frames.tolist() == [5, 1, -2, 1]
    assert found.patches is None
    assert occlude(answer, clip_of(torch.tensor([3])), 0).frames is None


def test_vectors_have_bands() -> None:
    frames, weight = torch.rand(4, 10), torch.randn(4, 10)
    found = occlude(weighted(weight), clip_of(frames), 1)
    assert found.patches is not None
    assert found.patches.shape == (GRID,)
    lost = (weight * (frames - frames.mean(0))).sum(0)
    torch.testing.assert_close(found.patches[-1], lost[8:].sum().double(), rtol=1e-4, atol=1e-4)
    few = torch.rand(4, 3)
    assert occlude(weighted(torch.ones(4, 3)), clip_of(few), 1).patches.shape == (3,)  # type: ignore[union-attr]


def test_a_frame_is_covered_by_its_own_view() -> None:
    frames = torch.tensor([10, 20, 91, 50], dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 2, 2)
    frames[2, 0, 0, 0] = 0
    covers = mean_frames(frames, torch.tensor([0, 0, 1, 0]))
    assert covers.dtype == torch.uint8
    assert covers[:, 0, 0, 0].tolist() == [27, 27, 68, 27]
    assert covers[2].unique().tolist() == [68]  # the only one of its view: its mean colour, 68.25
    assert mean_frames(frames, None)[3, 0, 1, 1] == 43


def test_ranks() -> None:
    one = torch.tensor([0.1, 0.5, 0.2, 0.9])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, torch.tensor([1, 3, 2, 0])) == pytest.approx(
        -0.2
    )  # 1 - 6 Σd² / n(n² - 1) = 1 - 6·12/60
    assert rank_correlation(one, torch.ones(4)) is None
    assert rank_correlation(one[:2], one[:2]) is None


def test_heat_in_patches() -> None:
    heat = torch.rand(3, 14, 21)
    torch.testing.assert_close(pooled(heat, (7, 7))[1, 2], heat[:, 2:4, 6:9].sum(0).mean())
    torch.testing.assert_close(pooled(torch.ones(3, 10), (5,)), torch.full((5,), 3.0))
