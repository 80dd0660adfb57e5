"""Packets of a video: what the container says of each frame before any is decoded.

One pass over the container without decoding gives the order of display, the times and the keyframes. Where the
container does not say enough (AVI has no times of display, a cut recording starts with frames that lean on
others not in the file), the packets in question are decoded once to learn it.

What this file is not: it makes no pixels. `video.py` decides what to decode, `pixels.py` converts.

A packet is known by its number: its place in the file among the packets of the video that hold data.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unreel.data.readers.source import MAX_PIXELS, one_line
from unreel.errors import ReadError

MAX_PACKETS = 2**23
"""More than a day of video at 60 frames a second: beyond it the container is taken for damaged."""

Place = tuple[int | None, int | None, int | None, int]


@dataclass
class _Seen:
    """What one pass over the container tells, packet by packet."""

    pts: list[int | None] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    empty: int = 0


class Packets:
    """The packets of the first video in a file, in memory or read again from the file.

    Args:
        path: the file.
        memory: bytes of packets to keep at most. Those of a longer video are read again when they are needed.
        threads: how many threads decode.

    Attributes:
        times: (T,) float64 seconds of the frames in order of display.
        order: T numbers, the packet that holds each frame.
        starts: T numbers, the keyframe to decode each frame from.

    Raises:
        ReadError: the file is no video, holds fewer frames than its header promises, or more than any camera makes.
    """

    def __init__(self, path: Path, memory: int, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._kept: list[Packet] | None = []
        self._container, stream = self._open()
        self._stream: VideoStream | None = stream
        with ExitStack() as on_error, _said_of(path):
            on_error.callback(self.close)
            seen = self._look(memory)
            first_key = seen.keys[0] if seen.keys else 0
            self._keys = [0, *(key for key in seen.keys if key > first_key)]
            self._places = seen.places
            ticks = self._ticks(seen, first_key)
            self.order = sorted(ticks, key=lambda number: (ticks[number], number))
            self.starts = [self._start(number, ticks, seen.pts) for number in self.order]
            base = self._live().time_base
            if base is None:
                raise ReadError(path, "expected times of the frames, the header has no unit of time")
            shown = np.array([ticks[number] for number in self.order], dtype=np.float64)
            self.times = torch.from_numpy(shown * base.numerator / base.denominator)
            on_error.pop_all()

    @property
    def codec(self) -> VideoCodecContext:
        """The decoder. Another one after a read that had to start the file again.

        Raises:
            ReadError: the file was closed.
        """
        return self._live().codec_context

    @property
    def all_keys(self) -> bool:
        """Whether no packet needs another one to be decoded."""
        return len(self._keys) == len(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Release the file and the packets."""
        self._container.close()
        # the threads of the decoder end with the last reference to it
        self._stream = None
        self._kept = []

    def key_before(self, number: int) -> int:
        """The last keyframe before packet `number`; 0 if there is none."""
        return self._keys[max(bisect_right(self._keys, number - 1) - 1, 0)]

    def read_from(self, number: int) -> Iterator[Packet]:
        """The packets `number`, `number + 1`, ..., each marked with its number.

        Raises:
            FFmpegError: the container cannot be read.
        """
        if self._kept is not None:
            yield from itertools.islice(self._kept, number, None)
            return
        for packet in self._seek(number):
            mark(packet, number)
            yield packet
            number += 1

    def _live(self) -> VideoStream:
        if self._stream is None:
            raise ReadError(self._path, "expected an open video, this one was closed")
        return self._stream

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(
                # an absolute path is never taken for an address such as "http:..."
                str(self._path.absolute()),
                mode="r",
                metadata_errors="replace",
                container_options={"protocol_whitelist": "file"},
            )
        except (FFmpegError, ValueError) as error:
            raise ReadError(self._path, f"expected a video file: {one_line(error)}") from error
        try:
            return container, self._choose_stream(container)
        except ReadError:
            container.close()
            raise

    def _choose_stream(self, container: InputContainer) -> VideoStream:
        format_name = container.format.name
        if format_name == "tty":
            raise ReadError(self._path, "expected a video file, got text")
        streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise ReadError(self._path, f"expected a video, the {format_name} file holds none")
        stream = streams[0]
        if stream.codec_context is None:
            raise ReadError(self._path, "expected a known codec, there is no decoder for this video")
        height, width = stream.codec_context.height, stream.codec_context.width
        if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
            raise ReadError(
                self._path, f"expected frames of 1 to {MAX_PIXELS} pixels, the header says {width}×{height}"
            )
        stream.thread_count = self._threads
        if self._threads > 1:
            stream.thread_type = "FRAME"
        stream.codec_context.copy_opaque = True
        return stream

    def _look(self, memory: int) -> _Seen:
        seen = _Seen()
        held = 0
        stream = self._live()
        codec_name = stream.codec_context.name
        for packet in self._container.demux(stream):
            size = packet.size
            if size == 0:
                # a decoder would take a packet without data for the end of the video
                seen.empty += 1
                continue
            number = len(seen.pts)
            if number >= MAX_PACKETS:
                raise ReadError(self._path, f"expected at most {MAX_PACKETS} frames, the container has more")
            seen.pts.append(packet.pts)
            seen.places.append(_place(packet))
            seen.shown.append(not packet.is_discard and not _is_hidden(packet, codec_name))
            if packet.is_keyframe:
                seen.keys.append(number)
            if self._kept is not None:
                held += size
                if held > memory:
                    self._kept = None
                else:
                    mark(packet, number)
                    self._kept.append(packet)
        count = len(seen.pts)
        # the index of an MP4 leaves out what its edit list cuts away, its count of frames does not
        is_mp4 = "mp4" in self._container.format.name
        promised = len(stream.index_entries) if is_mp4 else stream.frames
        # the last packet of a demuxed stream is the one without data that ends it
        if count + seen.empty - 1 < promised:
            raise ReadError(self._path, f"cut short: the header promises {promised} frames, the file holds {count}")
        return seen

    def _ticks(self, seen: _Seen, first_key: int) -> dict[int, int]:
        """Time of display, in units of the stream, of each packet that is shown."""
        shown = [number for number, is_shown in enumerate(seen.shown) if is_shown and number >= first_key]
        ticks = {number: tick for number in shown if (tick := seen.pts[number]) is not None}
        # an AVI counts frames in the order of the file: where the decoder changes that order, its times tell nothing
        guessed = self._container.format.name == "avi" and self.codec.has_b_frames
        if len(ticks) < len(shown) or guessed:
            ticks = self._ticks_from_dts(seen, shown)
        elif ticks and first_key in ticks and min(ticks.values()) < ticks[first_key]:
            end = seen.keys[1] if len(seen.keys) > 1 else len(seen.pts)
            decodable = set(self._decode_order(end))
            ticks = {number: tick for number, tick in ticks.items() if number >= end or number in decodable}
        if not ticks:
            raise ReadError(self._path, f"expected video frames, the {self._container.format.name} file shows none")
        return ticks

    def _ticks_from_dts(self, seen: _Seen, shown: list[int]) -> dict[int, int]:
        dts = sorted(tick for number in shown if (tick := seen.places[number][2]) is not None)
        if len(dts) < len(shown):
            raise ReadError(self._path, "expected times of the frames, the container has none")
        in_order = shown
        if self.codec.has_b_frames:
            could_show = set(shown)
            in_order = [number for number in self._decode_order(len(seen.pts)) if number in could_show]
        return dict(zip(in_order, dts, strict=False))

    def _decode_order(self, end: int) -> list[int]:
        """The packets below `end` that become frames, in the order of the decoder."""
        order: list[int] = []
        for packet in itertools.chain(itertools.islice(self.read_from(0), end), [None]):
            try:
                frames = self.codec.decode(packet)
            except FFmpegError:
                # a frame that does not come is what is to be learned here
                continue
            order.extend(number for frame in frames if (number := number_of(frame)) is not None)
        self.codec.flush_buffers()
        return order

    def _start(self, number: int, ticks: dict[int, int], pts: list[int | None]) -> int:
        """The last keyframe that is neither decoded nor shown after packet `number`.

        Frames that follow a keyframe in the file and are shown before it (an open group) lean on the group before.
        """
        at = bisect_right(self._keys, number) - 1
        while at > 0:
            key = self._keys[at]
            tick = ticks.get(key, pts[key])
            if tick is not None and tick <= ticks[number]:
                break
            at -= 1
        return self._keys[at]

    def _seek(self, number: int) -> Iterator[Packet]:
        """Packets from `number` on: by a seek where that lands before it, else from the start of the file."""
        _, pts, dts, _ = self._places[number]
        ticks = [tick for tick in (pts, dts) if tick is not None]
        if number > 0 and ticks:
            try:
                self._container.seek(min(ticks), stream=self._live())
            except FFmpegError:
                # this container cannot seek: what follows starts the file again
                packets: Iterator[Packet] = iter(())
            else:
                packets = self._with_data()
            first = next(packets, None)
            landed = None if first is None else self._numbers.get(_place(first))
            if first is not None and landed is not None and landed <= number:
                return itertools.islice(itertools.chain([first], packets), number - landed, None)
        self._container.close()
        self._container, self._stream = self._open()
        return itertools.islice(self._with_data(), number, None)

    def _with_data(self) -> Iterator[Packet]:
        return (packet for packet in self._container.demux(self._live()) if packet.size)

    @cached_property
    def _numbers(self) -> dict[Place, int]:
        return {place: number for number, place in enumerate(self._places)}


def mark(packet: Packet, number: int) -> None:
    """Write `number` on `packet`; the decoder hands it on to the frame that the packet becomes."""
    # PyAV keeps marks by the identity of the object, so that each packet needs one of its own: a new tuple
    packet.opaque = (number,)


def number_of(frame: VideoFrame) -> int | None:
    """The number of the packet that became `frame`; None where the decoder made the frame up."""
    mark = frame.opaque
    return mark[0] if isinstance(mark, tuple) else None


def _place(packet: Packet) -> Place:
    return packet.pos, packet.pts, packet.dts, packet.size


def _is_hidden(packet: Packet, codec_name: str) -> bool:
    """Whether the packet only helps to decode others. WebM files have such packets in VP8, by the bit `show_frame`."""
    # RFC 6386, section 9.1
    return codec_name == "vp8" and not memoryview(packet)[0] & 0b10000


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FFmpegError as error:
        raise ReadError(path, f"expected video frames, reading them ended with: {one_line(error)}") from error
