"""Sound as a source: frames are those of a log-mel spectrogram (`spectrogram.py`), computed where they are asked for.

WAV, FLAC, Ogg (Vorbis, Opus) and MP3 are decoded by PyAV, which reads the videos too (`samples.py`). Channels are
averaged, another sample rate is brought to that of the settings, and samples from before the beginning and after the
end are zeros. A frame is computed in a block of 64, always the same ones together, so that it has the same bits
whatever else is read. Of a long file only the stretch around the frames that are asked for is read, and of MP3 and Ogg
also what comes before.

A file without a sample is an error, as are samples that are no numbers, and a WAV or FLAC file that ends before the
samples that its header promises. Of MP3 and Ogg what is there counts. Silence is -100 dB, and a single sample makes a
frame.

What this file is not: it augments nothing and normalises nothing.

Shape letters: S samples, T frames, M mels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers.resampling import Resampling
from unreel.data.readers.samples import Samples
from unreel.data.readers.source import Closing, check_indices
from unreel.data.readers.spectrogram import SoundConfig, log_mel
from unreel.errors import ReadError

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
        ReadError: the file is no sound that can be read, or holds no sample.
    """

    def __init__(self, path: str | Path, config: SoundConfig | None = None) -> None:
        self._path = Path(path)
        self._config = config = config or SoundConfig()
        self._samples = Samples(self._path)
        try:
            self._resampling = Resampling(self._samples.rate, config.sample_rate)
        except ValueError as error:
            self._samples.close()
            raise ReadError(path, f"{error}: bring the file to {config.sample_rate} Hz before") from error
        count = config.frames(self._resampling.length(self._samples.length))
        if count > MAX_FRAMES:
            self._samples.close()
            told = f"the header says {self._samples.length} samples"
            raise ReadError(path, f"expected at most {MAX_FRAMES} frames, {told}")
        self.times = torch.arange(count, dtype=torch.float64) * config.hop_samples / config.sample_rate
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
        self._samples.close()
        self._last = None

    def _blocks(self, first: int, count: int) -> Iterator[Tensor]:
        """`count` blocks of frames from block `first` on, each (BLOCK, M); behind the last frame stands anything."""
        hop, fft = self._config.hop_samples, self._config.fft
        begin = first * BLOCK * hop - fft // 2
        samples = torch.from_numpy(self._stretch(begin, begin + (count * BLOCK - 1) * hop + fft)).float()
        for block in range(first, first + count):
            piece = samples[(block - first) * BLOCK * hop :][: (BLOCK - 1) * hop + fft]
            frames = log_mel(piece, self._config)
            finite = frames[: len(self) - block * BLOCK].isfinite().all(1)
            if not finite.all():
                seconds = self.times[block * BLOCK + int((~finite).nonzero()[0])]
                raise ReadError(self._path, f"expected numbers as samples, got what is none near {seconds:.3f} s")
            yield frames

    def _stretch(self, begin: int, end: int) -> NDArray[np.float64]:
        """The samples from `begin` to `end` at the sample rate of the settings, zeros beyond the ends of the file."""
        first, last = self._resampling.span(begin, end)
        samples = np.zeros(last - first)
        inside = slice(max(first, 0), min(last, self._samples.length))
        if inside.start < inside.stop:
            samples[inside.start - first : inside.stop - first] = self._samples.read(inside.start, inside.stop)
        return self._resampling.run(samples, begin, end)


def is_sound_name(path: str | Path) -> bool:
    """Whether a file of this name is read as sound."""
    return Path(path).suffix.lower() in SOUND_SUFFIXES


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First block and number of blocks of each run without a gap, none longer than `BLOCKS`."""
    begin = 0
    for place in range(1, len(blocks) + 1):
        if place == len(blocks) or blocks[place] != blocks[place - 1] + 1 or place - begin == BLOCKS:
            yield blocks[begin], place - begin
            begin = place
