"""Scans among files: which of them belong together as one clip, and to which patient.

    anything/case/IM0001 IM0002 ...                     a folder of nothing but DICOM files
    anything/exam/axial.nii.gz sagittal.npy coronal/    a folder whose entries are called after planes
    anything/axial/7.npy anything/sagittal/7.npy        exam 7 of a folder with a folder for each plane: `anything!7`

What this file is not: it opens no volume. It asks files without a known name whether they are DICOM, and DICOM files
for their patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TypeVar

from unreel.data.manifest import Example, Manifest
from unreel.data.readers import INSIDE, split_folder
from unreel.data.readers.dicom import dicom_files, is_dicom_name, patient_of
from unreel.data.readers.exams import is_part_name, is_volume_name, stem_of, suffix_of
from unreel.data.readers.geometry import PLANES
from unreel.data.readers.images import is_image_name
from unreel.data.readers.nifti import MEDICAL
from unreel.errors import ConfigError, ReadError

File = TypeVar("File", bound=PurePath)


def as_clips(files: Sequence[File], is_dicom: Callable[[File], bool], shallowest: int = 0) -> list[File]:
    """The files, with each scan that is several of them in their place, in the order in which they first stand.

    Args:
        files: in any folders.
        is_dicom: whether a file is DICOM.
        shallowest: the number of parts that the path of a folder must have to be one clip.
    """
    slices = {file for file in files if is_dicom(file)}
    pictures = {file for file in files if is_image_name(file.name)}
    in_folder: dict[PurePath, list[File]] = {}
    for file in files:
        in_folder.setdefault(file.parent, []).append(file)
    is_series = {folder: slices.issuperset(members) for folder, members in in_folder.items()}
    is_plane = {
        folder: folder.name.lower() in PLANES and (is_series[folder] or pictures.issuperset(members))
        for folder, members in in_folder.items()
    }

    def clip_of(file: File) -> File:
        folder = file.parent
        if len(folder.parts) < shallowest:
            return file
        above = folder.parent
        may_rise = len(above.parts) >= shallowest and folder != above
        if may_rise and is_plane[folder]:
            return above
        if may_rise and folder.name.lower() in PLANES and is_volume_name(file.name):
            return type(file)(f"{above}{INSIDE}{stem_of(file)}")
        if stem_of(file).lower() in PLANES and is_part_name(file.name):
            return folder
        return folder if is_series[folder] else file

    return list(dict.fromkeys(clip_of(file) for file in files))


def grouped_by_patient(manifest: Manifest) -> Manifest:
    """The same manifest, in which DICOM examples without a group have one: their patient, as a hash of PatientID.

    A file that cannot be read keeps no group: it will be left out.

    Raises:
        ConfigError: there are such examples, and pydicom is not installed.
    """
    examples = tuple(
        example if example.group is not None else replace(example, group=_patient(manifest.root / example.path))
        for example in manifest.examples
    )
    return replace(manifest, examples=examples)


def check_installed(examples: Sequence[Example]) -> None:
    """Refuse NIfTI files at once where nothing can read them.

    Raises:
        ConfigError: nibabel is not installed.
    """
    if any(suffix_of(example.path) in (".nii", ".nii.gz") for example in examples) and find_spec("nibabel") is None:
        raise ConfigError(f"NIfTI {MEDICAL.format('nibabel')}")


def _patient(path: Path) -> str | None:
    try:
        folder = split_folder(path)[0] or path
        if is_dicom_name(path.name):
            return patient_of(path)
        files = _first_series(folder) if folder.is_dir() else []
        return patient_of(files[0]) if files else None
    except (OSError, ValueError, ReadError):
        return None


def _first_series(folder: Path) -> list[Path]:
    """The DICOM files of a folder or, where it is an exam, of the first plane's folder that has some."""
    places = [folder, *(entry for entry in sorted(folder.iterdir()) if entry.name.lower() in PLANES and entry.is_dir())]
    return next((files for place in places if (files := dicom_files(place))), [])
