"""Sound as a picture: what is high stands high, what is late stands right, and only what is asked for is shown."""

from pathlib import Path

import numpy as np
import pytest

from unreel.data import Reading, SoundConfig
from unreel.reports.pictures import pictures
from unreel.reports.spectrograms import COLUMNS, read_spectrogram
from unreel.reports.timeline import timeline_png

from sounds import write_sound  # isort: skip

READING = Reading(sound=SoundConfig(sample_rate=8000, mels=32))


@pytest.fixture
def two_tones(tmp_path: Path) -> Path:
    """Half a second of 300 Hz, then half a second of 3000 Hz."""
    at = np.arange(4000) / 8000
    tones = [0.5 * np.sin(2 * np.pi * hertz * at) for hertz in (300, 3000)]
    write_sound(tmp_path / "tones.wav", np.concatenate(tones), 8000)
    return tmp_path / "tones.wav"


def test_low_stands_below_and_late_stands_right(two_tones: Path) -> None:
    pixels, seconds = read_spectrogram(two_tones, None, None, READING)
    assert pixels.shape == (32, 101, 3)
    assert pixels.dtype == np.uint8
    assert seconds == (0.0, 1.0)
    bright = pixels.astype(int).sum(2).argmax(0)
    assert (bright[5:45] > 20).all()
    assert (bright[55:95] < 8).all()


def test_only_what_is_between_start_and_end(two_tones: Path) -> None:
    pixels, seconds = read_spectrogram(two_tones, 0.6, 0.9, READING)
    assert pixels.shape == (32, 31, 3)
    assert seconds == pytest.approx((0.6, 0.9))
    found = pictures(two_tones.parent, "tones.wav", 0.6, 0.9, reading=READING)
    assert (len(found.images), found.wide, found.missing) == (1, True, "")
    assert "no frame between" in pictures(two_tones.parent, "tones.wav", 5.0, 6.0, reading=READING).missing


def test_a_long_sound_is_thinned_and_a_silent_one_is_dark(tmp_path: Path) -> None:
    write_sound(tmp_path / "long.wav", np.zeros(60 * 8000), 8000)
    pixels, seconds = read_spectrogram(tmp_path / "long.wav", None, None, READING)
    assert pixels.shape == (32, COLUMNS, 3)
    assert seconds == (0.0, 60.0)


def test_a_timeline_has_the_spectrogram_above_its_lanes(two_tones: Path) -> None:
    times = [0.1 * t for t in range(10)]
    row = {"file": "tones.wav", "times": times, "labels": ["high"] * 10, "scores": {"high": [0.7] * 10}}
    with_sound = timeline_png([row], ["high"], two_tones.parent, READING)
    without = timeline_png([row], ["high"], None, READING)
    assert with_sound[:4] == without[:4] == b"\x89PNG"
    assert len(with_sound) > len(without) + 2000
