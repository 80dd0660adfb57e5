"""NIfTI: .nii and .nii.gz as a volume, by nibabel, which is imported when such a file is opened.

Slope and intercept are applied; the affine is the one that nibabel chooses (sform, then qform, then pixel sizes alone).

What this file is not: it cuts no slices (`volumes.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers.geometry import Volume
from unreel.data.readers.source import BROKEN, one_line
from unreel.errors import ReadError

MEDICAL = "needs {}: pip install 'unreel[medical]'"
"""What is said where a package of the extra is not installed."""

MAX_VOXELS = 2**31
"""A header of more voxels than this is taken for a damaged one."""


def read_nifti(path: Path) -> Volume:
    """The volume of a file; its voxels are read later.

    Raises:
        ReadError: it is no NIfTI file of three axes of numbers, or nibabel is not installed.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ModuleNotFoundError as error:
        raise ReadError(path, f"NIfTI {MEDICAL.format('nibabel')}") from error
    broken = (*BROKEN, ImageFileError, HeaderDataError, WrapStructError)

    def attempt(read: Callable[[], Any]) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd headers: what counts here is whether the voxels can be had
                return read()
        except broken as error:
            raise ReadError(path, f"expected a NIfTI file: {one_line(error)}") from error

    # not mapped: what is read here is read as a whole, and no file stays open
    image: Any = attempt(lambda: nibabel.load(path, mmap=False))
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        raise ReadError(path, f"expected a volume of three axes, got {tuple(image.shape)}: save one volume to a file")
    kind = image.get_data_dtype()
    if kind.kind not in "buif":
        raise ReadError(path, f"expected a number for each voxel, got {kind}")
    if int(np.prod(shape, dtype=np.float64)) > MAX_VOXELS:
        raise ReadError(path, f"expected at most {MAX_VOXELS} voxels, the header says {shape}")

    def load() -> NDArray[Any]:
        voxels = attempt(lambda: np.asanyarray(image.dataobj))
        return voxels.reshape(shape).astype(np.float32 if voxels.dtype.kind == "f" else voxels.dtype, copy=False)

    return Volume((shape[0], shape[1], shape[2]), np.asarray(image.affine, dtype=np.float64), load)
