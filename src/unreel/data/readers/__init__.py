"""Readers: a path becomes a source of frames. A new format is one file here and its line in `READERS`.

What a reader must know besides the file stands in a `Reading`; most know all from the file. Texts have no line: they
are places in files of any name, as `text.py` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from unreel.data.readers.audio import SoundSource
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
from unreel.data.readers.image_arrays import is_row, open_array_image
from unreel.data.readers.images import is_image_name, open_folder, open_image, open_zip
from unreel.data.readers.reading import Reading
from unreel.data.readers.source import Source
from unreel.data.readers.stacks import holds_volume
from unreel.data.readers.tables import TableSource
from unreel.data.readers.text import TextSource, reads_text
from unreel.data.readers.video import VideoSource
from unreel.errors import ReadError

Opener = Callable[[Path, Reading], Source]
"""Opens a file, with what must be known besides."""


def _plain(open_file: Callable[[Path], Source]) -> Opener:
    """What opens files that say all by themselves."""
    return lambda path, reading: open_file(path)


def _sound(path: Path, reading: Reading) -> Source:
    return SoundSource(path, reading.sound)


def _volume(path: Path, reading: Reading) -> Source:
    return open_volume(path, reading.volume)


def _array(path: Path, reading: Reading) -> Source:
    return open_array(path, reading.volume)


_video, _image, _table = _plain(VideoSource), _plain(open_image), _plain(TableSource)

READERS: Mapping[str, Opener] = {
    ".mp4": _video,
    ".m4v": _video,
    ".mov": _video,
    ".mkv": _video,
    ".webm": _video,
    ".avi": _video,
    ".mpg": _video,
    ".mpeg": _video,
    ".ts": _video,
    ".mts": _video,
    ".m2ts": _video,
    ".wmv": _video,
    ".flv": _video,
    ".3gp": _video,
    ".ogv": _video,
    ".gif": _video,
    ".png": _image,
    ".jpg": _image,
    ".jpeg": _image,
    ".bmp": _image,
    ".webp": _image,
    ".tif": _image,
    ".tiff": _image,
    ".ppm": _image,
    ".pgm": _image,
    ".zip": _plain(open_zip),
    ".npy": _array,
    ".npz": _array,
    ".csv": _table,
    ".tsv": _table,
    ".wav": _sound,
    ".flac": _sound,
    ".ogg": _sound,
    ".mp3": _sound,
    **dict.fromkeys(VOLUMES, _volume),
}
"""What opens a file, by the lower-case end of its name."""

INSIDE = "!"
"""Stands between a file and a clip in it: `digits.zip!train/7.png`, `mnist.npz!x_train/7`."""


def open_source(path: str | Path, reading: Reading | None = None) -> Source:
    """Open anything that holds frames.

    Args:
        path: a file whose suffix is in `READERS`; a folder of images; a place in a zip: `a.zip!inner/b.png` is one
            image, `a.zip!inner/` the clip of the images below that folder, `a.zip` the clip of all its images; or one
            of the many images or volumes in a file of arrays: `mnist.npz!x_train/7`, as `image_arrays.py` and
            `stacks.py` tell. Scans may also be folders, and places in folders: `exams.py` lists them. A text, as
            `text.py` says: `a.txt`, `a.csv!review!12`, `a.pos!12`.
        reading: what a reader must know besides; None for the settings by default.

    Raises:
        ReadError: there is nothing at `path` that can be read as frames.
    """
    reading = reading or Reading()
    if not is_utf8(path):
        # neither tables, JSON nor a terminal can say such a name again
        raise ReadError(path, f"expected a name in UTF-8, got {Path(path).name!a}: rename the file")
    container, inner = split_inside(path)
    if inner:
        if not is_row(container, inner):
            return open_zip(container, inner)
        if holds_volume(container, inner):
            return open_member(container, inner, reading.volume)
        return open_array_image(container, inner)
    file = Path(path)
    try:
        is_folder, is_file, exists = file.is_dir(), file.is_file(), file.exists()
        folder, inner = split_folder(path)
    except (OSError, ValueError) as error:
        raise ReadError(path, f"expected a file or a folder: {error}") from error
    if folder is not None:
        return open_inside(folder, inner, reading.volume)
    if is_folder:
        return open_scan_folder(path, reading.volume) or open_folder(path)
    if reads_text(path) and (is_file or not exists):
        return TextSource(path, reading.text, reading.vocabulary)
    if not exists:
        raise ReadError(path, "expected a file or a folder, there is none of this name")
    if not is_file:
        # to open a pipe waits for somebody to write into it, perhaps for ever
        raise ReadError(path, "expected a file or a folder, got a pipe, a socket or a device")
    if not is_readable_name(path):
        raise ReadError(path, f"expected a name that ends in one of {' '.join(READERS)}, got {file.suffix!r}")
    return READERS[suffix_of(path)](file, reading)


def is_readable_name(path: str | Path) -> bool:
    """Whether the name, not the content, is one that `open_source` takes for a file of frames."""
    container, inner = split_inside(path)
    if inner:
        return is_row(container, inner) or is_image_name(inner)
    return suffix_of(path) in READERS and not Path(path).name.startswith(".")


def is_utf8(path: str | Path) -> bool:
    """Whether the name can be written as UTF-8; a file system may hold names that cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def split_inside(path: str | Path) -> tuple[str, str]:
    """The file and the place of a clip in it; the place is empty where `path` is no place in a file."""
    text = str(path)
    for found in re.finditer(INSIDE, text):
        file, inner = text[: found.start()], text[found.end() :]
        if inner and (file.lower().endswith(".zip") or is_row(file, inner)):
            return file, inner
    return text, ""


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
