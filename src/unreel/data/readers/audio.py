"""Sound as a source: frames are those of a log-mel spectrogram (`spectrogram.py`), computed where they are asked for.

libsndfile reads WAV, FLAC, Ogg (Vorbis, Opus) and MP3, through the package soundfile: it tells the number of samples
and goes to any of them exactly; FFmpeg, which reads our videos, seeks by packets. Channels are averaged, another sample
rate is brought to that of the settings, and samples from before the beginning and after the end are zeros. A frame is
computed in a block of 64, always the same ones together, so that it has the same bits whatever else is read; of a long
file only the stretch around the frames that are asked for is read.

A file without a sample is an error, as are samples that are no numbers, and a WAV or FLAC file that ends before the
samples that its header promises. MP3 and Ogg promise nothing: what is there counts. Silence is -100 dB, and a single
sample makes a frame.

What this file is not: it augments nothing and normalises nothing.

Shape letters: S samples, T frames, M mels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers.resampling import Resampling
from unreel.data.readers.source import Closing, check_indices, one_line
from unreel.data.readers.spectrogram import SoundConfig, log_mel
from unreel.errors import ConfigError, ReadError

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

MAX_FRAMES = 2**26
"""More frames than this (a week of sound) are taken for a damaged header: their times alone would fill the memory."""

BLOCK = 64
"""Frames that are computed together."""

BLOCKS = 64
"""Blocks whose samples are held at a time."""


class SoundSource(Closing):
    """The frames of a sound file.

    Args:
        path: the file.
        config: how sound becomes frames; None for the settings by default.

    Attributes:
        times: (T,) float64 seconds of the middle of each window: 0, hop, 2·hop ...
        frame_shape: (M,).

    Raises:
        ReadError: the file is no sound that can be read, or holds no sample, or not all that it promises.
        ConfigError: soundfile is not installed.
    """

    def __init__(self, path: str | Path, config: SoundConfig | None = None) -> None:
        self._path = Path(path)
        self._config = config = config or SoundConfig()
        library = sound_library()
        try:
            self._file = library.SoundFile(str(path))
        except (library.SoundFileError, OSError) as error:
            raise ReadError(path, f"expected sound: {one_line(error)}") from error
        try:
            self._broken = (library.SoundFileError, OSError)
            self._resampling = self._check()
            length = self._resampling.length(self._file.frames)
            self.times = torch.arange(config.frames(length), dtype=torch.float64) * config.hop_samples
            self.times /= config.sample_rate
        except ReadError:
            self._file.close()
            raise
        self.frame_shape = (config.mels,)
        self._last: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames at `indices`, (n, M) float32 in decibels.

        Raises:
            ReadError: samples cannot be read or are no numbers, or the source was closed.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        blocks: dict[int, Tensor] = {}
        missing = sorted({index // BLOCK for index in checked})
        if self._last is not None and self._last[0] in missing:
            blocks.update([self._last])
            missing.remove(self._last[0])
        for first, count in _runs(missing):
            blocks.update(zip(range(first, first + count), self._blocks(first, count), strict=True))
        if missing:
            self._last = missing[-1], blocks[missing[-1]]
        frames = [blocks[index // BLOCK][index % BLOCK] for index in checked]
        return torch.stack(frames) if frames else torch.empty(0, *self.frame_shape)

    def close(self) -> None:
        """Release the file."""
        self._file.close()
        self._last = None

    def _check(self) -> Resampling:
        """What brings the file to the sample rate of the settings.

        Raises:
            ReadError: the header does not tell of sound that can be read.
        """
        file, config = self._file, self._config
        if file.frames < 1:
            raise ReadError(self._path, "expected at least one sample, got none")
        if not file.seekable():
            raise ReadError(self._path, "expected a file in which one can seek")
        if self._path.suffix.lower() == ".wav" and (missing := _missing_bytes(self._path)):
            raise ReadError(self._path, f"expected {missing} more bytes of samples: the file was cut off")
        try:
            resampling = Resampling(file.samplerate, config.sample_rate)
        except ValueError as error:
            raise ReadError(self._path, f"{error}: bring the file to {config.sample_rate} Hz before") from error
        if config.frames(resampling.length(file.frames)) > MAX_FRAMES:
            raise ReadError(self._path, f"expected at most {MAX_FRAMES} frames, the header says {file.frames} samples")
        return resampling

    def _blocks(self, first: int, count: int) -> Iterator[Tensor]:
        """`count` blocks of frames from block `first` on, each (BLOCK, M); behind the last frame stands anything."""
        hop, fft = self._config.hop_samples, self._config.fft
        begin = first * BLOCK * hop - fft // 2
        samples = torch.from_numpy(self._samples(begin, begin + (count * BLOCK - 1) * hop + fft)).float()
        for block in range(count):
            piece = samples[block * BLOCK * hop :][: (BLOCK - 1) * hop + fft]
            frames = log_mel(piece, self._config)
            inside = frames[: len(self) - (first + block) * BLOCK]
            if not inside.isfinite().all():
                place = (first + block) * BLOCK + int((~inside.isfinite().all(1)).nonzero()[0])
                raise ReadError(
                    self._path, f"expected numbers as samples, got what is none near {self.times[place]:.3f} s"
                )
            yield frames

    def _samples(self, begin: int, end: int) -> NDArray[np.float64]:
        """The samples from `begin` to `end` at the sample rate of the settings, zeros beyond the ends of the file."""
        first, last = self._resampling.span(begin, end)
        samples = np.zeros(last - first)
        inside = slice(max(first, 0), min(last, self._file.frames))
        if inside.start < inside.stop:
            samples[inside.start - first : inside.stop - first] = self._read(inside.start, inside.stop)
        return self._resampling.run(samples, begin, end)

    def _read(self, begin: int, end: int) -> NDArray[np.float64]:
        """The mean of the channels of the file's own samples from `begin` to `end`."""
        if self._file.closed:
            raise ReadError(self._path, "expected an open file, this one was closed")
        try:
            self._file.seek(begin)
            samples = self._file.read(end - begin, dtype="float32", always_2d=True)
        except self._broken as error:
            raise ReadError(self._path, f"expected samples {begin} to {end}: {one_line(error)}") from error
        if len(samples) < end - begin:
            told = f"expected {self._file.frames} samples, got {begin + len(samples)}: the file was cut off"
            raise ReadError(self._path, told)
        return samples.mean(1, dtype=np.float64)


def is_sound_name(path: str | Path) -> bool:
    """Whether a file of this name is read as sound."""
    return Path(path).suffix.lower() in SOUND_SUFFIXES


def sound_library() -> ModuleType:
    """The package soundfile.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: there is no libsndfile for this machine in it
        raise ConfigError("reading sound needs soundfile: pip install 'unreel[audio]'") from error
    return soundfile


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First block and number of blocks of each run without a gap, none longer than `BLOCKS`."""
    begin = 0
    for place in range(1, len(blocks) + 1):
        if place == len(blocks) or blocks[place] != blocks[place - 1] + 1 or place - begin == BLOCKS:
            yield blocks[begin], place - begin
            begin = place


def _missing_bytes(path: Path) -> int:
    """How many bytes of samples a WAV file promises and does not hold; libsndfile would make it a shorter sound."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return 0
        file.seek(12)
        size = _find_data(file)
        held = path.stat().st_size - file.tell()
    # who writes into a pipe cannot know the size, and writes 0 or the largest there is
    return max(0, size - held) if size < 2**31 else 0


def _find_data(file: BinaryIO) -> int:
    """Size of the chunk `data`, at whose beginning the file then stands; 0 where there is none."""
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            return size
        file.seek(size + size % 2, 1)
    return 0
