"""Source: what every reader opens a path to. Frames by index, their times, and nothing else.

What this file is not: it opens nothing and knows no format; those are `video.py`, `images.py` and `arrays.py`. A source
knows no label, no sampling and no model.

Shape letters: T frames, C channels, H W pixels, D features.
"""

from __future__ import annotations

import errno
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Protocol, Self

from torch import Tensor

MAX_PIXELS = 2**28
"""Frames of more pixels than this are taken for a damaged header: they would fill the memory."""

BROKEN = (
    # what numpy, Pillow, pydicom, nibabel, zlib and the like raise for bytes that are not what they claim
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    EOFError,
    MemoryError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
"""What foreign decoders raise for a broken file. A reader adds what its own library has besides."""


class Source(Protocol):
    """Frames of one file or folder. A context manager: leaving it closes it.

    A source belongs to the process that opened it; workers open their own.
    """

    @property
    def times(self) -> Tensor:
        """(T,) float64, seconds of each frame as the container tells them; positions 0, 1, 2 ... where none does."""
        ...

    @property
    def views(self) -> Tensor | None:
        """(T,) int64, the view of each frame, for scans their plane; None where there is one view."""
        ...

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame as `read` returns it: (C, H, W) pixels, turned upright, or (D,) features."""
        ...

    def __len__(self) -> int:
        """T, the number of frames."""
        ...

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames at `indices`, in that order; any order, repeats allowed.

        Args:
            indices: n numbers, each 0..T-1.

        Returns:
            (n, *frame_shape), uint8 for images.

        Raises:
            ReadError: a frame cannot be read.
            IndexError: an index is outside 0..T-1.
        """
        ...

    def close(self) -> None:
        """Release the file. Closing twice does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing:
    """What sources have in common: leaving them as a context manager calls `close`, and most show one view."""

    views: Tensor | None = None

    def close(self) -> None:
        """Release the file."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_indices(indices: Sequence[int], length: int, name: object) -> list[int]:
    """`indices` as a list of ints.

    Raises:
        IndexError: one of them is outside 0..length-1.
    """
    checked = [int(index) for index in indices]
    for index in checked:
        if not 0 <= index < length:
            raise IndexError(f"{name} has frames 0 to {length - 1}, frame {index} was asked for")
    return checked


def one_line(error: BaseException) -> str:
    """What a library's error says, as one printable line."""
    # an error of the system or of FFmpeg says in `strerror` what it says as a whole, less the number and the file
    said = " ".join(str(getattr(error, "strerror", None) or error).split())
    return "".join(letter if letter.isprintable() else "?" for letter in said) or type(error).__name__


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file: what is kept of it holds for as long as they stay.

    Raises:
        OSError: it is missing, or no file; to open a pipe may wait for ever.
    """
    found = path.stat()
    if not S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "expected a file, got a folder, a pipe, a socket or a device")
    return found.st_size, found.st_mtime_ns
