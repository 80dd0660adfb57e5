"""Scans whose geometry is known, in every form that they come in.

A volume is made in canonical order, (X, Y, Z) along R, A, S, and stored along whichever axes a test wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHAPE = (6, 8, 10)
ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
"""All 48 ways to store a volume: the world axis that each array axis runs along, and which way."""


def volume(shape: Sequence[int] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """No two voxels' surroundings alike."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def stored(
    canonical: NDArray[np.generic], axes: Sequence[int], signs: Sequence[int], spacing: Sequence[float] = (1, 1, 1)
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """The array whose axes run along `axes` by `signs`, and its affine; `spacing` is that along R, A, S."""
    array = canonical.transpose(axes)
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[:3, 3] = (-7.0, 11.0, 2.5)
    for axis, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, axis] = sign * spacing[world]
        if sign < 0:
            array = np.flip(array, axis)
            affine[world, 3] += (canonical.shape[world] - 1) * spacing[world]
    return np.ascontiguousarray(array), affine


def planes_of(canonical: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """Every slice, pixel by pixel as it hangs on a light box: the definition, not the way the package takes."""
    x, y, z = canonical.shape
    axial, sagittal, coronal = np.zeros((z, y, x)), np.zeros((x, z, y)), np.zeros((y, z, x))
    for i, j, k in product(range(x), range(y), range(z)):
        value = canonical[i, j, k]
        axial[k, y - 1 - j, x - 1 - i] = value  # anterior on top, the patient's right on the left
        sagittal[i, z - 1 - k, y - 1 - j] = value  # superior on top, anterior on the left
        coronal[j, z - 1 - k, x - 1 - i] = value  # superior on top, the patient's right on the left
    return {"axial": axial, "sagittal": sagittal, "coronal": coronal}


def write_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Path:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


# directions of a row and of a column of DICOM's slices, in its axes (left, posterior, superior)
COSINES = {"axial": (1, 0, 0, 0, 1, 0), "sagittal": (0, 1, 0, 0, 0, -1), "coronal": (1, 0, 0, 0, 0, -1)}
WORLD = {"axial": (2, 1, 0), "sagittal": (0, 2, 1), "coronal": (1, 2, 0)}


def write_dicom(
    folder: Path,
    canonical: NDArray[np.generic],
    plane: str = "axial",
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    names: Sequence[str] | None = None,
    series: str = "1.2.3",
    patient: str = "somebody",
    turn: NDArray[np.float64] | None = None,
    **tags: object,
) -> list[Path]:
    """A series of the slices of a plane, in the order of `planes_of`; `turn` (3, 3) rotates the patient's axes."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir(parents=True, exist_ok=True)
    slices = planes_of(canonical)[plane]
    normal, rows, columns = WORLD[plane]
    turn = np.eye(3) if turn is None else turn
    files = []
    for number, pixels in enumerate(slices):
        place = [0.0, 0.0, 0.0]  # R, A, S of the first pixel
        place[normal] = number * spacing[normal]
        place[rows] = (canonical.shape[rows] - 1) * spacing[rows]
        place[columns] = (canonical.shape[columns] - 1) * spacing[columns]
        position = turn @ np.array([-place[0], -place[1], place[2]])
        cosines = np.concatenate([turn @ np.array(COSINES[plane][:3]), turn @ np.array(COSINES[plane][3:])])
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series}.{number + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, f"{series}.{number + 1}"
        data.SeriesInstanceUID, data.PatientID, data.Modality = series, patient, "MR"
        data.SeriesDescription = f"{plane} series"
        data.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
        data.ImageOrientationPatient = [float(f"{value:.8f}") for value in cosines]
        data.PixelSpacing = [float(spacing[rows]), float(spacing[columns])]
        data.SliceThickness = 1.0
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = pixels.astype("<u2").tobytes()
        for tag, value in tags.items():
            setattr(data, tag, value)
        file = folder / (f"IM{number:04d}.dcm" if names is None else names[number])
        data.save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def write_mrnet(folder: Path, exams: int = 6, size: int = 12, labels: Sequence[str] = ("abnormal", "acl")) -> Path:
    """Exams of 2 to 4 slices a plane, some without a plane. Exams of odd number are abnormal: a bright square."""
    generator = np.random.default_rng(0)
    for side, count in (("train", exams), ("valid", max(2, exams // 2))):
        for label in labels:
            (folder / f"{side}-{label}.csv").parent.mkdir(parents=True, exist_ok=True)
            rows = "".join(f"{number:04d},{int(number % 2 or label != 'abnormal')}\n" for number in range(count))
            (folder / f"{side}-{label}.csv").write_text(rows)
        for number in range(count):
            for place, plane in enumerate(("axial", "coronal", "sagittal")):
                if number % 4 == 3 and plane == "coronal":
                    continue  # a missing plane
                slices = generator.integers(0, 80, (2 + (number + place) % 3, size, size), dtype=np.uint8)
                if number % 2:
                    slices[:, size // 4 : size // 2, size // 4 : size // 2] = 255
                (folder / side / plane).mkdir(parents=True, exist_ok=True)
                np.save(folder / side / plane / f"{number:04d}.npy", slices)
    return folder


def write_medmnist(path: Path, counts: Sequence[int] = (12, 6, 6), size: int = 8) -> Path:
    """Binary volumes: of label 1 a bar along z, of label 0 a bar along x."""
    generator = np.random.default_rng(0)
    arrays: dict[str, NDArray[np.uint8]] = {}
    seen = 0
    for side, count in zip(("train", "val", "test"), counts, strict=True):
        volumes, labels = np.zeros((count, size, size, size), np.uint8), np.zeros((count, 1), np.uint8)
        for number in range(count):
            labels[number] = number % 2
            one, other = generator.integers(0, size, 2)
            volumes[(number, one, other) if number % 2 else (number, slice(None), one, other)] = 1
            volumes[number, tuple(generator.integers(0, size, 3))] = 1
            volumes[number].flat[seen] = 1 - volumes[number].flat[seen]  # no two alike
            seen += 1
        arrays |= {f"{side}_images": volumes, f"{side}_labels": labels}
    np.savez_compressed(path, **arrays)
    return path
