"""ClipDataset: the same clip however its frames are kept, and broken files as values."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unreel.clip import Clip, ClipBatch, collate
from unreel.data.cache import FrameCache
from unreel.data.dataset import Broken, ClipDataset
from unreel.data.loading import ClipLoader
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


STILLS = [
    (AugmentConfig(), True),
    (AugmentConfig(flip=True, shift=0.25), True),
    (AugmentConfig(flip=True, shift=0.25, crop=0.5, brightness=0.3), True),
    (AugmentConfig(flip=True, shift=0.25), False),
]


@pytest.mark.parametrize(("augment", "training"), STILLS)
def test_a_batch_of_stills_in_memory_is_what_collate_makes(
    tmp_path: Path, augment: AugmentConfig, training: bool
) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 3, 10, 12), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=frames)
    examples = [Example(f"a.npz!x_train/{row}", (str(row),)) for row in range(9)]
    plain, kept = (
        ClipDataset(
            examples, tmp_path, SEGMENT, SIZE, augment, encode, 3, training, memory=memory, frame_shape=(3, 8, 8)
        )
        for memory in (False, True)
    )
    places = [(epoch, index) for epoch, index in zip((1, 1, 1, 2, 2), (4, 0, 8, 3, 4), strict=True)]
    wanted = collate([clip for place in places if isinstance(clip := plain[place], Clip)])
    assert isinstance(kept.__getitems__(places), list)  # not in memory yet
    batch = kept.__getitems__(places)
    assert isinstance(batch, ClipBatch)
    assert torch.equal(batch.frames, wanted.frames)
    assert batch.frames.is_contiguous()
    assert (batch.keys, batch.lengths.tolist()) == (wanted.keys, wanted.lengths.tolist())
    assert torch.equal(batch.times, wanted.times)
    assert batch.targets.keys() == wanted.targets.keys()
    assert all(torch.equal(batch.targets[name], wanted.targets[name]) for name in wanted.targets)
    loader = ClipLoader(kept, 5, shuffle=training)
    for _ in range(2):  # the second pass comes joined
        assert sum(len(batch) for batch in loader) == 9


def test_stills_that_are_no_stills_come_one_by_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 8, 8), np.uint8))
    np.save(tmp_path / "film.npy", np.zeros((2, 1, 8, 8), np.uint8))
    np.save(tmp_path / "wide.npy", np.zeros((1, 7), np.float32))
    (tmp_path / "slice").mkdir()
    np.save(tmp_path / "slice" / "axial.npy", np.zeros((1, 8, 8), np.uint8))  # one frame, and a view
    names = ("a.npz!x_train/0", "a.npz!x_train/1", "film.npy", "wide.npy", "none.npy", "slice")
    for frame_shape in (None, (3, 8, 8)):
        kept = ClipDataset([Example(n) for n in names], tmp_path, SEGMENT, SIZE, memory=True, frame_shape=frame_shape)
        for index in range(6):
            kept[0, index]
        assert isinstance(kept.__getitems__([(0, 0), (0, 1)]), ClipBatch)
        for other in (2, 3, 4, 5):
            found = kept.__getitems__([(0, 0), (0, other)])
            assert isinstance(found, list)
            assert len(found) == 2
    strict = ClipDataset([Example(names[0])], tmp_path, SEGMENT, SIZE, memory=True, frame_shape=(1, 8, 8))
    for _ in range(2):
        [found] = strict.__getitems__([(0, 0)])
        assert isinstance(found, Broken)


def test_sounds_of_one_frame_in_memory_are_augmented(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", 0.1 * np.ones(10), 8000)
    noise = AugmentConfig(sound=SoundAugmentConfig(noise=(0.0, 0.0)))
    reading = Reading(sound=SoundConfig(sample_rate=8000, mels=20))
    kept = ClipDataset(
        [Example("a.wav")],
        tmp_path,
        SEGMENT,
        SIZE,
        noise,
        training=True,
        memory=True,
        frame_shape=(20,),
        reading=reading,
    )
    for _ in range(2):
        found = kept.__getitems__([(0, 0), (1, 0)])
        assert isinstance(found, list)
        assert all(isinstance(clip, Clip) for clip in found)
        assert not torch.equal(found[0].frames, found[1].frames)  # type: ignore[union-attr]
