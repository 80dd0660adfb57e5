"""DICOM: the files of a series as a volume, by pydicom, which is imported when such files are opened.

Slices are put in order by their position along the normal, whatever their names and instance numbers; spacing and
orientation come from the headers; slope and intercept are applied to each slice. What does not make a volume (several
series, slices twice, slices that are missing, slices of several sizes or directions) is an error that says so. A tilted
gantry is not corrected: the slices are taken as if they stood above each other.

What this file is not: it cuts no slices (`volumes.py`), and reads no file that holds several frames.

Shape letters: T slices, H W pixels.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.readers.geometry import Volume
from unreel.data.readers.nifti import MEDICAL
from unreel.data.readers.source import BROKEN, one_line
from unreel.errors import ConfigError, ReadError

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_TAGS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
)
_UNEVEN = 0.1
"""Distances of slices may differ from their median by this share of it."""
_SAME = 1e-3
"""Direction cosines and pixel spacings of one series may differ by so much."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """The header of one file, and where its slice lies: `place` mm along the normal."""

    file: Path
    header: Dataset
    cosines: NDArray[np.float64]
    position: NDArray[np.float64]
    place: float


def is_dicom_name(name: str) -> bool:
    """Whether a file of this name says that it is DICOM."""
    pure = PurePath(name)
    return pure.suffix.lower() in DICOM_SUFFIXES and not pure.name.startswith(".")


def is_dicom(file: Path) -> bool:
    """Whether a file is DICOM by its name or, where its name has no known end, by its first bytes."""
    if is_dicom_name(file.name):
        return True
    # "IM0001", or a number with dots, as archives write them
    named = file.suffix and not file.suffix[1:].isdigit()
    if named or file.name.startswith(".") or file.name.upper() == "DICOMDIR":
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files that stand directly in a folder, by name."""
    files = (folder / name for name in sorted(os.listdir(folder)))
    return [file for file in files if is_dicom(file) and file.is_file()]


def read_series(path: Path, files: Sequence[Path], series: str = "") -> Volume:
    """The volume of the slices in `files`; only headers are read now.

    Args:
        path: what the caller opened, named in errors.
        files: at least one, in any order.
        series: the SeriesInstanceUID to take; empty where there is one series only.

    Raises:
        ReadError: the files are no series of slices, or pydicom is not installed.
    """
    headers = _of_one_series(path, {file: _header(path, file) for file in files}, series)
    slices = [_placed(path, file, header) for file, header in headers.items()]
    slices.sort(key=lambda slice: slice.place)
    first = slices[0]
    for other in slices[1:]:
        _check_alike(path, first, other)
    step = _step(path, slices)
    rows, columns = int(first.header.Rows), int(first.header.Columns)
    down, across = (float(value) for value in first.header.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = np.cross(first.cosines[0], first.cosines[1]) * step
    affine[:3, 1] = first.cosines[1] * down  # the second direction is that of a column, down the rows
    affine[:3, 2] = first.cosines[0] * across
    affine[:3, 3] = first.position
    affine[:2] *= -1  # DICOM's axes run to the left and to the back
    inverted = first.header.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = (len(slices), rows, columns)
    return Volume(shape, affine, lambda: np.stack([_pixels(path, slice, shape[1:]) for slice in slices]), inverted)


def patient_of(file: Path) -> str | None:
    """A name for the patient of a file that says nothing of them: a hash of PatientID. None where there is none.

    Raises:
        ReadError: the file is no DICOM.
        ConfigError: pydicom is not installed.
    """
    if find_spec("pydicom") is None:
        raise ConfigError(f"DICOM {MEDICAL.format('pydicom')}")
    patient = str(_header(file, file, ("PatientID",)).get("PatientID") or "").strip()
    return f"patient-{hashlib.blake2b(patient.encode(), digest_size=6).hexdigest()}" if patient else None


def _header(path: Path, file: Path, tags: Sequence[str] = _TAGS) -> Dataset:
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ModuleNotFoundError as error:
        raise ReadError(path, f"DICOM {MEDICAL.format('pydicom')}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that the standard forbids
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
            for tag in tags:
                header.get(tag)  # values are understood when they are asked for
    except (*BROKEN, InvalidDicomError) as error:
        raise ReadError(path, f"expected a DICOM file {file.name}: {one_line(error)}") from error
    return header


def _of_one_series(path: Path, headers: dict[Path, Dataset], series: str) -> dict[Path, Dataset]:
    """The files of the series that is asked for, or of the only one."""
    found: dict[str, dict[Path, Dataset]] = {}
    for file, header in headers.items():
        found.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    listed = "; ".join(
        f"{uid} ({next(iter(members.values())).get('SeriesDescription') or 'no description'}, {len(members)} slices)"
        for uid, members in sorted(found.items())
    )
    if series and series not in found:
        raise ReadError(path, f"expected the series {series}, the folder holds {listed}")
    if not series and len(found) > 1:
        raise ReadError(path, f"expected one series, the folder holds {len(found)}: name one as FOLDER!UID: {listed}")
    return found[series] if series else next(iter(found.values()))


def _placed(path: Path, file: Path, header: Dataset) -> _Slice:
    """A slice and where it lies."""
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ReadError(
            path, f"expected a file a slice, {file.name} holds {header.NumberOfFrames} frames: save it as NIfTI"
        )
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise ReadError(path, f"expected grey slices, {file.name} has {header.SamplesPerPixel} colours")
    wanted = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
    values: dict[str, NDArray[np.float64]] = {}
    for tag, count in wanted.items():
        try:
            values[tag] = np.array([float(value) for value in header.get(tag) or ()])
        except (TypeError, ValueError):
            values[tag] = np.zeros(0)
        if values[tag].shape != (count,) or not np.isfinite(values[tag]).all():
            raise ReadError(path, f"expected {count} numbers in {tag} of {file.name}, got {header.get(tag)}")
    if not header.get("Rows") or not header.get("Columns"):
        raise ReadError(path, f"expected Rows and Columns in {file.name}, there are none")
    cosines = values["ImageOrientationPatient"].reshape(2, 3)
    position = values["ImagePositionPatient"]
    return _Slice(file, header, cosines, position, float(np.cross(cosines[0], cosines[1]) @ position))


def _check_alike(path: Path, first: _Slice, other: _Slice) -> None:
    for what, one, two, most in (
        ("size (rows, columns)", _size(first), _size(other), 0.0),
        ("orientation", first.cosines, other.cosines, _SAME),
        ("pixel spacing", first.header.PixelSpacing, other.header.PixelSpacing, _SAME),
    ):
        ours, theirs = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (one, two))
        if np.abs(ours - theirs).max() > most:
            raise ReadError(
                path,
                f"expected slices of one {what}: {first.file.name} has {ours.round(4).tolist()}, "
                f"{other.file.name} has {theirs.round(4).tolist()}",
            )


def _size(slice: _Slice) -> tuple[int, int]:
    return int(slice.header.Rows), int(slice.header.Columns)


def _step(path: Path, slices: Sequence[_Slice]) -> float:
    """mm between neighbouring slices, which stand in order.

    Raises:
        ReadError: two stand at one place, or some are missing between others.
    """
    if len(slices) == 1:
        header = slices[0].header
        return float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0)
    gaps = np.diff([slice.place for slice in slices])
    step = float(np.median(gaps))
    for gap, one, other in zip(gaps, slices, slices[1:], strict=False):
        names = f"{one.file.name} and {other.file.name}"
        if gap <= _SAME:
            copy = one.header.get("SOPInstanceUID") == other.header.get("SOPInstanceUID")
            why = "one is a copy of the other: take it away" if copy else "a series over time? Give each time a folder"
            raise ReadError(path, f"expected each slice once, {names} both lie at {one.place:.2f} mm: {why}")
    for gap, one, other in zip(gaps, slices, slices[1:], strict=False):
        if abs(gap - step) > _UNEVEN * step:
            names = f"{one.file.name} and {other.file.name}"
            raise ReadError(
                path,
                f"expected a slice every {step:.2f} mm, {names} lie {gap:.2f} mm apart, from {one.place:.2f} to "
                f"{other.place:.2f} mm: are slices missing?",
            )
    return float(np.mean(gaps))


def _pixels(path: Path, slice: _Slice, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) in the units of slope and intercept."""
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored: Any = pydicom.dcmread(slice.file).pixel_array
        slope, intercept = slice.header.get("RescaleSlope"), slice.header.get("RescaleIntercept")
        pixels = stored.astype(np.float32) * float(1 if slope is None else slope) + float(intercept or 0)
    except BROKEN as error:
        raise ReadError(path, f"expected the pixels of {slice.file.name}: {one_line(error)}") from error
    if pixels.shape != size:
        raise ReadError(path, f"expected {size} pixels in {slice.file.name}, got {pixels.shape}")
    return pixels
