"""One image of the many in a file: arrays in an .npz, IDX (the MNIST family), the original files of CIFAR-10.

    mnist.npz!x_train/17                 row 17 of the array x_train; (n, H, W), (n, H, W, C) or (n, C, H, W)
    train-images-idx3-ubyte.gz!17        image 17; unpacked too, and with a dot before idx
    data_batch_1.bin!17                  CIFAR-10, the binary version
    data_batch_1!17                      CIFAR-10, the version for Python: a pickle, read without running it

Each is a clip of one frame (C, H, W): uint8 stays, booleans become uint8, all other numbers float32. The arrays stay
open for the next image, up to 16 of them in a process: mapped where the file is one plain array, else in memory.

What this file is not: which of the images are for training, and what their labels mean, is `data/image_sets.py`. The
row of an .npz may be a volume: `stacks.py` tells which are, and opens them.

Shape letters: n images of a file, C channels, H W pixels.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers import plain_pickle
from unreel.data.readers.arrays import CHANNELS, channels_first
from unreel.data.readers.npz import OPEN_ARRAYS, array_of, row_of
from unreel.data.readers.source import BROKEN, Closing, check_indices, one_line, stamp
from unreel.errors import ReadError

_IDX = re.compile(r".*[-.]idx\d-ubyte(\.gz)?")
_CIFAR = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?")
_RECORD = 1 + 3 * 32 * 32
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class ArrayImage(Closing):
    """One image as a clip of one frame.

    Args:
        path: what the caller opened, named in errors.
        pixels: (C, H, W).

    Attributes:
        times: (1,) float64, zero.
        frame_shape: (C, H, W).
    """

    def __init__(self, path: object, pixels: NDArray[Any]) -> None:
        self._path = path
        self._pixels: NDArray[Any] | None = pixels
        self.frame_shape: tuple[int, ...] = pixels.shape
        self.times = torch.zeros(1, dtype=torch.float64)

    def __len__(self) -> int:
        return 1

    def read(self, indices: Sequence[int]) -> Tensor:
        """The image as often as `indices` names it, (n, C, H, W), uint8 or float32.

        Raises:
            ReadError: the source was closed.
            IndexError: an index is not 0.
        """
        checked = check_indices(indices, 1, self._path)
        if self._pixels is None:
            raise ReadError(self._path, "expected an open image, this one was closed")
        kept = self._pixels.dtype in (np.uint8, np.bool_)
        frame = self._pixels.astype(np.uint8 if kept else np.float32)
        return torch.from_numpy(np.repeat(frame[None], len(checked), axis=0))

    def close(self) -> None:
        """Forget the image; the array that it is of stays open."""
        self._pixels = None


def is_row(file: str, inner: str) -> bool:
    """Whether `file!inner` is the place of one of many in a file of arrays, by the names alone."""
    kind = kind_of(file)
    if kind is None:
        return False
    array, _, row = inner.rpartition("/")
    return row.isdecimal() and bool(array) == (kind == "npz")


def kind_of(file: str | Path) -> Literal["npz", "idx", "cifar"] | None:
    """What the name says that a file of many images is; None for any other file."""
    name = re.split(r"[/\\]", str(file))[-1]
    if name.lower().endswith(".npz"):
        return "npz"
    return "idx" if _IDX.fullmatch(name) else "cifar" if _CIFAR.fullmatch(name) else None


def open_array_image(file: str, inner: str) -> ArrayImage:
    """The image at a place for which `is_row` says yes.

    Raises:
        ReadError: the file cannot be read, or has no such image.
    """
    return ArrayImage(f"{file}!{inner}", image_of(file, inner))


def image_of(file: str, inner: str) -> NDArray[Any]:
    """The pixels (C, H, W) at a place for which `is_row` says yes.

    Raises:
        ReadError: the file cannot be read, or has no such image.
    """
    name, _, number = inner.rpartition("/")
    return row_of(f"{file}!{inner}", number, lambda: _images(file, name))


def count_images(file: str | Path) -> int:
    """How many images an IDX file, or a batch of CIFAR-10, holds: their places are `file!0`, `file!1` ...

    Raises:
        ReadError: it cannot be read, or holds no images.
    """
    return len(_images(str(file), ""))


def load_idx(path: Path) -> NDArray[Any]:
    """The array of an IDX file, gzipped where the name ends so.

    Raises:
        ReadError: it is broken, or not as long as its header says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        zero, code, axes = struct.unpack(">HBB", data[:4])
        if zero or code not in _IDX_TYPES:
            raise ValueError(f"it begins with {data[:4].hex(' ')}")
        shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
        dtype = np.dtype(_IDX_TYPES[code])
        numbers = data[4 + 4 * axes :]
        if len(numbers) != int(np.prod(shape, dtype=np.float64)) * dtype.itemsize:
            raise ValueError(f"{len(numbers)} bytes of numbers where the header says {shape} of {dtype.itemsize}")
        return np.frombuffer(numbers, dtype).reshape(shape)
    except BROKEN as error:
        raise ReadError(path, f"expected an IDX file: {one_line(error)}") from error


def load_cifar(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Pixels (n, 3, 32, 32) and labels (n,) of a batch of CIFAR-10, in the binary version or that for Python.

    Raises:
        ReadError: it is broken, torn, or another kind of file.
    """
    try:
        if path.suffix.lower() == ".bin":
            size = path.stat().st_size
            if not size or size % _RECORD:
                raise ValueError(f"expected records of {_RECORD} bytes, got {size} bytes: the file is cut short")
            records = np.memmap(path, np.uint8, "r").reshape(-1, _RECORD)
            return records[:, 1:].reshape(-1, 3, 32, 32), np.array(records[:, 0])
        batch = read_plain(path)
        pixels, labels = np.asarray(batch["data"]), np.asarray(batch["labels"])
        if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape != (len(labels), _RECORD - 1):
            raise ValueError(f"data of {pixels.shape} and {pixels.dtype} for {len(labels)} labels")
        return pixels.reshape(-1, 3, 32, 32), labels
    except BROKEN as error:
        hint = "" if path.suffix else "; the binary version of the data set holds the same images"
        raise ReadError(path, f"expected a batch of CIFAR-10: {one_line(error)}{hint}") from error


def read_plain(path: Path) -> dict[str, Any]:
    """The dict in a file of CIFAR-10 for Python, its keys as text.

    Raises:
        ValueError: it holds anything but plain data.
    """
    found = plain_pickle.read(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"expected a dict, got {type(found).__name__}")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


def are_images(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape holds images: (n, H, W), (n, H, W, C) or (n, C, H, W), C of 1, 3 or 4."""
    with_channels = len(shape) == 4 and not {shape[1], shape[-1]}.isdisjoint(CHANNELS)
    return (len(shape) == 3 or with_channels) and 0 not in shape


def _images(file: str, name: str) -> NDArray[Any]:
    """All images (n, C, H, W) of a file, or of one array in it."""
    try:
        images = array_of(file, name) if kind_of(file) == "npz" else _whole(Path(file), *stamp(Path(file)))
    except OSError as error:
        raise ReadError(file, f"expected a file of images: {one_line(error)}") from error
    if not are_images(images.shape) or images.dtype.kind not in "buif":
        wanted = "expected images (n, H, W), (n, H, W, C) or (n, C, H, W) of numbers, of 1, 3 or 4 channels"
        raise ReadError(file, f"{wanted}, got {images.shape} of {images.dtype}")
    return channels_first(images)


@lru_cache(maxsize=OPEN_ARRAYS)
def _whole(path: Path, size: int, changed: int) -> NDArray[Any]:
    """The array of an IDX file or a batch of CIFAR-10; size and time notice a file that was written anew."""
    return load_cifar(path)[0] if kind_of(path) == "cifar" else load_idx(path)
