"""Stacks: many volumes in one array of an .npz, as MedMNIST's 3D sets have them: `set.npz!train_images/17`.

An array of an .npz holds volumes where it has four axes and none of them can be that of channels, by the rule of
`arrays.py`; else images, see `image_arrays.py`.

What this file is not: which volume is on which side, and its label, says `data/image_sets.py`.

Shape letters: N volumes; X Y Z voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers.geometry import Volume
from unreel.data.readers.image_arrays import are_images, kind_of
from unreel.data.readers.npz import array_of, array_shapes, row_of
from unreel.errors import ReadError


def are_volumes(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape holds volumes (N, X, Y, Z)."""
    return len(shape) == 4 and not are_images(shape) and 0 not in shape


def holds_volume(file: str, inner: str) -> bool:
    """Whether the row at a place in an array file is a volume.

    False too for a file that cannot be read: the reader of images says why.
    """
    try:
        return kind_of(file) == "npz" and are_volumes(array_shapes(file).get(inner.rpartition("/")[0], ()))
    except ReadError:
        return False


def read_member(file: str, inner: str) -> Volume:
    """The volume at a place for which `holds_volume` says yes; voxels of 1 mm whose axes run along R, A, S.

    Raises:
        ReadError: there is no such volume in the array.
    """
    name, _, number = inner.rpartition("/")
    count, x, y, z = array_shapes(file)[name]
    if int(number) >= count:
        raise ReadError(f"{file}!{inner}", f"expected a number from 0 to {count - 1}, there is no {number}")
    return Volume((x, y, z), np.eye(4), lambda: volume_of(file, inner))


def volume_of(file: str, inner: str) -> NDArray[Any]:
    """The voxels (X, Y, Z) at a place for which `holds_volume` says yes.

    Raises:
        ReadError: the file cannot be read, or there is no such volume in the array.
    """
    name, _, number = inner.rpartition("/")
    return row_of(f"{file}!{inner}", number, lambda: array_of(file, name))
