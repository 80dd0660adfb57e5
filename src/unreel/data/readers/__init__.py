"""Readers: a path becomes a source of frames. A new format is one file here and its line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from unreel.data.readers.dicom import dicom_files
from unreel.data.readers.exams import (
    VOLUMES,
    exam_parts,
    open_array,
    open_inside,
    open_member,
    open_scan_folder,
    open_volume,
    suffix_of,
)
from unreel.data.readers.images import is_image_name, open_folder, open_image, open_zip
from unreel.data.readers.source import Source
from unreel.data.readers.video import VideoSource
from unreel.data.readers.volumes import VolumeConfig
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
    ".npy": open_array,
    ".npz": open_array,
    **dict.fromkeys(VOLUMES, open_volume),
}
"""What opens a file, by the lower-case end of its name."""

INSIDE = "!"
"""Stands between a zip and a name in it: `digits.zip!train/7.png`."""


def open_source(path: str | Path, volume: VolumeConfig | None = None) -> Source:
    """Open anything that holds frames.

    Args:
        path: a file whose suffix is in `READERS`, a folder of images, or a place in a zip: `a.zip!inner/b.png` is one
            image, `a.zip!inner/` the clip of the images below that folder, `a.zip` the clip of all its images. Scans
            may be folders, and places in folders and arrays: `exams.py` lists them.
        volume: how a scan becomes slices.

    Raises:
        ReadError: there is nothing at `path` that can be read as frames.
    """
    if not is_text(path):
        # neither tables, JSON nor a terminal can say such a name again
        raise ReadError(path, f"expected a name in UTF-8, got {Path(path).name!a}: rename the file")
    container, inner = split_inside(path)
    if inner:
        return open_zip(container, inner) if _is_zip(container) else open_member(container, inner, volume)
    file = Path(path)
    try:
        is_folder, is_file, exists = file.is_dir(), file.is_file(), file.exists()
        folder, inner = split_folder(path)
    except (OSError, ValueError) as error:
        raise ReadError(path, f"expected a file or a folder: {error}") from error
    if folder is not None:
        return open_inside(folder, inner, volume)
    if is_folder:
        return open_scan_folder(path, volume) or open_folder(path)
    if not exists:
        raise ReadError(path, "expected a file or a folder, there is none of this name")
    if not is_file:
        # to open a pipe waits for somebody to write into it, perhaps for ever
        raise ReadError(path, "expected a file or a folder, got a pipe, a socket or a device")
    if not is_readable_name(path):
        raise ReadError(path, f"expected a name that ends in one of {' '.join(READERS)}, got {file.suffix!r}")
    suffix = suffix_of(path)
    if suffix in VOLUMES:
        return open_volume(path, volume)
    return open_array(path, volume) if suffix in (".npy", ".npz") else READERS[suffix](file)


def is_readable_name(path: str | Path) -> bool:
    """Whether the name, not the content, is one that `open_source` takes for a file of frames."""
    container, inner = split_inside(path)
    if inner:
        return is_image_name(inner) or not _is_zip(container)
    return suffix_of(path) in READERS and not Path(path).name.startswith(".")


def is_text(path: str | Path) -> bool:
    """Whether the name can be written as UTF-8; a file system may hold names that cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def split_inside(path: str | Path) -> tuple[str, str]:
    """The zip or .npz and the name in it; the name is empty where `path` is no place in one."""
    archive, separator, inner = str(path).partition(INSIDE)
    if separator and archive.lower().endswith((".zip", ".npz")):
        return archive, inner
    return str(path), ""


def split_folder(path: str | Path) -> tuple[Path | None, str]:
    """The folder and the name of an exam or series in it: `train!0000`; None where `path` is no such place."""
    folder, separator, name = str(path).rpartition(INSIDE)
    if separator and name and "/" not in name and not Path(path).exists() and Path(folder).is_dir():
        return Path(folder), name
    return None, ""


def files_inside(path: str | Path) -> dict[str, Path]:
    """What an exam or series of `split_folder` consists of: files or folders by plane, or by series and name.

    Empty where `path` is no such place.
    """
    folder, name = split_folder(path)
    if folder is None:
        return {}
    parts = exam_parts(folder, name)
    if parts:
        return {str(plane): part for plane, part in parts.items()}
    return {f"{name}/{file.name}": file for file in dicom_files(folder)}


def _is_zip(archive: str) -> bool:
    return archive.lower().endswith(".zip")
