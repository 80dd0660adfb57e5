"""Readers: a path becomes a source of frames. A new format is one file here and its line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from unreel.data.readers.arrays import ArraySource
from unreel.data.readers.images import is_image_name, open_folder, open_image, open_zip
from unreel.data.readers.source import Source
from unreel.data.readers.tables import TableSource
from unreel.data.readers.video import VideoSource
from unreel.errors import ReadError

READERS: Mapping[str, Callable[[Path], Source]] = {
    ".mp4": VideoSource,
    ".m4v": VideoSource,
    ".mov": VideoSource,
    ".mkv": VideoSource,
    ".webm": VideoSource,
    ".avi": VideoSource,
    ".mpg": VideoSource,
    ".mpeg": VideoSource,
    ".ts": VideoSource,
    ".mts": VideoSource,
    ".m2ts": VideoSource,
    ".wmv": VideoSource,
    ".flv": VideoSource,
    ".3gp": VideoSource,
    ".ogv": VideoSource,
    ".gif": VideoSource,
    ".png": open_image,
    ".jpg": open_image,
    ".jpeg": open_image,
    ".bmp": open_image,
    ".webp": open_image,
    ".tif": open_image,
    ".tiff": open_image,
    ".ppm": open_image,
    ".pgm": open_image,
    ".zip": open_zip,
    ".npy": ArraySource,
    ".npz": ArraySource,
    ".csv": TableSource,
    ".tsv": TableSource,
}
"""What opens a file, by the lower-case end of its name."""

INSIDE = "!"
"""Stands between a zip and a name in it: `digits.zip!train/7.png`."""


def open_source(path: str | Path) -> Source:
    """Open anything that holds frames.

    Args:
        path: a file whose suffix is in `READERS`, a folder of images, or a place in a zip: `a.zip!inner/b.png` is one
            image, `a.zip!inner/` the clip of the images below that folder, `a.zip` the clip of all its images.

    Raises:
        ReadError: there is nothing at `path` that can be read as frames.
    """
    if not is_text(path):
        # neither tables, JSON nor a terminal can say such a name again
        raise ReadError(path, f"expected a name in UTF-8, got {Path(path).name!a}: rename the file")
    archive, inner = split_inside(path)
    if inner:
        return open_zip(archive, inner)
    file = Path(path)
    try:
        is_folder, is_file, exists = file.is_dir(), file.is_file(), file.exists()
    except (OSError, ValueError) as error:
        raise ReadError(path, f"expected a file or a folder: {error}") from error
    if is_folder:
        return open_folder(path)
    if not exists:
        raise ReadError(path, "expected a file or a folder, there is none of this name")
    if not is_file:
        # to open a pipe waits for somebody to write into it, perhaps for ever
        raise ReadError(path, "expected a file or a folder, got a pipe, a socket or a device")
    if not is_readable_name(path):
        raise ReadError(path, f"expected a name that ends in one of {' '.join(READERS)}, got {file.suffix!r}")
    return READERS[file.suffix.lower()](file)


def is_readable_name(path: str | Path) -> bool:
    """Whether the name, not the content, is one that `open_source` takes for a file of frames."""
    _, inner = split_inside(path)
    if inner:
        return is_image_name(inner)
    file = Path(path)
    return file.suffix.lower() in READERS and not file.name.startswith(".")


def is_text(path: str | Path) -> bool:
    """Whether the name can be written as UTF-8; a file system may hold names that cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def split_inside(path: str | Path) -> tuple[str, str]:
    """The zip and the name in it; the name is empty where `path` is no place in a zip."""
    archive, separator, inner = str(path).partition(INSIDE)
    if separator and archive.lower().endswith(".zip"):
        return archive, inner
    return str(path), ""
