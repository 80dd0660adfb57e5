"""Which frames are taken: bounds that hold for every length, and the exact choices of small ones."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unreel.data.sampling import SamplingConfig, choose, choose_by_view, windows, within
from unreel.errors import ConfigError

configs = st.one_of(
    st.builds(SamplingConfig, st.sampled_from(["uniform", "segment", "all"]), st.integers(1, 20)),
    st.builds(SamplingConfig, st.just("window"), st.integers(1, 20), st.integers(1, 5)),
)


@given(length=st.integers(1, 200), config=configs, seed=st.none() | st.integers(0, 9))
def test_indices_ascend_and_are_inside(length: int, config: SamplingConfig, seed: int | None) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    chosen = choose(length, config, generator)
    assert chosen.dtype == torch.int64
    assert (chosen.diff() > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < length
    if config.policy in ("uniform", "segment"):
        assert len(chosen) == min(length, config.frames)
    if config.policy == "all":
        assert len(chosen) == length
    if config.policy == "window":
        assert (chosen.diff() == config.stride).all()
        assert len(chosen) == min(config.frames, -(-length // config.stride))


@given(length=st.integers(1, 60), frames=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_segment_gives_one_frame_of_each_part(length: int, frames: int, seed: int) -> None:
    config = SamplingConfig("segment", frames)
    parts = min(length, frames)
    for generator in (None, torch.Generator().manual_seed(seed)):
        chosen = choose(length, config, generator)
        for part, index in enumerate(chosen.tolist()):
            assert part * length // parts <= index < (part + 1) * length // parts


def test_small_choices() -> None:
    assert choose(10, SamplingConfig("uniform", 4)).tolist() == [0, 3, 6, 9]
    assert choose(10, SamplingConfig("uniform", 1)).tolist() == [5]
    assert choose(9, SamplingConfig("segment", 3)).tolist() == [1, 4, 7]
    assert choose(10, SamplingConfig("window", 3, 2)).tolist() == [2, 4, 6]
    assert choose(4, SamplingConfig("window", 3, 2)).tolist() == [0, 2]


@pytest.mark.parametrize(("policy", "stride"), [("segment", 1), ("window", 1), ("window", 3)])
def test_training_reaches_every_frame(policy: str, stride: int) -> None:
    config = SamplingConfig(policy, 4, stride)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.cat([choose(23, config, generator) for _ in range(300)])
    assert set(chosen.tolist()) == set(range(23))


@given(length=st.integers(1, 100), frames=st.integers(1, 12), stride=st.integers(1, 4))
def test_windows_cover_a_long_clip(length: int, frames: int, stride: int) -> None:
    config = SamplingConfig("window", frames, stride)
    found = windows(length, config)
    span = (frames - 1) * stride + 1
    if length <= span:
        assert len(found) == 1
        return
    assert all(len(indices) == frames and (indices.diff() == stride).all() for indices in found)
    assert found[0][0] == 0
    assert found[-1][-1] == length - 1 or length - 1 - int(found[-1][-1]) < stride
    starts = [int(indices[0]) for indices in found]
    assert all(0 < b - a <= frames * stride for a, b in pairwise(starts))
    if stride == 1:
        assert set(torch.cat(found).tolist()) == set(range(length))


def test_windows_of_other_policies_are_one_choice() -> None:
    assert [indices.tolist() for indices in windows(10, SamplingConfig("uniform", 4))] == [[0, 3, 6, 9]]


def test_within_is_closed_before_and_open_behind() -> None:
    times = torch.tensor([0.0, 0.5, 1.0, 1.5])
    assert within(times, 0.5, 1.5).tolist() == [1, 2]
    assert within(times, None, None).tolist() == [0, 1, 2, 3]
    assert within(times, 5.0, None).tolist() == []


def test_settings_are_checked() -> None:
    for settings in ({"frames": 0}, {"stride": 0, "policy": "window"}, {"stride": 2}):
        with pytest.raises(ConfigError):
            SamplingConfig(**settings)  # type: ignore[arg-type]


def test_of_each_view_as_many_are_taken() -> None:
    views = torch.tensor([0] * 9 + [2] * 4 + [1])
    chosen = choose_by_view(len(views), views, SamplingConfig(frames=3))
    assert chosen.tolist() == [0, 4, 8, 9, 11, 12, 13]
    assert choose_by_view(len(views), views, SamplingConfig(frames=1)).tolist() == [4, 11, 13]
    assert choose_by_view(len(views), views, SamplingConfig("all")).tolist() == list(range(14))
    one = choose_by_view(9, None, SamplingConfig("segment", frames=3), torch.Generator().manual_seed(1))
    assert torch.equal(one, choose(9, SamplingConfig("segment", frames=3), torch.Generator().manual_seed(1)))
    drawn = choose_by_view(len(views), views, SamplingConfig("segment", frames=3), torch.Generator().manual_seed(1))
    assert views[drawn].tolist() == [0, 0, 0, 2, 2, 2, 1]
