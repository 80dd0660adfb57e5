"""Sound: times and lengths, frames against the whole sound at once, what is read of a long file, what is refused."""

import struct
import wave
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from unreel.data.readers import audio, samples
from unreel.data.readers.audio import BLOCK, SoundSource
from unreel.data.readers.samples import Samples
from unreel.data.readers.spectrogram import SoundConfig, mel_filters
from unreel.errors import ReadError

from sounds import write_sound  # isort: skip

RATE = 16000
CONFIG = SoundConfig(sample_rate=RATE, mels=20)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


def write(path: Path, samples: np.ndarray, rate: int = RATE, exact: bool = False) -> Path:
    """A file; `exact` keeps every bit of the samples (WAV)."""
    return write_sound(path, samples, rate, *(("pcm_f64le", "dbl") if exact else ()))


def at_once(samples: np.ndarray, config: SoundConfig) -> torch.Tensor:
    """The frames of a whole sound by torch's own padding."""
    spectrum = torch.stft(
        torch.from_numpy(samples).float(),
        config.fft,
        config.hop_samples,
        config.window_samples,
        torch.hann_window(config.window_samples),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return 10 * (mel_filters(config) @ spectrum.abs().square()).clamp_min(1e-10).log10().T


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 1600, 16001, 64 * 160, 65 * 160, 40000])
def test_frames_are_those_of_the_whole_sound(tmp_path: Path, samples: int) -> None:
    sound = noise(samples)
    with SoundSource(write(tmp_path / "a.wav", sound, exact=True), CONFIG) as source:
        assert len(source) == 1 + samples // 160
        assert source.frame_shape == (20,)
        assert source.times.dtype == torch.float64
        torch.testing.assert_close(source.times, torch.arange(len(source), dtype=torch.float64) / 100)
        found = source.read(range(len(source)))
    assert found.dtype == torch.float32
    expected = at_once(sound, CONFIG)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


FORMATS = [("wav", 44100), ("wav", RATE), ("flac", 44100), ("ogg", 48000), ("mp3", 44100), ("mp3", RATE)]


@pytest.mark.parametrize(("suffix", "rate"), FORMATS)
@pytest.mark.parametrize("hold", [1000, 2**22], ids=["decoded again", "held"])
def test_any_order_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, rate: int, hold: int
) -> None:
    path = write(tmp_path / f"a.{suffix}", 0.5 * noise(3 * rate), rate)
    with SoundSource(path, CONFIG) as source:
        count = len(source)
        whole = source.read(range(count))
    monkeypatch.setattr(audio, "Samples", partial(Samples, hold=hold))
    with SoundSource(path, CONFIG) as source:
        for indices in ([count - 1], [7, 0, 7, 3], [], list(range(count))[::-1], [130, 2, 131], [BLOCK, BLOCK - 1]):
            assert torch.equal(source.read(indices), whole[indices])
        assert torch.equal(torch.cat([source.read(range(t, min(t + 16, count))) for t in range(0, count, 16)]), whole)


@pytest.mark.parametrize(("suffix", "rate"), FORMATS)
def test_a_click_stands_at_its_time(tmp_path: Path, suffix: str, rate: int) -> None:
    """Whatever a codec puts in front of the first sample and behind the last is not there."""
    sound = np.zeros(rate)
    sound[rate // 2 :][: rate // 200] = noise(rate // 200)
    with SoundSource(write(tmp_path / f"a.{suffix}", sound, rate), CONFIG) as source:
        assert len(source) == 101
        energy = source.read(range(len(source))).mean(1)
    assert float(source.times[energy.argmax()]) == pytest.approx(0.5 + 1 / 400, abs=0.0051)


def test_a_tone_is_heard_in_its_mel_whatever_the_rate(tmp_path: Path) -> None:
    for rate in (8000, RATE, 44100):
        tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
        with SoundSource(write(tmp_path / f"{rate}.wav", tone, rate), CONFIG) as source:
            middle = source.read([50])[0]
        heard = int(middle.argmax())
        assert mel_filters(CONFIG)[heard, round(1000 * 512 / RATE)] == mel_filters(CONFIG)[:, 32].max()
        assert float(middle.max()) == pytest.approx(20 * np.log10(0.5 * 100), abs=3), (
            "half of the window's sum, squared"
        )


def test_a_tone_above_the_new_nyquist_is_not_heard(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 10000 * np.arange(44100) / 44100)
    with SoundSource(write(tmp_path / "a.wav", tone, 44100, exact=True), CONFIG) as source:
        assert float(source.read([50]).max()) < 34 - 80


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(8000, 1), noise(8000, 2)
    write(tmp_path / "stereo.wav", np.stack([left, right], 1), exact=True)
    write(tmp_path / "mono.wav", (left + right) / 2, exact=True)
    write(tmp_path / "opposed.wav", np.stack([left, -left], 1), exact=True)
    found = []
    for name in ("stereo", "mono", "opposed"):
        with SoundSource(tmp_path / f"{name}.wav", CONFIG) as source:
            found.append(source.read(range(len(source))))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)
    assert (found[2] == -100).all()


def test_silence_and_a_single_sample_are_sounds(tmp_path: Path) -> None:
    with SoundSource(write(tmp_path / "silent.wav", np.zeros(1000)), CONFIG) as source:
        assert (source.read(range(len(source))) == -100).all()
    with SoundSource(write(tmp_path / "one.wav", np.full(1, 0.5)), CONFIG) as source:
        assert source.times.tolist() == [0.0]
        assert source.read([0]).isfinite().all()


def test_only_the_stretch_that_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "long.wav", np.zeros(5 * 60 * 8000), 8000)
    read: list[int] = []
    original = samples._mono

    def counted(frame: av.AudioFrame) -> np.ndarray:
        read.append(frame.samples)
        return original(frame)

    monkeypatch.setattr(samples, "_mono", counted)
    with SoundSource(path, CONFIG) as source:
        assert len(source) == 30001
        source.read(range(10000, 10100))
        assert sum(read) < 3 * 8000
        assert source.read([0, 29999]).shape == (2, 20)
        assert sum(read) < 5 * 8000
        read.clear()
        for begin in range(0, 640, 16):
            source.read(range(begin, begin + 16))
        assert sum(read) < 8 * 8000, "stretches that follow one another are read once"


def reason(path: Path) -> str:
    with pytest.raises(ReadError) as caught, SoundSource(path, CONFIG) as source:
        source.read(range(len(source)))
    assert caught.value.path == str(path)
    assert caught.value.reason.isprintable()
    return caught.value.reason


def test_a_file_without_a_sample_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    assert "expected" in reason(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(40000))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert any(said in reason(path) for said in ("cut off", "cannot"))


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_a_file_that_promises_nothing_is_what_is_there(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", 0.5 * noise(5 * RATE))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with SoundSource(path, CONFIG) as source:
        assert 100 < len(source) < 400
        assert source.read(range(len(source))).isfinite().all()


def test_vorbis_made_by_another_library() -> None:
    """A chirp of one second from 200 to 2000 Hz, by libsndfile."""
    path = Path(__file__).parent / "goldens" / "chirp.ogg"
    found = Samples(path)
    second = np.arange(22050) / 22050
    chirp = 0.4 * np.sin(2 * np.pi * (200 * second + 900 * second**2))
    assert found.rate == 22050
    assert 22050 - 512 <= found.length <= 22050, "FFmpeg may take a block too much off the end of Vorbis"
    assert np.abs(found.read(500, 21500) - chirp[500:21500]).max() < 0.08
    again = Samples(path, hold=1000)
    for begin, end in ((15000, 16000), (2000, 9000), (8000, 8010)):
        assert np.array_equal(again.read(begin, end), found.read(begin, end))


def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    """As programs write it that write into a pipe."""
    path = write(tmp_path / "a.wav", noise(8000))
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(data))
    with SoundSource(path, CONFIG) as source:
        assert len(source) == 51


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_where_it_stands(tmp_path: Path, value: float) -> None:
    sound = noise(16000).astype(np.float32)
    sound[12800] = value
    path = write(tmp_path / "a.wav", sound, exact=True)
    assert "near 0.79" in reason(path)
    with SoundSource(path, CONFIG) as source:
        assert source.read([0, 1]).isfinite().all(), "before it there is sound"


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.flac", noise(4000))
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the upper 4 of the 36 bits that tell how many samples there are
    path.write_bytes(bytes(data))
    assert "expected 64424513440 samples, got 4000" in reason(path)
    monkeypatch.setattr(audio, "MAX_FRAMES", 20)
    assert "expected at most 20 frames" in reason(write(tmp_path / "a.wav", noise(4000)))


def test_a_closed_source_says_so(tmp_path: Path) -> None:
    source = SoundSource(write(tmp_path / "a.wav", noise(8000)), CONFIG)
    source.close()
    with pytest.raises(ReadError, match="closed"):
        source.read([0])
