"""Samples of a sound file, any stretch of them: decoded by PyAV, brought to -1..1, the mean of all channels.

PCM, as it stands in WAV, tells how long it is and is read from any place. All else is decoded once when it is opened,
which tells how many samples there really are, and kept where it is short; where it is long it is decoded again from its
beginning, and goes on from stretch to stretch. For what a decoder says behind a jump is not what it says on its way:
Vorbis, Opus and MP3 lean on what came before, and FLAC without a table of places lands elsewhere. (At the end of some
Vorbis files FFmpeg takes off a block too much, some milliseconds.)

(libsndfile, tried first, tells other samples of Vorbis after a jump back, and of MP3 with every other size of reads.)

What this file is not: it knows no frames of features and no other sample rate (`audio.py`, `resampling.py`).

Shape letters: S samples.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from unreel.data.readers.source import one_line
from unreel.errors import ReadError

HOLD = 2**22
"""Samples of a sound that stay in memory, 32 MB of them: 95 seconds at 44100 Hz. A longer one is decoded as needed."""

NEAR = 1.0
"""Seconds of PCM that are read rather than jumped over."""


class Samples:
    """The samples of the first sound in a file.

    Args:
        path: the file.
        hold: samples to keep in memory at most.

    Attributes:
        rate: samples a second.
        length: S.

    Raises:
        ReadError: the file is no sound that can be decoded, holds no sample, or not all that it promises.
    """

    def __init__(self, path: Path, hold: int = HOLD) -> None:
        self._path = path
        self._held: NDArray[np.float64] = np.zeros(0)
        self._at = 0  # of the sample behind those that are held
        self._closed = False
        self._container, self._stream = self._open()
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self.rate = self._stream.rate
            self._pieces = self._decode(0)
            self._seeks = self._stream.codec_context.name.startswith("pcm_")
            try:
                self.length = self._told() if self._seeks else self._count(hold)
            except FFmpegError as error:
                raise self._failure(error) from error
            if self.length < 1:
                raise ReadError(path, "expected at least one sample, got none")
            on_error.pop_all()

    def read(self, begin: int, end: int) -> NDArray[np.float64]:
        """The samples from `begin` to `end`, (end - begin,), 0 ≤ begin < end ≤ S.

        Raises:
            ReadError: they cannot be decoded, or the file was closed.
        """
        if self._closed:
            raise ReadError(self._path, "expected an open file, this one was closed")
        if len(self._held) == self.length:
            return self._held[begin:end]
        try:
            self._go_to(begin)
            first = self._at - len(self._held)
            pieces = [self._held[max(0, begin - first) :]]
            while self._at < end:
                piece = self._next()
                if self._at > begin:
                    pieces.append(piece[max(0, begin - self._at + len(piece)) :])
        except FFmpegError as error:
            raise self._failure(error) from error
        self._held = np.concatenate(pieces)
        return self._held[: end - begin]

    def close(self) -> None:
        """Release the file. Closing twice does nothing."""
        self._closed = True
        self._container.close()
        self._pieces = iter(())
        self._held = np.zeros(0)

    def _open(self) -> tuple[InputContainer, AudioStream]:
        try:
            container = av.open(
                # an absolute path is never taken for an address such as "http:..."
                str(self._path.absolute()),
                mode="r",
                metadata_errors="replace",
                container_options={"protocol_whitelist": "file"},
            )
        except (FFmpegError, ValueError) as error:
            raise ReadError(self._path, f"expected sound: {one_line(error)}") from error
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None and stream.rate]
        if not streams:
            told = f"the {container.format.name} file holds none that can be decoded"
            container.close()
            raise ReadError(self._path, f"expected sound, {told}")
        streams[0].codec_context.thread_count = 1
        return container, streams[0]

    def _told(self) -> int:
        """How many samples the header of PCM promises.

        Raises:
            ReadError: the file ends before. FFmpeg would make it a shorter sound.
        """
        if missing := _missing_bytes(self._path):
            raise ReadError(self._path, f"expected {missing} more bytes of samples: the file was cut off")
        return self._place(self._stream.duration)

    def _count(self, hold: int) -> int:
        """How many samples come out of the decoder. They are held where they are few.

        Raises:
            ReadError: FLAC, whose header counts them, promises more.
        """
        kept: list[NDArray[np.float64]] = []
        count = 0
        for piece in self._pieces:
            count += len(piece)
            kept.append(piece)
            if count > hold:
                kept.clear()
        if self._stream.codec_context.name == "flac" and count < (told := self._place(self._stream.duration)):
            raise ReadError(self._path, f"expected {told} samples, got {count}: the file was cut off")
        if 0 < count <= hold:
            self._held, self._at = np.concatenate(kept), count
            self._container.close()
        else:
            self._begin_again()
        return count

    def _place(self, ticks: int | None) -> int:
        """Samples in a time of the stream; 0 for none."""
        base = self._stream.time_base
        return 0 if ticks is None or base is None else round(ticks * base * self.rate)

    def _go_to(self, begin: int) -> None:
        """Let what comes next be at `begin` or before it."""
        first = self._at - len(self._held)
        if self._seeks and not first <= begin <= self._at + NEAR * self.rate:
            base = self._stream.time_base
            assert base is not None
            self._container.seek(int(begin / self.rate / base), stream=self._stream)
            self._held, self._pieces = np.zeros(0), self._decode(None)
            piece = next(self._pieces, None)
            if piece is not None and self._at <= begin:
                self._held, self._at = piece, self._at + len(piece)
                return
            self._begin_again()
        elif begin < first:
            self._begin_again()

    def _begin_again(self) -> None:
        self._container.close()
        self._container, self._stream = self._open()
        self._held, self._at, self._pieces = np.zeros(0), 0, self._decode(0)

    def _next(self) -> NDArray[np.float64]:
        piece = next(self._pieces, None)
        if piece is None:
            raise ReadError(self._path, f"expected {self.length} samples, got {self._at}: the file has changed")
        self._at += len(piece)
        return piece

    def _decode(self, at: int | None) -> Iterator[NDArray[np.float64]]:
        """Pieces from here on; `at` is where the first one belongs, None to learn it into `_at`.

        Raises:
            ReadError: a piece does not follow on the one before it.
        """
        origin = 0
        for frame in self._container.decode(self._stream):
            place = None if frame.pts is None else self._place(frame.pts)
            if at is None:
                self._at = at = place or 0
            elif at == 0:
                origin = place or 0
            if frame.sample_rate != self.rate:
                raise ReadError(self._path, f"expected {self.rate} samples a second, got {frame.sample_rate} later on")
            if place is not None and abs(place - origin - at) > self.rate / 1000:
                raise ReadError(self._path, f"sound is missing at {at / self.rate:.3f} s: the file is damaged")
            piece = _mono(frame)
            at += len(piece)
            yield piece

    def _failure(self, error: FFmpegError) -> ReadError:
        return ReadError(self._path, f"expected sound that can be decoded, it cannot: {one_line(error)}")


def _mono(frame: AudioFrame) -> NDArray[np.float64]:
    """The mean of the channels, (S,)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mean = samples.mean(0, dtype=np.float64)
    if samples.dtype.kind not in "iu":
        return mean
    peak = 2.0 ** (8 * samples.itemsize - 1)
    return (mean - (peak if samples.dtype.kind == "u" else 0.0)) / peak


def _missing_bytes(path: Path) -> int:
    """How many bytes of samples a WAV file promises and does not hold."""
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
