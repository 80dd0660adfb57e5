"""Arrays of an .npz by name: their shapes from the headers, their numbers decompressed once and kept for the next call.

What this file is not: what an array holds is told by `arrays.py` (one clip), `image_arrays.py` and `stacks.py` (many).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers.source import BROKEN, one_line, stamp
from unreel.errors import ReadError

OPEN_ARRAYS = 16
"""Arrays that a process keeps: to reach one row of a compressed array, all of it is decompressed."""
MAX_BYTES = 2**32
"""A larger array is refused, since every process that reads would hold it."""


def array_shapes(path: str | Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of every array in an .npz, by name; no array is decompressed.

    Raises:
        ReadError: the file is no .npz.
    """
    try:
        return _shapes(Path(path), *stamp(Path(path)))
    except BROKEN as error:
        raise ReadError(path, f"expected an .npz of arrays: {one_line(error)}") from error


def array_of(path: str | Path, name: str) -> NDArray[Any]:
    """An array of an .npz; objects are refused.

    Raises:
        ReadError: there is none of this name, or it cannot be read.
    """
    shapes = array_shapes(path)
    if name not in shapes:
        raise ReadError(path, f"expected an array {name!r}, the file holds {', '.join(shapes) or 'none'}")
    try:
        return _array(Path(path), name, *stamp(Path(path)))
    except BROKEN as error:
        raise ReadError(path, f"expected an array {name!r}: {one_line(error)}") from error


def row_of(place: str, number: str, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """One row of the array that `load` gives.

    Raises:
        ReadError: `load` cannot read it, or it has no such row; `place` is named.
    """
    try:
        array = load()
    except ReadError as error:
        raise ReadError(place, error.reason) from error
    if int(number) >= len(array):
        raise ReadError(place, f"expected a number from 0 to {len(array) - 1}, there is no {number}")
    return array[int(number)]


# size and time of change notice a file that was written anew


@lru_cache(maxsize=OPEN_ARRAYS)
def _shapes(path: Path, size: int, changed: int) -> Mapping[str, tuple[int, ...]]:
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


@lru_cache(maxsize=OPEN_ARRAYS)
def _array(path: Path, name: str, size: int, changed: int) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        length = archive.getinfo(f"{name}.npy").file_size
        if length > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes, it has {length}: save its rows to several files")
        with archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)
