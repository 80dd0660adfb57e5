"""ClipDataset: the same clip however its frames are kept, and broken files as values."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unreel.clip import Clip
from unreel.data.cache import FrameCache
from unreel.data.dataset import Broken, ClipDataset
from unreel.data.manifest import Example, Segment
from unreel.data.readers import Reading, open_source
from unreel.data.readers.spectrogram import SoundConfig
from unreel.data.sampling import SamplingConfig
from unreel.data.sound_transforms import SoundAugmentConfig
from unreel.data.transforms import AugmentConfig, PreprocessConfig, preprocess

from sounds import write_sound  # isort: skip

SEGMENT = SamplingConfig("segment", 5)
SIZE = PreprocessConfig((8, 8))
AUGMENT = AugmentConfig(flip=True, crop=0.5, brightness=0.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (200, 3, 10, 12), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", frames=frames, times=np.arange(200) / 10)
    (tmp_path / "bad.npz").write_text("no array")
    return tmp_path


def encode(example: Example, times: Tensor) -> Mapping[str, Tensor]:
    return {"label": torch.tensor(int(example.labels[0])), "late": times > 2}


def same(one: Clip | Broken, other: Clip | Broken) -> bool:
    assert isinstance(one, Clip)
    assert isinstance(other, Clip)
    return torch.equal(one.frames, other.frames) and torch.equal(one.times, other.times)


def dataset(root: Path, example: Example, training: bool = True, seed: int = 0) -> ClipDataset:
    return ClipDataset([example], root, SEGMENT, SIZE, AUGMENT, encode, seed, training)


def test_a_clip_has_frames_times_key_and_targets(root: Path) -> None:
    clip = dataset(root, Example("a.npz", ("1",), start=1.0, end=3.0), training=False)[0, 0]
    assert isinstance(clip, Clip)
    assert clip.key == "a.npz@1.0-3.0"
    assert clip.times.tolist() == pytest.approx([1.2, 1.6, 2.0, 2.4, 2.8])
    raw = torch.from_numpy(np.load(root / "a.npz")["frames"][[12, 16, 20, 24, 28]])
    assert torch.equal(clip.frames, preprocess(raw, SIZE))
    assert clip.targets["label"] == 1
    assert clip.targets["late"].tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("training", [True, False])
def test_however_frames_are_kept_the_clip_is_the_same(root: Path, training: bool) -> None:
    example = Example("a.npz", ("1",), start=0.5, end=15)  # 145 frames: more than are decoded at once
    plain = dataset(root, example, training)
    for cache, memory in ((FrameCache(root / "cache"), False), (None, True), (FrameCache(root / "cache"), True)):
        kept = ClipDataset([example], root, SEGMENT, SIZE, AUGMENT, encode, 0, training, cache, memory)
        for epoch in (0, 1, 0):
            assert same(kept[epoch, 0], plain[epoch, 0])


def test_seed_epoch_and_key_decide_and_nothing_else(root: Path) -> None:
    example = Example("a.npz", ("1",))
    clip = dataset(root, example)[3, 0]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert same(dataset(root, example)[3, 0], clip)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(dataset(root, example)[4, 0], clip)
    assert not same(dataset(root, example, seed=1)[3, 0], clip)
    assert not same(dataset(root, replace(example, end=99.0))[3, 0], clip)
    still = dataset(root, example, training=False)
    assert same(still[3, 0], still[4, 0])


def test_broken_files_are_values(root: Path) -> None:
    examples = [Example("bad.npz"), Example("none.mp4"), Example("a.npz", start=50.0)]
    broken = [ClipDataset(examples, root, SEGMENT, SIZE)[0, index] for index in range(3)]
    assert all(isinstance(one, Broken) for one in broken)
    assert [(one.key, one.path) for one in broken if isinstance(one, Broken)] == [(e.key, e.path) for e in examples]
    assert isinstance(broken[2], Broken)
    assert broken[2].reason == "expected frames from 50.0 to None s, the file holds 0.000 to 19.900 s"


def test_frames_that_do_not_fit_the_others_are_broken(root: Path) -> None:
    np.save(root / "features.npy", np.zeros((6, 7), dtype=np.float32))
    for shape, dtype, message in (((8,), None, r"shape (8,)"), (None, torch.uint8, "dtype torch.uint8")):
        found = ClipDataset([Example("features.npy")], root, SEGMENT, SIZE, frame_shape=shape, frame_dtype=dtype)[0, 0]
        assert isinstance(found, Broken)
        assert message in found.reason
    fits = ClipDataset([Example("features.npy")], root, SEGMENT, SIZE, frame_shape=[7], frame_dtype=torch.float32)
    assert isinstance(fits[0, 0], Clip)


def test_labels_in_time_move_with_a_sound_that_is_shifted(tmp_path: Path) -> None:
    """A burst from 0.4 s to 0.6 s, and a label that says so."""
    at = np.arange(8000) / 8000
    burst = 0.5 * np.sin(2 * np.pi * 1000 * at) * ((at >= 0.4) & (at < 0.6))
    write_sound(tmp_path / "a.wav", burst, 8000)
    example = Example("a.wav", segments=(Segment(0.4, 0.6, "burst"),))

    def truth(example: Example, times: torch.Tensor) -> dict[str, torch.Tensor]:
        [segment] = example.segments
        return {"holds": (times >= segment.start) & (times < segment.end)}

    shifts = AugmentConfig(sound=SoundAugmentConfig(shift=0.2, noise=(20.0, 20.0)))
    reading = Reading(sound=SoundConfig(sample_rate=8000, mels=20))
    for cache in (None, FrameCache(tmp_path / "cache", reading)):
        clips = ClipDataset(
            [example],
            tmp_path,
            SamplingConfig("all"),
            PreprocessConfig(),
            shifts,
            truth,
            0,
            True,
            cache,
            reading=reading,
        )
        begins = set()
        for epoch in range(12):
            clip = clips[epoch, 0]
            assert isinstance(clip, Clip)
            loud = clip.frames.amax(1) > 20
            differ = (loud != clip.targets["holds"]).nonzero().flatten()
            assert len(differ) <= 4, "half a window at both ends of the burst"
            begins.add(int(loud.nonzero()[0]))
            assert torch.equal(clip.times, torch.arange(101, dtype=torch.float64) / 100)
            again = clips[epoch, 0]
            assert isinstance(again, Clip)
            assert torch.equal(again.frames, clip.frames)
        assert len(begins) > 5
    clips = ClipDataset([example], tmp_path, SamplingConfig("all"), PreprocessConfig(), shifts, truth, reading=reading)
    clip = clips[3, 0]
    assert isinstance(clip, Clip)
    with open_source(tmp_path / "a.wav", reading) as source:
        assert torch.equal(clip.frames, source.read(range(101))), "nothing is drawn outside of training"


def test_the_cache_knows_how_sound_became_frames(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", np.zeros(4000), 8000)
    found = []
    for mels in (20, 24, 20):
        reading = Reading(sound=SoundConfig(sample_rate=8000, mels=mels))
        cache = FrameCache(tmp_path / "cache", reading)
        clips = ClipDataset(
            [Example("a.wav")], tmp_path, SamplingConfig("all"), PreprocessConfig(), cache=cache, reading=reading
        )
        clip = clips[0, 0]
        assert isinstance(clip, Clip)
        found.append(tuple(clip.frames.shape))
    assert found == [(51, 20), (51, 24), (51, 20)]
    assert len(list((tmp_path / "cache").glob("*.frames.npy"))) == 2
