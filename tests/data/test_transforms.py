"""Transforms: sizes, the same thing done to all frames, and no trace in the global random state."""

import numpy as np
import pytest
import torch
from PIL import Image

from unreel.data.transforms import AugmentConfig, PreprocessConfig, augment, augment_each, preprocess
from unreel.errors import ConfigError

ALL = AugmentConfig(flip=True, crop=0.5, brightness=0.4, contrast=0.4, shift=0.2)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [("rgb", 3), ("grey", 1)])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(3, 40, 60), (1, 61, 33), (3, 3, 200), (1, 8, 8)])
def test_any_frame_gets_the_shape_asked_for(shape: tuple[int, ...], fit: str, channels: tuple[str, int]) -> None:
    config = PreprocessConfig((17, 23), fit, channels[0])  # type: ignore[arg-type]
    frames = preprocess(noise(2, *shape), config)
    assert frames.shape == (2, channels[1], 17, 23)
    assert frames.dtype == torch.uint8
    assert frames.is_contiguous()


def test_resizing_is_that_of_pillow() -> None:
    frames = noise(1, 3, 90, 120)
    pillow = Image.fromarray(frames[0].permute(1, 2, 0).numpy()).resize((32, 24), Image.Resampling.BILINEAR)
    ours = preprocess(frames, PreprocessConfig((24, 32)))[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - np.asarray(pillow).astype(int)).max() <= 1


def test_crop_and_pad_keep_the_proportions() -> None:
    frames = torch.zeros(1, 1, 20, 40, dtype=torch.uint8)
    frames[..., 10:30] = 200  # the middle square is bright
    crop = preprocess(frames, PreprocessConfig((20, 20), "crop", "grey"))
    assert (crop == 200).all()
    pad = preprocess(torch.full_like(frames, 200), PreprocessConfig((40, 40), "pad", "grey"))
    assert (pad[:, :, 10:30] == 200).all()
    assert (pad[:, :, :10] == 0).all()
    assert (pad[:, :, 30:] == 0).all()


def test_a_frame_does_not_depend_on_the_others() -> None:
    frames, config = noise(5, 3, 30, 41), PreprocessConfig((16, 16), "crop")
    assert torch.equal(preprocess(frames, config)[2:3], preprocess(frames[2:3], config))


@pytest.mark.parametrize("frames", [torch.rand(4, 7), torch.rand(4, 3, 8, 8), torch.arange(4), noise(4, 5, 8, 8)])
def test_what_is_no_image_passes(frames: torch.Tensor) -> None:
    assert preprocess(frames, PreprocessConfig((2, 2))) is frames
    assert augment(frames, ALL, seed=0) is frames
    assert augment_each(frames, ALL, range(4)) is frames


def test_all_frames_are_changed_alike() -> None:
    frames = noise(1, 3, 20, 24).expand(6, -1, -1, -1).clone()
    changed = augment(frames, ALL, seed=3)
    assert changed.shape == frames.shape
    assert (changed == changed[:1]).all()
    assert not torch.equal(changed, frames)


def test_the_seed_decides_and_the_global_state_stays() -> None:
    frames = noise(2, 1, 20, 24)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (augment(frames, ALL, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(augment(frames, ALL, 1), one)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_each_change_does_what_it_says() -> None:
    frames = noise(1, 3, 16, 16)
    flips = [torch.equal(augment(frames, AugmentConfig(flip=True), seed), frames.flip(-1)) for seed in range(40)]
    assert 8 < sum(flips) < 32
    assert augment(frames, AugmentConfig(), 0) is frames
    means = [augment(frames, AugmentConfig(brightness=0.5), seed).float().mean() for seed in range(40)]
    assert min(means) < 0.7 * frames.float().mean() < frames.float().mean() < max(means)
    spreads = [augment(frames, AugmentConfig(contrast=0.5), seed).float().std() for seed in range(40)]
    assert min(spreads) < 0.8 * frames.float().std() < frames.float().std() < max(spreads)
    ramp = torch.arange(64, dtype=torch.uint8).expand(1, 1, 64, 64).contiguous()
    widths = [
        int(crop.max()) - int(crop.min()) for crop in (augment(ramp, AugmentConfig(crop=0.3), s) for s in range(40))
    ]
    assert 25 < min(widths) < 45
    assert max(widths) <= 63


@pytest.mark.parametrize(
    "values", [{"crop": 0}, {"crop": 1.1}, {"brightness": -1}, {"contrast": 2}, {"shift": -1}, {"shift": 2}]
)
def test_settings_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        AugmentConfig(**values)
    with pytest.raises(ConfigError, match="height, width"):
        PreprocessConfig((0, 5))


def test_a_shift_moves_the_picture_and_brings_in_black() -> None:
    frames = noise(2, 3, 12, 8).clamp(min=1)
    config = AugmentConfig(shift=0.25)  # by up to 3 pixels down, 2 right
    seen = set()
    for seed in range(300):
        moved = augment(frames, config, seed)
        padded = torch.nn.functional.pad(frames, (2, 2, 3, 3))
        places = [
            (down, right)
            for down in range(7)
            for right in range(5)
            if torch.equal(moved, padded[..., down : down + 12, right : right + 8])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 35
    assert torch.equal(augment(frames, config, 7), augment(frames, config, 7))


@pytest.mark.parametrize(
    "config", [AugmentConfig(), AugmentConfig(flip=True), AugmentConfig(flip=True, shift=0.3), ALL]
)
def test_each_of_many_images_is_changed_as_by_itself(config: AugmentConfig) -> None:
    frames, seeds = noise(6, 3, 9, 11), [5, 0, 2**55, 7, 5, 1]
    alone = [augment(frame[None], config, seed)[0] for frame, seed in zip(frames, seeds, strict=True)]
    assert torch.equal(augment_each(frames, config, seeds), torch.stack(alone))


def test_what_was_given_stays_as_it_was() -> None:
    frames = noise(3, 1, 8, 8)
    before = frames.clone()
    augment(frames, AugmentConfig(flip=True, shift=0.25), 1).zero_()
    augment_each(frames, AugmentConfig(flip=True, shift=0.25), [1, 2, 3]).zero_()
    assert torch.equal(frames, before)
