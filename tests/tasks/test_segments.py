"""Segment measures against examples worked by hand, and against a plain implementation that looks at every pair."""

from __future__ import annotations

import math
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from unreel.tasks.segments import (
    OVERLAPS,
    SegmentScores,
    clip_number,
    count_segments,
    edit_distance,
    edit_scores,
    overlap_name,
)


def plain_segments(frames: list[int], background: int | None) -> list[tuple[int, int, int]]:
    found, place = [], 0
    for label, run in groupby(frames):
        length = len(list(run))
        if label != background:
            found.append((label, place, place + length))
        place += length
    return found


def plain_f1(
    said: list[list[int]], true: list[list[int]], overlap: float, background: int | None
) -> tuple[int, int, int]:
    """tp, fp, fn as `f_score` of MS-TCN's evaluation counts them: one said segment after the other."""
    tp = fp = fn = 0
    for ours, theirs in zip(said, true, strict=True):
        segments, hit = plain_segments(theirs, background), set()
        for label, begin, end in plain_segments(ours, background):
            best, place = 0.0, -1
            for index, (other, start, stop) in enumerate(segments):
                shared = max(0, min(end, stop) - max(begin, start))
                iou = shared / ((end - begin) + (stop - start) - shared)
                if other == label and iou > best:
                    best, place = iou, index
            if best >= overlap and place not in hit:
                tp += 1
                hit.add(place)
            else:
                fp += 1
        fn += len(segments) - len(hit)
    return tp, fp, fn


def plain_distance(one: list[int], other: list[int]) -> int:
    table = [[i + j if i * j == 0 else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            change = table[i - 1][j - 1] + (one[i - 1] != other[j - 1])
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, change)
    return table[-1][-1]


def joined(clips: list[list[int]]) -> tuple[Tensor, Tensor]:
    frames = torch.tensor([label for clip in clips for label in clip])
    return frames, torch.tensor([number for number, clip in enumerate(clips) for _ in clip])


def scores(said: Tensor, classes: int) -> Tensor:
    return functional.one_hot(said, classes).float()


@st.composite
def labelled_clips(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    frames = st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 6)), min_size=1, max_size=12
    )  # what is said, what is true, for how many frames
    clips = draw(st.lists(frames, min_size=1, max_size=4))
    return tuple([[pair[side] for pair in clip for _ in range(pair[2])] for clip in clips] for side in (0, 1))  # type: ignore[return-value]


@given(clips=labelled_clips(), background=st.sampled_from([None, 0]))
@settings(max_examples=200, deadline=None)
def test_random_clips_as_the_plain_implementation(
    clips: tuple[list[list[int]], list[list[int]]], background: int | None
) -> None:
    (said, number), (true, _) = joined(clips[0]), joined(clips[1])
    measure = SegmentScores(3, background)
    measure.update(scores(said, 3), true, number)
    values = measure.compute()
    for overlap in OVERLAPS:
        tp, fp, fn = plain_f1(*clips, overlap, background)
        expected = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        assert float(values[overlap_name(overlap)]) == pytest.approx(expected, nan_ok=True)
    edits = []
    for ours, theirs in zip(*clips, strict=True):
        one, other = ([label for label, _, _ in plain_segments(side, background)] for side in (ours, theirs))
        edits.append(1 - plain_distance(one, other) / max(len(one), len(other)) if one or other else 1.0)
    assert float(values["edit"]) == pytest.approx(sum(edits) / len(edits))


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
@settings(max_examples=200, deadline=None)
def test_edit_distance_as_the_plain_table(one: list[int], other: list[int]) -> None:
    assert edit_distance(tuple(one), tuple(other)) == plain_distance(one, other)


def test_pieces_of_one_segment_count_once() -> None:
    """Truth: ten frames of 1. Said: 1 with a hole at frame 3, so pieces of 3 and 6 frames: shares 0.3 and 0.6."""
    true = torch.ones(10, dtype=torch.int64)
    said = true.clone()
    said[3] = 0
    counts = count_segments(said, true, torch.zeros(10, dtype=torch.int64), 2, None, (0.25, 0.5, 0.6, 0.61))
    assert counts.hits.tolist() == [[0, 1], [0, 1], [0, 1], [0, 0]]  # both pieces claim it, one is right
    assert counts.said.tolist() == [1, 2]
    assert counts.true.tolist() == [0, 1]
    assert edit_scores(said, true, torch.zeros(10, dtype=torch.int64), None).tolist() == [pytest.approx(1 / 3)]


def test_a_segment_that_covers_two_claims_the_better_one() -> None:
    true = torch.tensor([1, 1, 1, 0, 1])
    said = torch.ones(5, dtype=torch.int64)
    counts = count_segments(said, true, torch.zeros(5, dtype=torch.int64), 2, 0, (0.1, 0.6, 0.7))
    assert counts.hits[:, 1].tolist() == [1, 1, 0]
    assert counts.f1()[:, 1].tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert counts.f1()[:, 0].isnan().all(), "the background has no segments"


def test_one_frame() -> None:
    one = torch.tensor([1])
    measure = SegmentScores(2)
    measure.update(scores(one, 2), one)
    assert {float(value) for value in measure.compute().values()} == {1.0}
    measure.reset()
    measure.update(scores(one, 2), 1 - one)
    assert {float(value) for value in measure.compute().values()} == {0.0}


def test_no_segments_and_no_frames() -> None:
    nothing = torch.zeros(5, dtype=torch.int64)
    measure = SegmentScores(2, background=0)
    measure.update(scores(nothing, 2), nothing)
    values = measure.compute()
    assert float(values["edit"]) == 1.0, "nothing was to be said and nothing was"
    assert all(math.isnan(values[overlap_name(overlap)]) for overlap in OVERLAPS)
    measure.reset()
    measure.update(torch.zeros(0, 2), nothing[:0], nothing[:0])
    assert all(math.isnan(value) for value in measure.compute().values())


def test_chunks_of_clips_join_by_their_number() -> None:
    """Two films whose frames come in turns, four at a time, measure as two films that come whole."""
    generator = torch.Generator().manual_seed(0)
    said, true = torch.randint(3, (2, 2, 40), generator=generator).repeat_interleave(3, dim=-1)
    films = torch.tensor([clip_number("a.mp4"), clip_number("b.mp4")])
    whole, chunked = SegmentScores(3), SegmentScores(3)
    for film in (0, 1):
        whole.update(scores(said[film], 3), true[film], films[film].expand(120))
    for begin in range(0, 120, 4):
        part = slice(begin, begin + 4)
        for film in (1, 0):
            chunked.update(scores(said[film, part], 3), true[film, part], films[film].expand(4))
    expected = {name: float(value) for name, value in whole.compute().items()}
    assert {name: float(value) for name, value in chunked.compute().items()} == pytest.approx(expected)
    pieces = SegmentScores(3)
    pieces.update(scores(said.flatten(), 3), true.flatten(), torch.arange(240) // 4)
    assert float(pieces.compute()["f1_at_50"]) != pytest.approx(expected["f1_at_50"])


def test_numbers_of_clips_stay_and_differ() -> None:
    assert clip_number("a.mp4") == clip_number("a.mp4")
    numbers = {clip_number(f"{index}.mp4") for index in range(10_000)}
    assert len(numbers) == 10_000
    assert all(0 <= number < 2**63 for number in numbers)
