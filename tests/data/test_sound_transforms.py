"""Augmentation of sound: what is masked, how loud noise is, where a shifted clip is heard, and who decides."""

import math

import pytest
import torch

from unreel.data.readers.spectrogram import SoundConfig, energies, log_mel
from unreel.data.sound_transforms import SoundAugmentConfig, augment_sound, shift_sound, warp_frequencies
from unreel.errors import ConfigError

SOUND = SoundConfig(sample_rate=8000, mels=24)
T = 60
TIMES = 3.0 + torch.arange(T, dtype=torch.float64) * SOUND.seconds


def clip(seed: int = 0, t: int = T) -> torch.Tensor:
    return 10 * torch.randn(t, SOUND.mels, generator=torch.Generator().manual_seed(seed)) - 20


def test_nothing_asked_for_changes_nothing() -> None:
    frames = clip()
    assert augment_sound(frames, SoundAugmentConfig(), SOUND, 1) is frames
    assert shift_sound(frames, TIMES, SoundAugmentConfig(), 1).frames is frames


def test_the_seed_alone_decides() -> None:
    config = SoundAugmentConfig(
        frequency_masks=2,
        time_masks=2,
        time_width=0.2,
        time_share=0.5,
        warp=0.1,
        gain=6.0,
        shift=0.1,
        noise=(5.0, 20.0),
    )
    frames, before = clip(), torch.get_rng_state()
    kept = frames.clone()
    changed = [augment_sound(frames, config, SOUND, seed) for seed in (1, 1, 2)]
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0], changed[2])
    shifts = [shift_sound(frames, TIMES, config, seed).heard[0].item() for seed in (1, 1, 2, 3, 4)]
    assert shifts[0] == shifts[1]
    assert len(set(shifts)) > 1
    assert torch.equal(frames, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_are_whole_bands_and_stretches_within_their_widths() -> None:
    config = SoundAugmentConfig(frequency_masks=1, frequency_width=6, time_masks=1, time_width=0.15, time_share=1.0)
    heights, widths = set(), set()
    for seed in range(300):
        frames = clip(seed)
        found = augment_sound(frames, config, SOUND, seed)
        changed = found != frames
        assert (found[changed] == frames.mean()).all()
        bands, stretches = changed.all(0), changed.all(1)
        assert torch.equal(changed, bands[None] | stretches[:, None])
        for marked, sizes in ((bands, heights), (stretches, widths)):
            places = marked.nonzero().flatten()
            assert len(places) == 0 or int(places[-1] - places[0]) == len(places) - 1
            sizes.add(len(places))
    assert heights == set(range(7))
    assert widths == set(range(16))


def test_masks_of_time_take_a_share_of_the_clip_at_most() -> None:
    config = SoundAugmentConfig(time_masks=1, time_width=10.0, time_share=0.25)
    sizes = {int((augment_sound(clip(t=12), config, SOUND, seed) != clip(t=12)).all(1).sum()) for seed in range(100)}
    assert sizes == {0, 1, 2, 3}
    assert torch.equal(augment_sound(clip(t=1), config, SOUND, 0), clip(t=1)), "a single frame is never all masked"


def test_masks_reach_both_ends() -> None:
    config = SoundAugmentConfig(frequency_masks=1, frequency_width=4, time_masks=1, time_width=0.05, time_share=1.0)
    changed = torch.stack([augment_sound(clip(), config, SOUND, seed) != clip() for seed in range(400)]).any(0)
    assert changed.all()


@pytest.mark.parametrize("down", [-5.0, 0.0, 10.0])
def test_noise_is_as_loud_as_white_noise_added_to_the_samples(down: float) -> None:
    """Energies of both ways, mel by mel, in the mean over a long sound."""
    generator = torch.Generator().manual_seed(0)
    samples = 80 * 2000 + SOUND.fft
    at = torch.arange(samples) / SOUND.sample_rate
    # what is heard of it lies between the middles of the lowest and the highest filter
    signal = sum(torch.sin(2 * math.pi * hertz * at + hertz) for hertz in (310.0, 900.0, 1711.0)) / 4
    # in-band noise: of all that is white, filters take most; so the deviation follows from what they take
    clean = energies(log_mel(signal, SOUND))
    white = torch.randn(samples, generator=generator)
    of_white = energies(log_mel(white, SOUND)).sum(1).mean()
    deviation = (clean.sum(1).mean() / 10 ** (down / 10) / of_white).sqrt()
    wanted = energies(log_mel(signal + deviation * white, SOUND)).mean(0)
    config = SoundAugmentConfig(noise=(down, down))
    found = energies(augment_sound(log_mel(signal, SOUND), config, SOUND, 1)).mean(0)
    torch.testing.assert_close(found, wanted, rtol=0.08, atol=0)


def test_noise_fluctuates_as_white_noise_does() -> None:
    """A frame of noise is no constant: the deviation over time is that of real noise, but for overlapping windows."""
    generator = torch.Generator().manual_seed(0)
    real = energies(log_mel(torch.randn(80 * 2000 + SOUND.fft, generator=generator), SOUND))
    silent = torch.full((2000, SOUND.mels), -100.0)
    silent[0] = 200.0  # something for the noise to be as loud as
    drawn = energies(augment_sound(silent, SoundAugmentConfig(noise=(0.0, 0.0)), SOUND, 1))[1:]
    ratio = (drawn.std(0) / drawn.mean(0)) / (real.std(0) / real.mean(0))
    assert 0.6 < float(ratio.min()) <= float(ratio.max()) < 1.15


def test_noise_between_two_levels() -> None:
    config = SoundAugmentConfig(noise=(10.0, 30.0))
    silent = torch.full((400, SOUND.mels), -100.0)
    silent[:, 3] = 0.0
    levels = []
    for seed in range(50):
        added = energies(augment_sound(silent, config, SOUND, seed)) - energies(silent)
        levels.append(-10 * math.log10(float(added.sum(1).mean())))
    assert 9.5 < min(levels) < 15
    assert 25 < max(levels) < 30.5


def test_noise_in_silence_is_silence() -> None:
    silent = torch.full((5, SOUND.mels), -100.0)
    assert torch.equal(augment_sound(silent, SoundAugmentConfig(noise=(0.0, 0.0)), SOUND, 0), silent)


def tone(hertz: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(80 * 10 + SOUND.fft) / SOUND.sample_rate)


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.1])
@pytest.mark.parametrize("hertz", [500.0, 1500.0])
def test_a_warp_moves_a_tone_to_where_another_one_is_heard(factor: float, hertz: float) -> None:
    moved = warp_frequencies(log_mel(tone(hertz), SOUND), factor, SOUND)
    other = log_mel(tone(hertz * factor), SOUND)

    def middle(frames: torch.Tensor) -> float:
        energy = energies(frames)[5]
        return float((energy * torch.arange(SOUND.mels)).sum() / energy.sum())

    assert middle(moved) == pytest.approx(middle(other), abs=0.35), "mels"
    torch.testing.assert_close(warp_frequencies(clip(), 1.0, SOUND), clip(), atol=1e-4, rtol=0)


def test_a_warp_is_drawn_between_its_ends() -> None:
    frames = log_mel(tone(1500.0), SOUND)
    found = {float(augment_sound(frames, SoundAugmentConfig(warp=0.2), SOUND, seed)[5].argmax()) for seed in range(60)}
    lowest, highest = (float(warp_frequencies(frames, factor, SOUND)[5].argmax()) for factor in (0.8, 1.2))
    assert (min(found), max(found)) == (lowest, highest)


def test_a_gain_is_that_of_louder_samples() -> None:
    samples = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    gains = set()
    for seed in range(50):
        found = augment_sound(log_mel(samples, SOUND), SoundAugmentConfig(gain=12.0), SOUND, seed)
        by = float((found - log_mel(samples, SOUND)).mean())
        torch.testing.assert_close(found, log_mel(samples * 10 ** (by / 20), SOUND), rtol=1e-4, atol=1e-3)
        gains.add(by)
    assert -12 <= min(gains) < -8
    assert 8 < max(gains) <= 12


def test_silence_stays_silent_however_loud_the_rest() -> None:
    samples = torch.cat([torch.zeros(2000), 1e-4 * torch.randn(2000, generator=torch.Generator().manual_seed(0))])
    frames = log_mel(samples, SOUND)
    for seed in range(20):
        found = augment_sound(frames, SoundAugmentConfig(gain=60.0), SOUND, seed)
        assert torch.equal(found[:20], frames[:20])
        assert found.min() >= frames.min()


def test_a_shift_moves_frames_and_tells_when_they_were_heard() -> None:
    frames, config = clip(), SoundAugmentConfig(shift=0.1)
    seen = set()
    for seed in range(200):
        moved, heard = shift_sound(frames, TIMES, config, seed)
        by = round(float(TIMES[0] - heard[0]) / SOUND.seconds)
        seen.add(by)
        for t in range(T):
            source = t - by
            assert heard[t].item() == pytest.approx(3.0 + source * SOUND.seconds)
            inside = 0 <= source < T
            assert torch.equal(moved[t], frames[source] if inside else torch.full((SOUND.mels,), -100.0))
    assert seen == set(range(-10, 11))


def test_a_shift_leaves_a_frame_of_the_clip() -> None:
    for seed in range(20):
        moved, _ = shift_sound(clip(t=2), TIMES[:2], SoundAugmentConfig(shift=5.0), seed)
        assert (moved > -100).any()
    assert torch.equal(shift_sound(clip(t=1), TIMES[:1], SoundAugmentConfig(shift=5.0), 0).frames, clip(t=1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"time_masks": -1}, "time_masks must be at least 0"),
        ({"time_width": -0.1}, "time_width"),
        ({"time_share": 1.5}, "time_share must be from 0 to 1"),
        ({"warp": 1.0}, "warp below 1"),
        ({"gain": float("nan")}, "gain must be at least 0"),
        ({"noise": (20.0, 10.0)}, "least, most"),
        ({"noise": (1.0,)}, "least, most"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SoundAugmentConfig(**settings)  # type: ignore[arg-type]
