"""NumPy arrays as a source: .npy, mapped from disk, and .npz.

| shape of the array | frames |
|--|--|
| (T, D) | features (D,) |
| (T, H, W) | one channel: (1, H, W) |
| (T, C, H, W) | as they are |
| (T, H, W, C) | (C, H, W), if the last axis is 1, 3 or 4 long and the second is not |

uint8 stays, booleans become uint8, all other numbers float32. Times are the positions 0, 1, 2 ... unless an .npz holds
an array `times` of seconds. Frames of an .npz are its array `frames`, or the only array besides `times`.

What this file is not: it never unpickles; an array of objects is an error.
"""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unreel.data.readers.source import BROKEN, Closing, check_indices, one_line
from unreel.errors import ReadError

CHANNELS = (1, 3, 4)


class ArraySource(Closing):
    """The frames of an array.

    Args:
        path: the .npy or .npz file.

    Attributes:
        times: (T,) float64.

    Raises:
        ReadError: the file holds no array of numbers with 2 to 4 axes, or times that do not fit it.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            array, times = _load_npz(self._path) if self._path.suffix.lower() == ".npz" else _map_npy(self._path)
        except BROKEN as error:
            raise ReadError(path, f"expected a NumPy array: {one_line(error)}") from error
        if array.dtype.kind not in "buif":
            raise ReadError(path, f"expected an array of numbers, got dtype {array.dtype}")
        if not 2 <= array.ndim <= 4 or 0 in array.shape:
            raise ReadError(path, f"expected (T, D), (T, H, W) or (T, C, H, W), none of them 0, got {array.shape}")
        self._array: np.ndarray | None = channels_first(array)
        self._map = array.base if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
        self._length, *shape = self._array.shape
        self.frame_shape: tuple[int, ...] = tuple(shape)
        self.times = torch.arange(self._length, dtype=torch.float64) if times is None else self._check(times)

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames at `indices`, (n, *frame_shape), uint8 or float32.

        Raises:
            ReadError: the source was closed.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, self._length, self._path)
        if self._array is None:
            raise ReadError(self._path, "expected an open array, this one was closed")
        kept = self._array.dtype in (np.uint8, np.bool_)
        frames = self._array[checked].astype(np.uint8 if kept else np.float32, copy=False)
        if self._map is not None:
            # what was read stays in the system's cache, but is no longer counted as this process's memory
            self._map.madvise(mmap.MADV_DONTNEED)
        return torch.from_numpy(frames)

    def close(self) -> None:
        """Unmap the file."""
        self._array = self._map = None

    def _check(self, times: np.ndarray) -> Tensor:
        if times.shape != (self._length,) or times.dtype.kind not in "uif" or not np.isfinite(times).all():
            wanted = f"times of shape ({self._length},), finite numbers"
            raise ReadError(self._path, f"expected {wanted}, got {times.shape} of {times.dtype}")
        return torch.from_numpy(times.astype(np.float64))


def _map_npy(path: Path) -> tuple[np.ndarray, None]:
    with np.errstate(over="raise"):  # a header may name a shape whose size no integer holds
        return np.lib.format.open_memmap(path, mode="r"), None


def _load_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    # numpy leaves a file that it opened by itself to the garbage collector when it is no archive
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            # numpy would take it for a pickle, and say how to load that
            raise ValueError("the file is no .npz")
        file.seek(0)
        return _frames_and_times(np.load(file, allow_pickle=False))


def _frames_and_times(archive: np.lib.npyio.NpzFile) -> tuple[np.ndarray, np.ndarray | None]:
    with archive:
        names = [name for name in archive.files if name != "times"]
        if "frames" not in names and len(names) != 1:
            raise ValueError(f"an .npz needs an array named 'frames', or just one; it has {sorted(names)[:8]}")
        times = archive["times"] if "times" in archive.files else None
        return archive["frames" if "frames" in names else names[0]], times


def channels_first(array: np.ndarray) -> np.ndarray:
    """Frames (T, H, W), (T, H, W, C) or (T, C, H, W) as (T, C, H, W), by the rule of this file; others as they are."""
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in CHANNELS and array.shape[1] not in CHANNELS:
        return np.moveaxis(array, -1, 1)
    return array
