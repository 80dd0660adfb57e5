"""Volumes as a source: the slices of a scan in three planes, at one scale, as grey pictures.

    voxels → black and white by window or percentiles → slices of each plane → one pixel spacing → one square

What this file is not: it reads no file (`nifti.py`, `dicom.py`, `arrays.py`), knows no folder (`exams.py`) and does not
choose among the slices (`sampling.py`). An oblique volume keeps its own axes, see `geometry.py`.

Shape letters: X Y Z voxels along R, A, S; T slices of all planes; S pixels of the square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unreel.data.readers.geometry import PLANES, Plane, Volume, along, orientation_of, slices_of
from unreel.data.readers.source import MAX_PIXELS, Closing, check_indices
from unreel.errors import ConfigError, ReadError

_SAMPLE = 2**20
"""Voxels that percentiles are computed from: evenly spread ones of a larger volume."""


@dataclass(frozen=True)
class VolumeConfig:
    """How a volume becomes slices. How many of each plane are taken says `sampling`.

    Args:
        planes: which of `axial`, `sagittal`, `coronal` are taken, in this order. None: all three of NIfTI, DICOM and
            stacks of volumes, as far as an exam has them, while an array of three axes is frames (T, H, W); where
            planes are named, such an array is a volume (R, A, S).
        spacing: mm of a pixel in every slice; None for the finest spacing of the volume.
        field: mm, the edge of the square around the middle of the volume that every slice shows, black where there is
            nothing; None for the longest edge that a slice has, so that nothing is cut off.
        window: values that become black and white, such as (-160, 240) Hounsfield; None to go by percentiles.
        percentiles: of all values of a volume, what becomes black and white; where the two values are equal, the least
            and the greatest one.
    """

    planes: tuple[Plane, ...] | None = None
    spacing: float | None = None
    field: float | None = None
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)

    def __post_init__(self) -> None:
        for name in ("planes", "window", "percentiles"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))  # YAML and JSON know lists only
        if self.planes is not None:
            wrong = [plane for plane in self.planes if plane not in get_args(Plane)]
            if wrong or not self.planes or len(set(self.planes)) < len(self.planes):
                raise ConfigError(f"planes must be some of {', '.join(PLANES)}, each once, got {list(self.planes)}")
        for name in ("spacing", "field"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be mm above 0, or null, got {value}")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ConfigError(f"window must be a lower and a higher value, got {self.window}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(
                f"percentiles must be two numbers from 0 to 100, the lower one first, got {low} and {high}"
            )


class VolumeSource(Closing):
    """The slices of a volume, plane after plane.

    Voxels are read at the first `read`. A plane whose slices would be one voxel high or wide is left out, as those
    across a single slice are.

    Args:
        path: named in errors.
        volume: the voxels and where they lie.
        config: how they become slices.
        planes: those that are taken.

    Attributes:
        times: (T,) float64, the positions 0 .. T-1.
        views: (T,) int64, the plane of each slice: its place in `PLANES`.
        frame_shape: (1, S, S).

    Raises:
        ReadError: the affine says nothing, or there is no such plane.
    """

    def __init__(self, path: object, volume: Volume, config: VolumeConfig, planes: Sequence[Plane]) -> None:
        self._path = path
        try:
            self._orientation = orientation_of(volume.affine)
        except ValueError as error:
            raise ReadError(path, str(error)) from error
        extent = self._orientation.extent(volume.shape)
        self._planes: list[Plane] = [plane for plane in planes if min(along(extent, plane)[1:]) > 1]
        if not self._planes:
            raise ReadError(path, f"expected slices in the plane {' or '.join(planes)}, the volume has {extent} voxels")
        spacing = self._orientation.spacing
        self._pixel = config.spacing or min(spacing)
        edges = [
            count * step
            for plane in self._planes
            for count, step in zip(along(extent, plane)[1:], along(spacing, plane)[1:], strict=True)
        ]
        side = max(1, round((config.field or max(edges)) / self._pixel))
        if side**2 > MAX_PIXELS:
            raise ReadError(path, f"expected slices of a reasonable size, got {side}×{side} pixels of {self._pixel} mm")
        self._volume, self._config = volume, config
        self._canonical: NDArray[Any] | None = None
        self._limits = 0.0, 1.0
        self._closed = False
        self._places = [(plane, index) for plane in self._planes for index in range(along(extent, plane)[0])]
        self.frame_shape = (1, side, side)
        self.times = torch.arange(len(self._places), dtype=torch.float64)
        self.views: Tensor | None = torch.tensor([PLANES.index(plane) for plane, _ in self._places])

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The slices at `indices`, (n, 1, S, S) uint8.

        Raises:
            ReadError: the voxels cannot be read.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        side = self.frame_shape[-1]
        frames = torch.zeros((len(checked), 1, side, side), dtype=torch.uint8)
        for plane in self._planes:
            rows = [row for row, index in enumerate(checked) if self._places[index][0] == plane]
            if rows:
                numbers = [self._places[checked[row]][1] for row in rows]
                frames[rows, 0] = self._pictures(plane, numbers)
        return frames

    def close(self) -> None:
        """Give the voxels away."""
        self._canonical, self._closed = None, True

    def _pictures(self, plane: Plane, numbers: Sequence[int]) -> Tensor:
        """Slices of one plane, (n, S, S) uint8."""
        values = slices_of(self._voxels(), plane)[list(numbers)].astype(np.float32)
        low, high = self._limits
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low).clip(low, high)
        grey = torch.from_numpy((values - low) * (255 / (high - low)))
        if self._volume.inverted:
            grey = 255 - grey
        spacing = along(self._orientation.spacing, plane)[1:]
        height, width = (
            max(1, round(count * step / self._pixel)) for count, step in zip(grey.shape[1:], spacing, strict=True)
        )
        if (height, width) != grey.shape[1:]:
            grey = functional.interpolate(grey[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]
        return centred(grey.round().to(torch.uint8), self.frame_shape[-1])

    def _voxels(self) -> NDArray[Any]:
        """(X, Y, Z), read once."""
        if self._closed:
            raise ReadError(self._path, "expected an open volume, this one was closed")
        if self._canonical is None:
            voxels = self._volume.load()
            if voxels.shape != self._volume.shape or voxels.dtype.kind not in "buif":
                raise ReadError(
                    self._path,
                    f"expected {self._volume.shape} numbers as the header says, got {voxels.shape} of {voxels.dtype}",
                )
            self._canonical = self._orientation.canonical(voxels)
            self._limits = limits(self._canonical, self._config)
        return self._canonical


def limits(voxels: NDArray[Any], config: VolumeConfig) -> tuple[float, float]:
    """The values that become black and white, the first one lower."""
    if config.window is not None:
        return config.window
    flat = voxels.reshape(-1)[:: max(1, voxels.size // _SAMPLE)].astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(flat, config.percentiles))
    if low == high:
        low, high = float(flat.min()), float(flat.max())
    return (low, high) if low < high else (low, low + 1)


def centred(pictures: Tensor, side: int) -> Tensor:
    """Pictures (n, H, W) in the middle of squares (n, side, side): cut where they are larger, black around them."""
    for axis in (1, 2):
        size = pictures.shape[axis]
        if size > side:
            pictures = pictures.narrow(axis, (size - side) // 2, side)
    height, width = pictures.shape[1:]
    top, left = (side - height) // 2, (side - width) // 2
    return functional.pad(pictures, (left, side - width - left, top, side - height - top))
