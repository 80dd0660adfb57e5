"""Log-mel frames: against the formulas written out apart, and against numbers that librosa gives."""

import math

import numpy as np
import pytest
import torch

from unreel.data.readers.spectrogram import SoundConfig, decibels, energies, hz_to_mel, log_mel, mel_filters, mel_to_hz
from unreel.errors import ConfigError

CONFIGS = [
    SoundConfig(),
    SoundConfig(sample_rate=8000, mels=40),
    SoundConfig(sample_rate=22050, window=46.44, hop=23.22, mels=80, fmin=30.0, fmax=8000.0),
]


def triangle(hertz: float, left: float, middle: float, right: float) -> float:
    if left < hertz <= middle:
        return (hertz - left) / (middle - left)
    return (right - hertz) / (right - middle) if middle < hertz < right else 0.0


def filters_by_hand(config: SoundConfig) -> np.ndarray:
    """Each number by itself."""
    top = config.sample_rate / 2 if config.fmax is None else config.fmax
    low, high = (2595 * math.log10(1 + f / 700) for f in (config.fmin, top))
    corners = [700 * (10 ** ((low + (high - low) * i / (config.mels + 1)) / 2595) - 1) for i in range(config.mels + 2)]
    return np.array(
        [
            [triangle(k * config.sample_rate / config.fft, *corners[m : m + 3]) for k in range(config.fft // 2 + 1)]
            for m in range(config.mels)
        ]
    )


def test_the_scale_is_that_of_htk() -> None:
    assert hz_to_mel(0) == 0
    assert hz_to_mel(1000) == pytest.approx(1000, abs=0.02), "what the constants were made for"
    assert hz_to_mel(8000) == pytest.approx(2840.0230467083188)
    hertz = torch.tensor([0.0, 60.0, 440.0, 7999.0], dtype=torch.float64)
    back = mel_to_hz(torch.tensor([hz_to_mel(value) for value in hertz.tolist()], dtype=torch.float64))
    torch.testing.assert_close(back, hertz)


@pytest.mark.parametrize("config", CONFIGS)
def test_filters_are_the_triangles_of_the_formula(config: SoundConfig) -> None:
    found = mel_filters(config)
    assert found.shape == (config.mels, config.fft // 2 + 1)
    np.testing.assert_allclose(found.numpy(), filters_by_hand(config), atol=1e-6)


def test_filters_together_take_every_bin_once() -> None:
    """Between the middle of the lowest and that of the highest filter: so mel energies add up to the power."""
    config = SoundConfig()
    corners = np.flatnonzero(mel_filters(config).sum(0).numpy() > 0.999)
    assert corners[0] <= 2
    assert corners[-1] >= 245
    assert (np.diff(corners) == 1).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_frames_are_the_sums_of_the_docstring(config: SoundConfig) -> None:
    samples = np.random.default_rng(1).standard_normal(config.fft + 2 * config.hop_samples).astype(np.float32)
    found = log_mel(torch.from_numpy(samples), config)
    assert found.shape == (3, config.mels)
    size = config.window_samples
    window = np.zeros(config.fft)
    before = (config.fft - size) // 2
    window[before : before + size] = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(size) / size)
    for t in range(3):
        windowed = window * samples[t * config.hop_samples :][: config.fft]
        power = np.abs(np.fft.rfft(windowed)) ** 2
        expected = 10 * np.log10(np.maximum(filters_by_hand(config) @ power, 1e-10))
        np.testing.assert_allclose(found[t].numpy(), expected, atol=2e-3)


def test_the_numbers_of_librosa() -> None:
    """librosa 0.11.0: power_to_db(feature.melspectrogram(..., n_fft=256, win_length=200, hop_length=80, n_mels=12,
    fmin=50, fmax=3800, htk=True, norm=None, center=True, pad_mode="constant"), amin=1e-10, top_db=None)."""
    golden = {
        0: [14.242, 21.655, 15.448, 0.735, -6.053, -12.003, -19.372, -23.72, -11.3, 10.5, 10.85, -4.854],
        1: [8.186, 25.351, 19.154, -18.387, -26.101, -31.995, -38.746, -41.965, -31.335, 13.718, 13.88, -25.303],
        50: [-61.32, -56.698, -49.789, -36.626, 15.749, 25.876, 8.776, -43.174, -50.39, 13.721, 13.882, -51.694],
        99: [-27.5, -26.739, -25.735, -24.503, -22.803, -20.265, -15.294, 24.274, 22.152, 13.716, 13.883, -19.831],
    }
    second = np.arange(8000) / 8000
    sound = 0.3 * np.sin(2 * np.pi * (300 * second + 700 * second**2)) + 0.1 * np.sin(2 * np.pi * 2500 * second)
    config = SoundConfig(sample_rate=8000, window=25.0, hop=10.0, mels=12, fmin=50.0, fmax=3800.0)
    found = log_mel(torch.from_numpy(np.pad(sound, 128)).float(), config)
    assert len(found) == config.frames(8000) == 101
    for t, expected in golden.items():
        # what is 80 dB below the tones is rounding of float32
        np.testing.assert_allclose(found[t].numpy(), expected, atol=0.05 if t != 50 else 0.5)


def test_silence_is_at_the_floor() -> None:
    assert (log_mel(torch.zeros(512), SoundConfig()) == -100).all()
    assert (energies(torch.tensor([-100.0, -100.0])) == 0).all()
    values = torch.tensor([1e-9, 0.5, 3e4])
    torch.testing.assert_close(energies(decibels(values)), values)


def test_sizes() -> None:
    config = SoundConfig()
    assert (config.window_samples, config.hop_samples, config.fft, config.highest) == (400, 160, 512, 8000)
    assert config.seconds == 0.01
    assert [config.frames(samples) for samples in (1, 159, 160, 16000)] == [1, 1, 2, 101]
    assert SoundConfig(sample_rate=22050).seconds == 220 / 22050, "of whole samples"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mels": 0}, "mels must be at least 1"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"window": 0.01}, "window must hold 2 samples"),
        ({"hop": 0.0}, "hop=0.0 ms"),
        ({"fmin": 9000.0}, "fmin < fmax ≤ 8000 Hz"),
        ({"fmax": 9000.0}, "fmax=9000.0"),
        ({"fmin": 500.0, "fmax": 500.0}, "fmin"),
        ({"mels": 200}, "set fewer mels or a longer window"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SoundConfig(**settings)  # type: ignore[arg-type]
