import re

import pytest
import torch

from unreel.clip import Clip, ClipBatch, LongClip, collate


def make_clip(length: int, key: str = "a.mp4", **targets: torch.Tensor) -> Clip:
    frames = torch.randint(1, 255, (length, 3, 4, 5), dtype=torch.uint8)
    return Clip(frames, torch.arange(length, dtype=torch.float64) / 25, key, targets=targets)


def test_collate_pads_with_zeros_after_each_length() -> None:
    short, long = make_clip(2, "short"), make_clip(5, "long")
    batch = collate([short, long])
    assert batch.frames.shape == (2, 5, 3, 4, 5)
    assert batch.lengths.tolist() == [2, 5]
    assert torch.equal(batch.frames[0, :2], short.frames)
    assert torch.equal(batch.frames[1], long.frames)
    assert not batch.frames[0, 2:].any()
    assert not batch.times[0, 2:].any()
    assert batch.keys == ("short", "long")


def test_collate_stacks_clip_targets_and_pads_frame_targets() -> None:
    batch = collate(
        [
            make_clip(2, "a", label=torch.tensor(1), frame=torch.tensor([1, 1]), multi=torch.ones(3)),
            make_clip(3, "b", label=torch.tensor(0), frame=torch.tensor([2, 2, 2]), multi=torch.zeros(3)),
        ]
    )
    assert batch.targets["label"].tolist() == [1, 0]
    assert batch.targets["frame"].tolist() == [[1, 1, 0], [2, 2, 2]]
    assert batch.targets["multi"].shape == (2, 3)


def test_collate_names_the_two_clips_that_disagree() -> None:
    other = Clip(torch.zeros(2, 3, 9, 9, dtype=torch.uint8), torch.zeros(2, dtype=torch.float64), "other")
    with pytest.raises(ValueError, match=re.escape("'a.mp4' has (3, 4, 5), 'other' has (3, 9, 9)")):
        collate([make_clip(2), other])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": torch.zeros(0, 3)}, "T ≥ 1"),
        ({"times": torch.zeros(3, dtype=torch.float64)}, re.escape("must be (2,), got (3,)")),
        ({"times": torch.zeros(2)}, "float64"),
        ({"key": "a\nb"}, "printable"),
        ({"views": torch.zeros(1, dtype=torch.int64)}, "views"),
    ],
)
def test_clip_is_checked_when_made(changes: dict, message: str) -> None:
    good = {"frames": torch.zeros(2, 3), "times": torch.zeros(2, dtype=torch.float64), "key": "a"}
    with pytest.raises(ValueError, match=message):
        Clip(**(good | changes))


def test_repr_tells_shapes_and_never_pixels() -> None:
    clip = make_clip(3, label=torch.tensor(1))
    assert repr(clip) == ("Clip('a.mp4', frames=(3, 3, 4, 5) torch.uint8, times=0.000..0.080, targets={label: ()})")
    assert "frames=(1, 3, 3, 4, 5) torch.uint8, lengths=[3]" in repr(collate([clip]))


def test_views_travel_with_their_frames() -> None:
    one = Clip(torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), "a", views=torch.tensor([0, 2]))
    two = Clip(torch.zeros(1, 1), torch.zeros(1, dtype=torch.float64), "b", views=torch.tensor([1]))
    batch = collate([one, two]).to("cpu")
    assert batch.views is not None
    assert batch.views.tolist() == [[0, 2], [1, 0]]


def make_long(length: int, chunk: int, **targets: torch.Tensor) -> tuple[LongClip, Clip]:
    clip = make_clip(length, **targets)
    batch = collate([clip])
    whole = ClipBatch(torch.empty(1, length, 0), batch.lengths, batch.times, batch.keys, targets=batch.targets)
    pieces = clip.frames.split(chunk)
    return LongClip(whole, chunk, pieces.__getitem__), clip


def test_pieces_of_a_long_clip_joined_are_the_clip() -> None:
    long, clip = make_long(7, 3, label=torch.arange(7))
    assert long.chunks == 3
    pieces = [long.to("cpu").cut(index) for index in range(3)]
    assert [piece.frames.shape[1] for piece in pieces] == [3, 3, 1]
    assert torch.equal(torch.cat([piece.frames for piece in pieces], 1)[0], clip.frames)
    assert torch.equal(torch.cat([piece.times for piece in pieces], 1)[0], clip.times)
    assert torch.equal(torch.cat([piece.targets["label"] for piece in pieces], 1)[0], torch.arange(7))
    assert [piece.keys[0] for piece in pieces] == ["a.mp4@0.000-0.080", "a.mp4@0.120-0.200", "a.mp4@0.240-0.240"]
    assert [piece.lengths.tolist() for piece in pieces] == [[3], [3], [1]]


def test_whoever_listens_is_told_of_each_chunk() -> None:
    long, _ = make_long(7, 3)
    told: list[int] = []
    long.listeners.append(told.append)
    for index in (0, 2, 1):
        long.to("cpu").read(index)
    assert told == [0, 2, 1]


def test_a_long_clip_is_checked() -> None:
    long, clip = make_long(4, 2, label=torch.tensor(1))
    with pytest.raises(ValueError, match="a row a frame"):
        long.cut(0)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        LongClip(long.whole, 0, long.frames)
    with pytest.raises(ValueError, match=re.escape("(1, T, 0), got (1, 4, 3, 4, 5)")):
        LongClip(collate([clip]), 2, long.frames)
    assert repr(long).startswith("LongClip('a.mp4', 2 chunks of 2 frames")
