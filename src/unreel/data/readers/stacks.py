"""Stacks: many volumes in one array of an .npz, as MedMNIST's 3D sets have them: `set.npz!train_images/17`.

The whole array is decompressed to reach one volume of it, so that a process keeps the last few arrays.

What this file is not: which volume is on which side, and its label, says `data/layouts.py`.

Shape letters: N volumes; X Y Z voxels.
"""

from __future__ import annotations

import hashlib
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers.arrays import BROKEN
from unreel.data.readers.geometry import Volume
from unreel.data.readers.source import one_line
from unreel.errors import ReadError

OPEN_ARRAYS = 3
"""Arrays that a process keeps: those of the three sides."""
MAX_BYTES = 2**32
"""A larger array is refused, since every process that reads would hold it."""


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array in an .npz, by name; no array is decompressed.

    Raises:
        ReadError: the file is no .npz.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as member:
                        version = np.lib.format.read_magic(member)
                        # version 3 differs from 2 in the letters that names of fields may have: there are none here
                        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                            version, np.lib.format.read_array_header_2_0
                        )
                        shapes[name.removesuffix(".npy")] = tuple(map(int, read(member)[0]))
            return shapes
    except BROKEN as error:
        raise ReadError(path, f"expected an .npz of arrays: {one_line(error)}") from error


def read_member(path: Path, inner: str) -> Volume:
    """The volume `NAME/NUMBER` of an .npz; voxels of 1 mm whose axes run along R, A, S.

    Raises:
        ReadError: there is no such array of four axes, or no such volume in it.
    """
    name, number = _name_and_number(path, inner)
    shapes = array_shapes(path)
    shape = shapes.get(name)
    if shape is None or len(shape) != 4:
        raise ReadError(f"{path}!{inner}", f"expected an array {name!r} of (N, X, Y, Z), the file holds {shapes}")
    if number >= shape[0]:
        raise ReadError(f"{path}!{inner}", f"expected a number from 0 to {shape[0] - 1}, got {number}")
    return Volume((shape[1], shape[2], shape[3]), np.eye(4), lambda: array_of(path, name)[number])


def array_of(path: Path, name: str) -> NDArray[Any]:
    """An array of an .npz, kept for the next call.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        state = path.stat()
        return _array(path, name, state.st_size, state.st_mtime_ns)
    except BROKEN as error:
        raise ReadError(path, f"expected an array {name!r}: {one_line(error)}") from error


def member_hash(path: Path, inner: str) -> str:
    """The hash (128 bits, hex) of a volume's shape and numbers.

    Raises:
        ReadError: it cannot be read.
    """
    name, number = _name_and_number(path, inner)
    array = array_of(path, name)
    if number >= len(array):
        raise ReadError(f"{path}!{inner}", f"expected a number from 0 to {len(array) - 1}, got {number}")
    member = np.ascontiguousarray(array[number])
    digest = hashlib.blake2b(f"{member.dtype}{member.shape}".encode(), digest_size=16)
    digest.update(member.data)
    return digest.hexdigest()


def _name_and_number(path: Path, inner: str) -> tuple[str, int]:
    name, _, number = inner.rpartition("/")
    if not name or not number.isdecimal():
        raise ReadError(f"{path}!{inner}", "expected NAME/NUMBER behind the file, such as train_images/17")
    return name, int(number)


@lru_cache(maxsize=OPEN_ARRAYS)
def _array(path: Path, name: str, size: int, mtime_ns: int) -> NDArray[Any]:
    # size and mtime notice a file that was written anew
    with zipfile.ZipFile(path) as archive:
        length = archive.getinfo(f"{name}.npy").file_size
        if length > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes, it has {length}: save each volume to a file")
        with archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)
