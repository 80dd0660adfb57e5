"""Exams: what opens to the slices of a scan. One volume cut in three planes, or a series of its own for each plane.

    case.nii.gz                     a volume                          set.npz!train_images/17    one of many in an array
    case/*.dcm                      a DICOM series                    case!1.2.840.113           one of several series
    exam/axial.nii.gz coronal/ ...  a file or folder for each plane   train!0000                 train/{axial,coronal,
                                                                                                 sagittal}/0000.npy

A part that a plane's name stands on gives the slices of that plane only: cut from the volume where the file says how it
lies, the array's own slices (T, H, W) where it does not. Of a missing plane there are no slices.

What this file is not: it knows no label; which files belong to one exam in a folder of many says `data/scans.py`.

Shape letters: T slices; S pixels of the square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers.arrays import ArraySource
from unreel.data.readers.dicom import DICOM_SUFFIXES, dicom_files, read_series
from unreel.data.readers.geometry import PLANES, Plane, Volume, affine_of_series
from unreel.data.readers.images import ImageSource, is_image_name, open_folder, open_image
from unreel.data.readers.nifti import read_nifti
from unreel.data.readers.source import Closing, Source, check_indices, one_line
from unreel.data.readers.stacks import read_member
from unreel.data.readers.volumes import VolumeConfig, VolumeSource, centred
from unreel.errors import ReadError


def read_dicom(path: Path) -> Volume:
    """A DICOM file of one slice as a volume."""
    return read_series(path, [path])


VOLUMES: Mapping[str, Callable[[Path], Volume]] = {
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    **dict.fromkeys(DICOM_SUFFIXES, read_dicom),
}
"""What reads a file whose header says how its volume lies, by the lower-case end of its name."""


class ExamSource(Closing):
    """Several series, one after the other, as one source.

    Args:
        path: what the caller opened, named in errors.
        parts: at least one. Smaller slices are put in the middle of the largest square.

    Attributes:
        times: (T,) float64, the positions 0 .. T-1.
        views: (T,) int64, the plane of each slice.
        frame_shape: (1, S, S).
    """

    def __init__(self, path: object, parts: Sequence[VolumeSource]) -> None:
        self._path, self._parts = path, parts
        self._places = [(part, index) for part in parts for index in range(len(part))]
        self.views: Tensor | None = torch.cat([part.views for part in parts if part.views is not None])
        self.times = torch.arange(len(self._places), dtype=torch.float64)
        self.frame_shape = max(part.frame_shape for part in parts)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The slices at `indices`, (n, 1, S, S) uint8.

        Raises:
            ReadError: a part cannot be read.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        frames = torch.zeros((len(checked), *self.frame_shape), dtype=torch.uint8)
        for part in self._parts:
            rows = [row for row, index in enumerate(checked) if self._places[index][0] is part]
            if not rows:
                continue
            try:
                slices = part.read([self._places[checked[row]][1] for row in rows])
            except ReadError as error:
                raise ReadError(self._path, f"{_part_name(Path(error.path))}: {error.reason}") from error
            frames[rows, 0] = centred(slices[:, 0], self.frame_shape[-1])
        return frames

    def close(self) -> None:
        """Close all parts."""
        for part in self._parts:
            part.close()


def open_volume(path: str | Path, config: VolumeConfig | None = None) -> VolumeSource:
    """A NIfTI or DICOM file, in the planes of `config`."""
    config = config or VolumeConfig()
    return VolumeSource(path, VOLUMES[suffix_of(path)](Path(path)), config, config.planes or PLANES)


def open_array(path: str | Path, config: VolumeConfig | None = None) -> Source:
    """An array: frames, or where `config` names planes and it has three axes, a volume (R, A, S) of 1 mm voxels."""
    source = ArraySource(path)
    if config is None or config.planes is None or len(source.frame_shape) != 3 or source.frame_shape[0] != 1:
        return source
    shape = (len(source), source.frame_shape[1], source.frame_shape[2])
    source.close()
    volume = Volume(shape, np.eye(4), lambda: _grey(ArraySource(path)))
    return VolumeSource(path, volume, config, config.planes)


def open_member(file: str, inner: str, config: VolumeConfig | None = None) -> VolumeSource:
    """A volume of a stack: `open_member("set.npz", "train_images/17")`."""
    config = config or VolumeConfig()
    return VolumeSource(f"{file}!{inner}", read_member(file, inner), config, config.planes or PLANES)


def open_scan_folder(path: str | Path, config: VolumeConfig | None = None) -> Source | None:
    """A folder that is an exam or a DICOM series; None where it is neither.

    Raises:
        ReadError: it is one, and cannot be read.
    """
    config = config or VolumeConfig()
    folder = Path(path)
    parts = exam_parts(folder)
    if parts:
        return _exam(path, parts, config)
    files = dicom_files(folder)
    return VolumeSource(path, read_series(folder, files), config, config.planes or PLANES) if files else None


def open_inside(folder: Path, name: str, config: VolumeConfig | None = None) -> Source:
    """One exam of a folder with a folder for each plane, by its name; or one series of a DICOM folder, by its UID.

    Raises:
        ReadError: there is none of this name, or it cannot be read.
    """
    config = config or VolumeConfig()
    path = Path(f"{folder}!{name}")
    parts = exam_parts(folder, name)
    if parts:
        return _exam(path, parts, config)
    files = dicom_files(folder)
    if not files:
        said = f"expected {name} in one of {', '.join(PLANES)} inside {folder.name}, or a DICOM series: there is none"
        raise ReadError(path, said)
    return VolumeSource(path, read_series(path, files, name), config, config.planes or PLANES)


def exam_parts(folder: Path, name: str = "") -> dict[Plane, Path]:
    """The file or folder of each plane.

    Args:
        folder: of one exam, whose entries are called after planes; or of many, with a folder for each plane.
        name: of the exam, without its suffix, where the folder holds many.

    Raises:
        ReadError: two entries are of one plane, or the folder cannot be listed.
    """
    parts: dict[Plane, Path] = {}
    places: list[tuple[Plane, Path]]
    try:
        named = _named_after_planes(folder)
        if name:
            within = [pair for pair in named if pair[1].is_dir()]
            places = [(plane, entry) for plane, place in within for entry in _entries(place) if stem_of(entry) == name]
        else:
            # a plane's folder that holds volumes has one for each of many exams
            places = [(plane, entry) for plane, entry in named if not entry.is_dir() or _is_series(entry)]
    except OSError as error:
        raise ReadError(folder, f"expected a folder: {one_line(error)}") from error
    for plane, entry in places:
        if not entry.is_dir() and not is_part_name(entry.name):
            continue
        if plane in parts:
            raise ReadError(folder, f"expected one {plane} series, found {parts[plane].name} and {entry.name}")
        parts[plane] = entry
    return parts


def is_part_name(name: str) -> bool:
    """Whether a file of this name is a series of slices or a single one."""
    return is_volume_name(name) or is_image_name(name)


def is_volume_name(name: str) -> bool:
    """Whether a file of this name holds a volume."""
    return not PurePath(name).name.startswith(".") and suffix_of(name) in (*VOLUMES, ".npy", ".npz")


def suffix_of(path: str | PurePath) -> str:
    """The lower-case end of a name that says what it is: ".nii.gz" is one."""
    name = PurePath(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePath(name).suffix


def stem_of(path: str | PurePath) -> str:
    """The name without the end that `suffix_of` gives."""
    name = PurePath(path).name
    return name[: len(name) - len(suffix_of(name))]


def _named_after_planes(folder: Path) -> list[tuple[Plane, Path]]:
    entries = _entries(folder)
    return [(plane, entry) for plane in PLANES for entry in entries if stem_of(entry).lower() == plane]


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")) if folder.is_dir() else []


def _is_series(folder: Path) -> bool:
    files = [entry for entry in _entries(folder) if entry.is_file()]
    return any(is_image_name(file.name) for file in files) or bool(dicom_files(folder))


def _exam(path: str | Path, parts: Mapping[Plane, Path], config: VolumeConfig) -> Source:
    wanted: list[Plane] = [plane for plane in config.planes or PLANES if plane in parts]
    if not wanted:
        raise ReadError(path, f"expected {' or '.join(config.planes or PLANES)}, the exam has {', '.join(parts)} only")
    try:
        opened = [VolumeSource(parts[plane], _part(parts[plane], plane), config, [plane]) for plane in wanted]
    except ReadError as error:
        raise ReadError(path, f"{_part_name(Path(error.path))}: {error.reason}") from error
    return ExamSource(path, opened)


def _part_name(path: Path) -> str:
    """What a part is called in an error: with its plane, where its own name does not say it."""
    return f"{path.parent.name}/{path.name}" if path.parent.name.lower() in PLANES else path.name


def _part(path: Path, plane: Plane) -> Volume:
    """The volume of one plane's file or folder."""
    if path.is_dir():
        files = dicom_files(path)
        return read_series(path, files) if files else _stack(path, open_folder, plane)
    if suffix_of(path) in VOLUMES:
        return VOLUMES[suffix_of(path)](path)
    return _stack(path, open_image if is_image_name(path.name) else ArraySource, plane)


def _stack(path: Path, opened: Callable[[Path], ArraySource | ImageSource], plane: Plane) -> Volume:
    """Frames (T, C, H, W) as the slices of a plane; they are opened again when they are read."""
    with opened(path) as source:
        shape = (len(source), *source.frame_shape)
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ReadError(path, f"expected slices (T, H, W), got {shape}")
    return Volume((shape[0], shape[2], shape[3]), affine_of_series(plane), lambda: _grey(opened(path)))


def _grey(source: ArraySource | ImageSource) -> NDArray[np.generic]:
    """All frames as (T, H, W); the source is closed."""
    with source:
        frames = source.read(range(len(source))).numpy()
    return frames[:, 0] if frames.shape[1] == 1 else frames.astype(np.float32).mean(1)
