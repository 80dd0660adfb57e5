"""Content: which files are the same, and which look nearly the same, whatever their names.

Identical content is found by hash, of the bytes of a file, of a zip's member, of an image or volume in an array, of the
words of a text in a file of many, or of the names and bytes of a folder of frames. Nearly identical clips are found by
the difference hash of a few frames
(imagehash): it sees the same clip coded again or scaled, not one that is cropped, mirrored or shifted in time.

What this file is not: it decodes nothing; who wants near pairs brings frames.

Shape letters: N clips, F frames a clip, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers import files_inside, split_inside
from unreel.data.readers.image_arrays import image_of, is_row
from unreel.data.readers.source import stamp
from unreel.data.readers.stacks import holds_volume, volume_of
from unreel.data.readers.text import text_at, text_place
from unreel.errors import ReadError

HASH_BITS = 64
_CHUNK = 1 << 20
_ROWS = 512
_ZIP_LOCK = threading.Lock()
# what zipfile raises: RuntimeError for an encrypted member or an unknown compression
_UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def content_hash(path: str | Path) -> str:
    """The hash (128 bits, hex) of a file, of a place in a zip, of an image or volume in an array, or of all files below
    a folder and their names.

    Of a text in a file of many ("a.csv!text!3") it is that of its words: white space does not count. Hashes of files
    are kept in this process for as long as size and time of change stay.

    Raises:
        ReadError: it cannot be read.
    """
    path = Path(path)
    try:
        archive, member = split_inside(path)
        if member and is_row(archive, member):
            return _hash_row(archive, member)
        if member:
            return _hash_member(Path(archive), member, *stamp(Path(archive)))
        if text_place(path):
            words = " ".join(text_at(path).split())
            return hashlib.blake2b(words.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        if path.is_dir():
            return _hash_files([(file.relative_to(path).as_posix(), file) for file in _below(path)])
        if parts := files_inside(path):
            below = [(name, part, file) for name, part in parts.items() for file in _below(part)]
            return _hash_files((f"{name}/{file.relative_to(part)}", file) for name, part, file in below)
        return _hash_file(path, *stamp(path))
    except (*_UNREADABLE, KeyError) as error:
        raise ReadError(path, f"cannot be read: {error}") from None


def same_content(paths: Iterable[str | Path]) -> dict[str, str]:
    """For each path the first of the paths with its content. A path that cannot be read is like itself only.

    A file whose size no other has is not read.
    """
    by_size: dict[int | str, list[str]] = {}
    for path in dict.fromkeys(str(path) for path in paths):
        by_size.setdefault(_size(Path(path)), []).append(path)
    same: dict[str, str] = {}
    for alike in by_size.values():
        first: dict[str, str] = {}
        for path in alike:
            same[path] = path if len(alike) == 1 else first.setdefault(_hash_or_name(path), path)
    return same


def frame_hash(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Difference hashes of the frames of one clip, one behind the other, (F · 64,).

    Args:
        frames: F frames, each (H, W) or (H, W, 3).
    """
    import imagehash
    from PIL import Image

    return np.concatenate([imagehash.dhash(Image.fromarray(frame)).hash.reshape(-1) for frame in frames])


def near_pairs(hashes: NDArray[np.bool_], most: float = 0.04) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips whose hashes differ in at most the share `most` of their bits.

    Clips without any structure (a dark screen hashes to zeros) are like nothing.

    Args:
        hashes: (N, F · 64).
        most: 0 to 1.
    """
    signs = np.where(hashes, 1, -1).astype(np.float32)
    structured = hashes.mean(axis=1) > most if len(hashes) else np.zeros(0, dtype=bool)
    bits = hashes.shape[1] if hashes.ndim == 2 else 0
    pairs: list[tuple[int, int]] = []
    for begin in range(0, len(hashes), _ROWS):
        # bits that differ = (bits - product of signs) / 2
        differ = (bits - signs[begin : begin + _ROWS] @ signs[begin:].T) / 2
        near = (differ <= most * bits) & structured[begin : begin + _ROWS, None] & structured[None, begin:]
        pairs.extend((begin + int(i), begin + int(j)) for i, j in np.argwhere(np.triu(near, k=1)))
    return pairs


def join(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The smallest member of the set that each of 0 .. size-1 is in, when each of the pairs joins two sets."""
    parent = list(range(size))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in pairs:
        a, b = sorted((find(one), find(other)))
        parent[b] = a
    return [find(item) for item in range(size)]


def _below(path: Path) -> list[Path]:
    """The file, or all files below the folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """The hash of files by what they are called."""
    whole = hashlib.blake2b(digest_size=16)
    for name, file in files:
        whole.update(f"{name}\0{_hash_file(file, *stamp(file))}\0".encode())
    return whole.hexdigest()


def _hash_row(file: str, inner: str) -> str:
    """The hash of the shape and numbers of one of many in an array."""
    row = volume_of(file, inner) if holds_volume(file, inner) else image_of(file, inner)
    return hashlib.blake2b(f"{row.dtype}{row.shape}".encode() + row.tobytes(), digest_size=16).hexdigest()


def _size(path: Path) -> int | str:
    """What two paths of the same content have in common for certain, cheap to find."""
    try:
        _, member = split_inside(path)
        return "inside" if member or text_place(path) or path.is_dir() else path.stat().st_size
    except OSError:
        return "missing"


def _hash_or_name(path: str) -> str:
    try:
        return content_hash(path)
    except ReadError:
        return f"unreadable {path}"


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            yield block


@lru_cache(maxsize=1 << 20)
def _hash_file(path: Path, size: int, changed: int) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    for block in _blocks(path):
        hasher.update(block)
    return hasher.hexdigest()


@lru_cache(maxsize=1 << 20)
def _hash_member(archive: Path, member: str, size: int, changed: int) -> str:
    # one open file shared by threads would mix up their reads
    with _ZIP_LOCK:
        opened, folders = _open_zip(archive, size, changed, os.getpid())
        name = member.rstrip("/")
        whole = hashlib.blake2b(digest_size=16)
        if name in opened.NameToInfo:
            whole.update(opened.read(name))
            return whole.hexdigest()
        if name not in folders:
            raise KeyError(f"no {member!r} in {archive.name}")
        for file in sorted(folders[name]):
            hashed = hashlib.blake2b(opened.read(file), digest_size=16).hexdigest()
            whole.update(f"{PurePosixPath(file).name}\0{hashed}\0".encode())
        return whole.hexdigest()


@lru_cache(maxsize=4)
def _open_zip(archive: Path, size: int, changed: int, process: int) -> tuple[zipfile.ZipFile, dict[str, list[str]]]:
    """An open zip and its files by folder. A forked process must open its own: the place in the file is shared."""
    opened = zipfile.ZipFile(archive)
    folders: dict[str, list[str]] = {}
    for name in opened.namelist():
        if not name.endswith("/"):
            folders.setdefault(PurePosixPath(name).parent.as_posix(), []).append(name)
    return opened, folders
