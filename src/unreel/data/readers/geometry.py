"""Geometry: which way the axes of a volume run, and its axial, sagittal and coronal slices as they hang on a light box.

World axes are those of NIfTI: R towards the patient's right hand, A anterior, S superior, in mm. An affine says where
each voxel lies there. Each array axis is matched to the world axis that it runs nearest to, so an oblique volume is
*not* resampled along the world's axes: its slices are its own, and "axial" is the plane nearest to axial.

| plane | slices from | rows from | columns from |
|--|--|--|--|
| axial | inferior to superior | anterior (top) to posterior | the patient's right to the left |
| sagittal | left to right | superior to inferior | anterior to posterior |
| coronal | posterior to anterior | superior to inferior | the patient's right to the left |

What this file is not: it reads no file and knows no intensity.

Shape letters: X Y Z voxels along R, A, S; T slices of a plane, H W their pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Plane = Literal["axial", "sagittal", "coronal"]
PLANES: tuple[Plane, ...] = ("axial", "sagittal", "coronal")
"""The planes; the place of each is its number in `Clip.views`."""

# world axes (0 R, 1 A, 2 S) of a plane's slices: along the normal, down the rows, along the columns
_AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 1, 0), "sagittal": (0, 2, 1), "coronal": (1, 2, 0)}


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume whose voxels are read when they are asked for.

    Args:
        shape: of the array, in the order of the file.
        affine: (4, 4), voxel numbers to mm (R, A, S).
        load: reads the array, of numbers.
        inverted: low values are bright (DICOM's MONOCHROME1).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    load: Callable[[], NDArray[Any]]
    inverted: bool = False


@dataclass(frozen=True)
class Orientation:
    """How the axes of an array lie in the world.

    Args:
        axes: the array axes that run along R, A, S.
        signs: 1 where the numbers grow towards R, A, S, −1 where they grow away.
        spacing: mm between voxels along R, A, S.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array as a view (X, Y, Z) whose numbers grow towards R, A, S."""
        return array.transpose(self.axes)[tuple(slice(None, None, sign) for sign in self.signs)]

    def extent(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(X, Y, Z) of an array of that shape."""
        x, y, z = (shape[axis] for axis in self.axes)
        return x, y, z


def orientation_of(affine: NDArray[np.float64]) -> Orientation:
    """The orientation nearest to an affine (4, 4): that of the six permutations whose axes turn least.

    Raises:
        ValueError: the affine has no inverse, or holds something that is no number.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise ValueError(f"expected an affine with three axes of some length, got {columns.round(4).tolist()}")
    cosines = columns / spacing
    if abs(np.linalg.det(cosines)) < 1e-3:
        raise ValueError(f"expected an affine whose axes span space, got {columns.round(4).tolist()}")
    axes = max(permutations(range(3)), key=lambda order: sum(abs(cosines[world, order[world]]) for world in range(3)))
    x, y, z = axes
    signs = tuple(1 if cosines[world, axis] > 0 else -1 for world, axis in enumerate(axes))
    return Orientation((x, y, z), (signs[0], signs[1], signs[2]), (spacing[x], spacing[y], spacing[z]))


def slices_of(canonical: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """All slices of a plane as a view (T, H, W) of a canonical array (X, Y, Z)."""
    return canonical.transpose(_AXES[plane])[:, ::-1, ::-1]


def along(values: tuple[Any, Any, Any], plane: Plane) -> tuple[Any, Any, Any]:
    """What stands for R, A, S, in the order of a plane's slices: normal, rows, columns."""
    normal, rows, columns = _AXES[plane]
    return values[normal], values[rows], values[columns]


def affine_of_series(plane: Plane) -> NDArray[np.float64]:
    """The affine (4, 4) of an array (T, H, W) that is said to be a series of slices of a plane, pixels of 1 mm."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    normal, rows, columns = _AXES[plane]
    affine[normal, 0], affine[rows, 1], affine[columns, 2] = 1, -1, -1
    return affine
