"""Still images as a source: one image, a folder of frames, the images in a zip.

Frames stand in natural order of their names (`frame9` before `frame10`) and their times are positions 0, 1, 2 ...:
no file tells seconds. Pixels are uint8, upright by the EXIF orientation. Grey images keep one channel; palette, CMYK
and all other colours become RGB; transparency is dropped; of 16 bits the upper 8 are kept, as Pillow does for colour.
All frames of one source have one shape. Of an animated image or one of several pages, the first is read.

What this file is not: it knows no labels, although the folders that images stand in are often named after them.
"""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from unreel.data.readers.source import BROKEN, MAX_PIXELS, Closing, check_indices, one_line
from unreel.errors import ReadError
from unreel.natural import natural_key

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

OPEN_ARCHIVES = 4
"""Zips that a process keeps open, since listing the members of a large one takes longer than reading a clip from it."""

MAX_BYTES = 2**30
"""A larger member of a zip is taken for a damaged or malicious one."""

_BROKEN = (*BROKEN, Image.DecompressionBombError)

_ORIENTATION = 0x0112
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", *_GREY_16)
_TURNED = (5, 6, 7, 8)


class ImageSource(Closing):
    """Images as frames.

    Args:
        path: what the caller opened, named in errors.
        names: T ≥ 1 names of the images, in order.
        load: the bytes of the image of that name.

    Attributes:
        times: (T,) float64, the positions 0 .. T-1.
    """

    def __init__(self, path: object, names: Sequence[str], load: Callable[[str], bytes]) -> None:
        self._path = path
        self._names = names
        self._load = load
        self._shape: tuple[int, int, int] | None = None
        self._shaped_by = names[0]
        self.times = torch.arange(len(names), dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a frame, from the header of the first.

        Raises:
            ReadError: the first image cannot be read.
        """
        if self._shape is None:
            try:
                with _opened(self._load(self._names[0])) as image:
                    self._shape = _shape_of(image)
            except _BROKEN as error:
                raise self._failure(0, error) from error
        return self._shape

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames at `indices`, (n, C, H, W) uint8, C = 1 for grey, else 3 (RGB).

        The tensor lies in memory with the channels last.

        Raises:
            ReadError: an image cannot be decoded, or has another size than the first.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        if not checked:
            return torch.empty((0, *self.frame_shape), dtype=torch.uint8)
        pixels: np.ndarray | None = None
        first_row: dict[int, int] = {}
        for row, index in enumerate(checked):
            if pixels is not None and index in first_row:
                pixels[row] = pixels[first_row[index]]
                continue
            first_row[index] = row
            try:
                image = _decode(self._load(self._names[index]))
            except _BROKEN as error:
                raise self._failure(index, error) from error
            shape = image.shape[2], image.shape[0], image.shape[1]
            if self._shape is None:
                self._shape, self._shaped_by = shape, self._names[index]
            if shape != self._shape:
                one, other = f"{self._shaped_by} has {self._shape}", f"{self._names[index]} has {shape}"
                raise ReadError(self._path, f"expected frames of one shape (C, H, W): {one}, {other}")
            if pixels is None:
                pixels = np.empty((len(checked), *image.shape), np.uint8)
            pixels[row] = image
        assert pixels is not None
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def close(self) -> None:
        """Nothing is held open between reads."""

    def _failure(self, index: int, error: BaseException) -> ReadError:
        name = self._names[index]
        where = "" if str(self._path).endswith(name) else f" {name}"
        return ReadError(self._path, f"expected an image{where}: {_without_buffer(error)}")


def open_image(path: str | Path) -> ImageSource:
    """One image file as a clip of one frame."""
    return ImageSource(path, [Path(path).name], lambda _: Path(path).read_bytes())


def open_folder(path: str | Path) -> ImageSource:
    """The images that stand directly in a folder as one clip.

    Raises:
        ReadError: the folder cannot be listed or holds no image.
    """
    folder = Path(path)
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file() and is_image_name(entry.name)]
    except OSError as error:
        raise ReadError(path, f"expected a folder of images: {one_line(error)}") from error
    if not names:
        raise ReadError(path, f"expected a folder of images ({', '.join(IMAGE_SUFFIXES)}), it holds none")
    return ImageSource(path, sorted(names, key=natural_key), lambda name: (folder / name).read_bytes())


def open_zip(path: str | Path, inner: str = "") -> ImageSource:
    """Images of a zip as one clip: all of them, those below the folder `inner/`, or the one named `inner`.

    The zip stays open for the next read, up to 4 of them in a process.

    Raises:
        ReadError: the file is no zip, or has no such images.
    """
    whole = f"{path}!{inner}" if inner else str(path)
    try:
        archive = _archive_of(Path(path))
        if inner and not inner.endswith("/") and inner in archive.NameToInfo:
            names = [inner]
        else:
            folder = inner if not inner or inner.endswith("/") else inner + "/"
            names = sorted(
                (name for name in archive.namelist() if name.startswith(folder) and is_image_name(name)),
                key=natural_key,
            )
    except _BROKEN as error:
        raise ReadError(whole, f"expected a zip of images: {one_line(error)}") from error
    if not names:
        raise ReadError(whole, f"expected images ({', '.join(IMAGE_SUFFIXES)}) in the zip, there are none")
    return ImageSource(whole, names, lambda name: _member(_archive_of(Path(path)), name))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is read as an image. Hidden files, such as macOS puts into a zip, are not."""
    pure = PurePosixPath(name)
    return pure.suffix.lower() in IMAGE_SUFFIXES and not pure.name.startswith(".")


def _decode(data: bytes) -> np.ndarray:
    """(H, W, C) uint8, upright."""
    with _opened(data) as image:
        _shape_of(image)
        upright = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
        if upright.mode in _GREY_16:
            return (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)[:, :, None]
        if upright.mode in _GREY:
            return np.asarray(upright.convert("L"))[:, :, None]
        return np.asarray(upright.convert("RGB"))


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of large images; what counts here is whether the pixels can be had
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            yield image


def _shape_of(image: Image.Image) -> tuple[int, int, int]:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"expected at most {MAX_PIXELS} pixels, the header says {width}×{height}")
    if image.mode in ("F", "I"):
        raise ValueError(f"expected 8 or 16 bits a pixel, got 32 (mode {image.mode}); save such fields as .npy")
    channels = 1 if image.mode in _GREY else 3
    if image.getexif().get(_ORIENTATION, 1) in _TURNED:
        return channels, width, height
    return channels, height, width


def _without_buffer(error: BaseException) -> str:
    return re.sub(r" file <_io\.BytesIO object at 0x[0-9a-f]+>", " file", one_line(error))


def _archive_of(path: Path) -> zipfile.ZipFile:
    state = path.stat()
    return _open_archive(str(path), state.st_size, state.st_mtime_ns, os.getpid())


@lru_cache(maxsize=OPEN_ARCHIVES)
def _open_archive(path: str, size: int, mtime_ns: int, pid: int) -> zipfile.ZipFile:
    # size and mtime notice a file that was written anew; a forked process must not share the position in the file with
    # its parent, hence the process id
    return zipfile.ZipFile(path)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes, the zip says {size}")
    return archive.read(name)
