"""One image of the many in a file: arrays in an .npz, IDX (the MNIST family), the original files of CIFAR-10.

    mnist.npz!x_train/17                 row 17 of the array x_train; (n, H, W), (n, H, W, C) or (n, C, H, W)
    train-images-idx3-ubyte.gz!17        image 17; unpacked too, and with a dot before idx
    data_batch_1.bin!17                  CIFAR-10, the binary version
    data_batch_1!17                      CIFAR-10, the version for Python: a pickle, read without running it

Each is a clip of one frame (C, H, W): uint8 stays, booleans become uint8, all other numbers float32. The arrays stay
open for the next image, up to 16 of them in a process: mapped where the file is one plain array, else in memory.

What this file is not: which of the images are for training, and what their labels mean, is `data/image_sets.py`.

Shape letters: n images of a file, C channels, H W pixels.
"""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers import plain_pickle
from unreel.data.readers.arrays import BROKEN, CHANNELS, channels_first
from unreel.data.readers.source import Closing, check_indices, one_line
from unreel.errors import ReadError

OPEN_ARRAYS = 16
"""Arrays that a process keeps open: reading a compressed one anew for each image would take minutes."""

_IDX = re.compile(r".*[-.]idx\d-ubyte(\.gz)?")
_CIFAR = re.compile(r"(data_batch_\d+|test_batch)(\.bin)?")
_RECORD = 1 + 3 * 32 * 32
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BROKEN = (*BROKEN, EOFError, gzip.BadGzipFile, UnicodeError)


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


def holds_image(file: str, inner: str) -> bool:
    """Whether `file!inner` is the place of an image, by the names alone."""
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
    """The image at a place for which `holds_image` says yes.

    Raises:
        ReadError: the file cannot be read, or has no such image.
    """
    path = f"{file}!{inner}"
    return ArrayImage(path, _row(path, file, inner))


def image_bytes(file: str, inner: str) -> bytes:
    """Shape and pixels of the image at a place, for finding the same image twice.

    Raises:
        ReadError: the file cannot be read, or has no such image.
    """
    pixels = _row(f"{file}!{inner}", file, inner)
    return f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes()


def load_npz(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Arrays of an .npz by name; objects are refused.

    Raises:
        ReadError: the file is broken or has no such array.
    """
    with _npz(path) as archive:
        return [archive[name] for name in names]


def npz_names(path: Path) -> list[str]:
    """Names of the arrays of an .npz.

    Raises:
        ReadError: the file is broken.
    """
    with _npz(path) as archive:
        return list(archive.files)


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
    except _BROKEN as error:
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
    except _BROKEN as error:
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


def check_images(shape: tuple[int, ...]) -> None:
    """Refuse arrays that hold no images.

    Raises:
        ValueError: neither (n, H, W) nor (n, H, W, C) nor (n, C, H, W), or nothing in it.
    """
    flat = len(shape) == 4 and not {shape[1], shape[-1]}.isdisjoint(CHANNELS)  # and no volumes
    if not (len(shape) == 3 or flat) or 0 in shape:
        raise ValueError(f"expected images (n, H, W), (n, H, W, C) or (n, C, H, W) of 1, 3 or 4 channels, got {shape}")


@contextmanager
def _npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    try:
        # numpy leaves a file that it opened by itself to the garbage collector when it is no archive
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):  # numpy would take it for a pickle, and say how to load that
                raise ValueError("the file is no .npz")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except _BROKEN as error:
        raise ReadError(path, f"expected an .npz of arrays: {one_line(error)}") from error


def _row(path: str, file: str, inner: str) -> NDArray[Any]:
    array, _, row = inner.rpartition("/")
    try:
        state = Path(file).stat()
        if not S_ISREG(state.st_mode):  # to open a pipe waits for somebody to write into it, perhaps for ever
            raise OSError("got a folder, a pipe or a device")
        images = _images(file, array, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ReadError(path, f"expected a file of images: {one_line(error)}") from error
    except ValueError as error:
        raise ReadError(path, one_line(error)) from error
    except ReadError as error:
        raise ReadError(path, error.reason) from error
    if int(row) >= len(images):
        raise ReadError(path, f"expected an image from 0 to {len(images) - 1}, there is no {row}")
    return images[int(row)]


@lru_cache(maxsize=OPEN_ARRAYS)
def _images(file: str, array: str, size: int, mtime_ns: int) -> NDArray[Any]:
    """All images (n, C, H, W) of a file, or of one array in it; size and mtime notice a file that was written anew."""
    path, kind = Path(file), kind_of(file)
    if kind == "cifar":
        return load_cifar(path)[0]
    images = load_npz(path, [array])[0] if kind == "npz" else load_idx(path)
    check_images(images.shape)
    if images.dtype.kind not in "buif":
        raise ValueError(f"expected images of numbers, got dtype {images.dtype}")
    return channels_first(images)
