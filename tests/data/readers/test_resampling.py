"""Resampling: against tones whose samples at any rate are known, and any stretch against the whole."""

import math

import numpy as np
import pytest

from unreel.data.readers.resampling import Resampling

RATES = [(44100, 16000), (8000, 16000), (48000, 16000), (16000, 11025), (11127, 16000), (16000, 16000)]


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * math.pi * hertz * np.arange(round(rate * seconds)) / rate + 0.3)


def whole(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    resampling = Resampling(source, target)
    return stretch(resampling, samples, 0, resampling.length(len(samples)))


def stretch(resampling: Resampling, samples: np.ndarray, begin: int, end: int) -> np.ndarray:
    first, last = resampling.span(begin, end)
    padded = np.pad(samples, (max(0, -first), max(0, last - len(samples))))
    place = first + max(0, -first)
    return resampling.run(padded[place : place + last - first], begin, end)


def middle(samples: np.ndarray) -> np.ndarray:
    """Without the borders, where the sound begins and ends out of nothing."""
    return samples[len(samples) // 4 : -len(samples) // 4]


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.88])
def test_a_tone_that_both_rates_hold_stays_itself(source: int, target: int, share: float) -> None:
    hertz = share * min(source, target) / 2
    found = whole(tone(hertz, source), source, target)
    assert len(found) == target
    assert np.abs(middle(found) - middle(tone(hertz, target))).max() < 1e-4


@pytest.mark.parametrize(("source", "target"), [(44100, 16000), (48000, 16000), (16000, 11025)])
@pytest.mark.parametrize("share", [1.0, 1.03, 1.2])
def test_what_the_new_rate_cannot_hold_is_gone(source: int, target: int, share: float) -> None:
    """Otherwise a tone at share · Nyquist folds back to (2 - share) · Nyquist."""
    found = middle(whole(tone(share * target / 2, source), source, target))
    assert 20 * math.log10(np.abs(found).max()) < -85


def test_no_image_appears_above_the_old_nyquist() -> None:
    found = middle(whole(tone(3400, 8000, 4.0), 8000, 16000))
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)))) / len(found) * 4
    hertz = np.fft.rfftfreq(len(found), 1 / 16000)
    assert spectrum[np.abs(hertz - 3400) < 20].max() == pytest.approx(1, abs=0.01)
    assert 20 * math.log10(spectrum[hertz > 4000].max()) < -85


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_stretch_has_the_bits_of_the_whole(source: int, target: int) -> None:
    samples = np.random.default_rng(0).standard_normal(source // 4)
    resampling = Resampling(source, target)
    length = resampling.length(len(samples))
    all_of_it = stretch(resampling, samples, 0, length)
    for begin, end in ((0, 1), (0, 100), (17, 18), (501, 1777), (length - 300, length), (length - 1, length)):
        assert np.array_equal(stretch(resampling, samples, begin, end), all_of_it[begin:end])
    outside = stretch(resampling, samples, -10, length + 10)
    assert np.array_equal(outside[10:-10], all_of_it)


def test_the_same_rate_changes_nothing() -> None:
    samples = np.random.default_rng(0).standard_normal(1000)
    assert np.array_equal(whole(samples, 22050, 22050), samples)
    assert Resampling(22050, 22050).span(3, 9) == (3, 9)


def test_a_constant_stays_constant() -> None:
    found = middle(whole(np.ones(44100), 44100, 16000))
    assert np.abs(found - 1).max() < 1e-4


def test_lengths_cover_the_source() -> None:
    assert Resampling(44100, 16000).length(1) == 1
    assert Resampling(44100, 16000).length(44100) == 16000
    assert Resampling(44100, 16000).length(44101) == 16001
    assert Resampling(8000, 16000).length(3) == 6


def test_rates_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="too little in common"):
        Resampling(2**31 - 1, 16000)
