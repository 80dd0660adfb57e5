"""Decoded video frames to uint8 pixels, upright.

Grey video becomes one channel, all other three in the order RGB; deeper samples come down to 8 bits, transparency is
dropped. Frames are turned and mirrored as the display matrix of the file asks.

What this file is not: it decodes nothing; `video.py` does.
"""

from __future__ import annotations

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Orientation = tuple[int, int, int, int]
"""The display matrix [[a, b], [c, d]] of a frame, its entries brought to -1, 0 or 1; the identity is upright."""

UPRIGHT: Orientation = (1, 0, 0, 1)


class Pixels:
    """Converts frames. Keeps what the conversion of the last frame has set up for the next one."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def shape(self, frame: VideoFrame) -> tuple[int, int, int]:
        """(C, H, W) of what `write` makes of `frame`."""
        channels = 1 if is_grey(frame.format) else 3
        if abs(orientation(frame)[1]) == 1:
            return channels, frame.width, frame.height
        return channels, frame.height, frame.width

    def write(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        """Write the pixels of `frame` into `out`, (H, W, C).

        Raises:
            FFmpegError: there is no conversion from the format of the frame.
        """
        grey = is_grey(frame.format)
        # one thread: the others decode the next frames meanwhile
        converted = self._reformatter.reformat(frame, format="gray" if grey else "rgb24", threads=1)
        plane = converted.planes[0]
        channels = 1 if grey else 3
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        pixels = rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)
        out[:] = turn(pixels, orientation(frame))


def is_grey(pixel_format: VideoFormat) -> bool:
    """Whether frames of this format have brightness only, with or without transparency."""
    if pixel_format.has_palette or pixel_format.is_rgb:
        return False
    return sum(not component.is_alpha for component in pixel_format.components) == 1


def orientation(frame: VideoFrame) -> Orientation:
    """How the file asks the frame to be turned. Angles that are no quarter turns count as the nearest one."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if b >= 0 else -1), (1 if c >= 0 else -1), 0


def turn(pixels: NDArray[np.uint8], how: Orientation) -> NDArray[np.uint8]:
    """`pixels` (H, W, C) as a view turned and mirrored by the display matrix.

    The matrix sends the point (x, y) of the stored frame, y downwards, to (a·x + c·y, b·x + d·y) of the shown one.
    """
    a, b, c, d = how
    if b:
        # the shown y runs along the stored x, the shown x along the stored y
        return pixels.swapaxes(0, 1)[::b, ::c]
    return pixels[::d, ::a]
