"""Video files as a source: decodes just what the wanted frames need.

Every frame depends on the ones since its keyframe. A read goes through the file once, from keyframe to wanted frame,
jumps over groups of frames that hold none, and rolls on from where the last read stopped when that is on the way.
H.264 frames that nothing depends on are skipped unless wanted. The frame of an index is the same by every way of
reading; one that cannot be had, or that the decoder had to patch up, is an error and never a substitute.

What this file is not: `packets.py` knows the container, `pixels.py` the conversion to RGB. Sampling is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers.packets import Packets, number_of
from unreel.data.readers.pixels import Pixels
from unreel.data.readers.source import MAX_PIXELS, Closing, check_indices, one_line
from unreel.errors import ReadError

MEMORY = 64 * 2**20
"""Bytes of a video's packets that stay in memory. Clips fit; the packets of a film are read from the file again."""


THREADS = 8
"""More threads than this gain little on a clip and delay its first frame."""

REACH = 64
"""Where no frame needs another one, packets between two wanted frames are passed over up to this many, then sought."""


class VideoSource(Closing):
    """The frames of a video file.

    Decodes with as many threads as torch may use (`torch.get_num_threads()` at opening): one in a worker of a
    DataLoader, up to 8 in a process that reads alone. The frames do not depend on it.

    Args:
        path: the file.
        memory: bytes of packets to keep at most, so that they are not read from the file again.

    Attributes:
        times: (T,) float64 seconds, as the container tells them: not from zero, not evenly spaced.

    Raises:
        ReadError: the file is no video that can be decoded.
    """

    def __init__(self, path: str | Path, memory: int = MEMORY) -> None:
        self._path = Path(path)
        threads = min(torch.get_num_threads(), THREADS)
        self._packets = Packets(self._path, memory, threads)
        self.times = self._packets.times
        self._pixels = Pixels()
        self._shape: tuple[int, int, int] | None = None
        # frames that came out of the decoder behind the last wanted one
        self._ahead: dict[int, VideoFrame] = {}
        # packets that the decoder got and has not given back as frames
        self._inside: set[int] = set()
        self._feed: Iterator[Packet] | None = None
        self._at = 0

    def __len__(self) -> int:
        return len(self._packets.order)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a frame, upright. The first call decodes the first frame, which is then kept for a read.

        Raises:
            ReadError: the first frame cannot be decoded.
        """
        if self._shape is None:
            for number, frame in self._frames([0]):
                self._same_shape(number, frame)
                self._ahead[number] = frame
        assert self._shape is not None
        return self._shape

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames at `indices`, (n, C, H, W) uint8, C = 1 for grey video, else 3 (RGB).

        The tensor lies in memory with the channels last.

        Raises:
            ReadError: a frame is missing, damaged or of another size than the first one.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        if not checked:
            return torch.empty((0, *self.frame_shape), dtype=torch.uint8)
        order = self._packets.order
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(checked):
            rows.setdefault(order[index], []).append(row)
        pixels: NDArray[np.uint8] | None = None
        with ExitStack() as on_error:
            on_error.callback(self._forget)
            for number, frame in self._frames(sorted(set(checked))):
                channels, height, width = self._same_shape(number, frame)
                if pixels is None:
                    # only now: a header may lie about the size
                    pixels = np.empty((len(checked), height, width, channels), np.uint8)
                first, *others = rows[number]
                self._convert(frame, pixels[first])
                for other in others:
                    pixels[other] = pixels[first]
            on_error.pop_all()
        assert pixels is not None
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def close(self) -> None:
        """Release the file and the decoder."""
        self._packets.close()
        self._forget()

    def _frames(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Packet and decoded frame of each of `indices`, which are unique, in the order of the file.

        Raises:
            ReadError: a frame does not come, or comes damaged.
        """
        index_of = {self._packets.order[index]: index for index in indices}
        starts = {number: self._packets.starts[index] for number, index in index_of.items()}
        ahead, self._ahead = self._ahead, {}
        for number in starts.keys() & ahead.keys():
            yield number, ahead[number]
            del starts[number]
        for _ in range(2):
            for number, frame in self._decode(starts):
                del starts[number]
                if frame.is_corrupt:
                    raise self._failure(index_of[number], "the decoder had to patch it up")
                yield number, frame
            # a stream without clean starts gives nothing until its decoder has recovered: join it one group earlier
            starts = {number: self._packets.key_before(start) for number, start in starts.items()}
        if starts:
            raise self._failure(index_of[min(starts)], "the decoder does not deliver it")

    def _decode(self, starts: Mapping[int, int]) -> Iterator[tuple[int, VideoFrame]]:
        """Packet and frame of each key of `starts` that the decoder delivers; the value is where to decode from."""
        spans = self._spans(starts)
        for span in spans:
            if not self._is_on_the_way(span):
                self._jump(span.begin)
            missing = set(span.wanted)
            while missing and self._feed is not None:
                # behind the last wanted frame go on feeding, so that the next read can roll on from there;
                # elsewhere emptying the decoder is cheaper
                for frame in self._step(span, goes_on=span is spans[-1]):
                    number = number_of(frame)
                    if number is None:
                        continue
                    self._inside.discard(number)
                    if number in missing:
                        missing.discard(number)
                        yield number, frame
                    elif not missing:
                        self._ahead[number] = frame

    def _spans(self, starts: Mapping[int, int]) -> list[_Span]:
        """The stretches of packets to feed, in the order of the file."""
        reach = REACH if self._packets.all_keys else 1
        spans: list[_Span] = []
        for number in sorted(starts):
            if spans and starts[number] <= spans[-1].end + reach:
                spans[-1].end = number
                spans[-1].wanted.add(number)
            else:
                spans.append(_Span(starts[number], number, {number}))
        return spans

    def _is_on_the_way(self, span: _Span) -> bool:
        reach = REACH if self._packets.all_keys else 0
        return (
            self._feed is not None
            and span.begin <= self._at + reach
            and all(number >= self._at or number in self._inside for number in span.wanted)
        )

    def _jump(self, begin: int) -> None:
        self._forget()
        self._packets.codec.flush_buffers()
        self._feed = self._packets.read_from(begin)
        self._at = begin

    def _step(self, span: _Span, goes_on: bool) -> Sequence[VideoFrame]:
        """Feed the decoder one packet, or the end of all where none is left to feed; what comes out."""
        assert self._feed is not None
        packet = None
        try:
            while packet is None and (self._at <= span.end or goes_on):
                packet = next(self._feed)
                if self._packets.all_keys and self._at < span.end and self._at not in span.wanted:
                    packet = None
                self._at += 1
        except StopIteration:
            packet = None
        except FFmpegError as error:
            raise ReadError(
                self._path, f"expected packet {self._at} of {len(self._packets)}: {one_line(error)}"
            ) from error
        codec = self._packets.codec
        if packet is None:
            self._feed = None
            self._inside.clear()
        else:
            number = self._at - 1
            skips = codec.name == "h264" and number < span.end and number not in span.wanted
            codec.skip_frame = "NONREF" if skips else "DEFAULT"
            if not skips:
                self._inside.add(number)
        try:
            return codec.decode(packet)
        except FFmpegError as error:
            if self._at > span.end + 1:
                # behind the last wanted frame: whoever wants it will meet the error again
                return ()
            raise ReadError(
                self._path, f"packet {self._at - 1} of {len(self._packets)} cannot be decoded: {one_line(error)}"
            ) from error

    def _convert(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        try:
            self._pixels.write(frame, out)
        except FFmpegError as error:
            raise ReadError(
                self._path, f"expected frames that convert to RGB, got {frame.format.name}: {one_line(error)}"
            ) from error

    def _same_shape(self, number: int, frame: VideoFrame) -> tuple[int, int, int]:
        shape = self._pixels.shape(frame)
        if self._shape is None:
            if shape[1] * shape[2] > MAX_PIXELS:
                raise ReadError(self._path, f"expected frames of at most {MAX_PIXELS} pixels, got {shape}")
            self._shape = shape
        elif shape != self._shape:
            why = f"it is {shape} (C, H, W), others are {self._shape}; a video needs one size"
            raise self._failure(self._packets.order.index(number), why)
        return shape

    def _failure(self, index: int, why: str) -> ReadError:
        return ReadError(
            self._path, f"frame {index} of {len(self)}, at {self.times[index]:.3f} s, cannot be read: {why}"
        )

    def _forget(self) -> None:
        """Leave the decoder where nothing can roll on from it."""
        self._feed = None
        self._at = 0
        self._inside.clear()
        self._ahead.clear()


@dataclass
class _Span:
    """Packets `begin` to `end` are fed for the sake of the `wanted` ones."""

    begin: int
    end: int
    wanted: set[int]
