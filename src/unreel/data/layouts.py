"""Layouts of published scans, with their official sides: MRNet's folders.

    root/train/{axial,coronal,sagittal}/0000.npy    MRNet (Bien et al. 2018): a series of slices (T, H, W) a plane,
    root/train-abnormal.csv  train-acl.csv ...      and for each label a table of exam, 0 or 1; the same with `valid`

What this file is not: it opens no volume. MedMNIST's arrays of volumes are for `image_sets.py`, like those of images.

Shape letters: T slices, H W their pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from unreel.data.manifest import SPLIT_NAMES, Example, Manifest, ManifestConfig
from unreel.data.manifest_files import table_text
from unreel.data.readers import INSIDE
from unreel.data.readers.exams import is_volume_name, stem_of
from unreel.data.readers.geometry import PLANES
from unreel.errors import ManifestError
from unreel.natural import natural_key


def mrnet(root: Path, files: Sequence[PurePosixPath], config: ManifestConfig) -> Manifest | None:
    """The manifest of a folder in MRNet's layout; None where it is not.

    An exam is `train!0000` and has the labels whose tables say 1. Where `config.label_column` names one of the tables,
    it has one label: that name, or `no NAME`. Where there is a side to train on and one to validate on and no third,
    as MRNet's own test side is kept secret, the latter is what is measured on, and exams to choose the epoch by are
    taken from the former.

    Args:
        root: the folder.
        files: all files below it, relative to it.
        config: which label.

    Raises:
        ManifestError: a table does not say what it must, or no exam is left.
    """
    exams: dict[str, set[str]] = {}
    for file in files:
        if len(file.parts) == 3 and file.parts[1].lower() in PLANES and is_volume_name(file.name):
            exams.setdefault(file.parts[0], set()).add(stem_of(file))
    tables = {file.stem: file for file in files if len(file.parts) == 1 and file.suffix.lower() == ".csv"}
    named = {side: _labels_of_side(side, tables) for side in exams}
    if not exams or not all(side.lower() in SPLIT_NAMES for side in exams) or not any(named.values()):
        return None
    sides = {side: SPLIT_NAMES[side.lower()] for side in exams}
    if set(sides.values()) == {"train", "val"}:
        sides = {side: "test" if split == "val" else split for side, split in sides.items()}
    chosen = {side: _chosen(root, side, named[side], config) for side in sorted(exams)}
    examples: list[Example] = []
    broken: dict[str, str] = {}
    for side, labels in chosen.items():
        names = exams[side]
        said = {label: _read_labels(root / table) for label, table in labels.items()}
        for name in sorted(names.union(*said.values()), key=natural_key):
            path = f"{side}{INSIDE}{name}"
            unsaid = [labels[label].name for label, values in said.items() if name not in values]
            if name not in names:
                broken[path] = f"expected {name}.npy in one of {', '.join(PLANES)} in {side}, there is none"
            elif unsaid:
                broken[path] = f"expected a row for {name} in {', '.join(unsaid)}, there is none"
            else:
                holds = {label: bool(values[name]) for label, values in said.items()}
                examples.append(Example(path, _as_labels(holds, config), split=sides[side]))
    if not examples:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(broken.items())[:3])
        raise ManifestError(f"{root}: expected exams with labels, none of {len(broken)} can be used: {reasons}")
    return Manifest(root, tuple(examples), broken=broken)


def _labels_of_side(side: str, tables: Mapping[str, PurePosixPath]) -> dict[str, PurePosixPath]:
    """`train-acl.csv` as {"acl": ...}."""
    return {stem[len(side) + 1 :]: file for stem, file in tables.items() if stem.startswith(f"{side}-")}


def _chosen(
    root: Path, side: str, labels: Mapping[str, PurePosixPath], config: ManifestConfig
) -> Mapping[str, PurePosixPath]:
    """All labels of a side, or the one that is asked for."""
    if not labels:
        raise ManifestError(f"{root}: expected tables such as {side}-abnormal.csv for the exams in {side}, found none")
    if config.label_column == "label":
        return labels
    if config.label_column not in labels:
        raise ManifestError(
            f"{root}: expected a table {side}-{config.label_column}.csv as label_column says, "
            f"the labels of {side} are {', '.join(sorted(labels))}"
        )
    return {config.label_column: labels[config.label_column]}


def _as_labels(holds: Mapping[str, bool], config: ManifestConfig) -> tuple[str, ...]:
    if config.label_column == "label":
        return tuple(label for label, true in sorted(holds.items()) if true)
    return tuple(label if true else f"no {label}" for label, true in holds.items())


def _read_labels(path: Path) -> dict[str, int]:
    """0 or 1 of each exam."""
    labels: dict[str, int] = {}
    for number, line in enumerate(table_text(path).splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        header = number == 1 and len(cells) == 2 and cells[1].isalpha()
        if not any(cells) or header:
            continue
        if len(cells) != 2 or not cells[0] or cells[1] not in ("0", "1"):
            raise ManifestError(f"{path}, line {number}: expected an exam and 0 or 1, such as 0007,1; found {line!r}")
        if cells[0] in labels:
            raise ManifestError(f"{path}, line {number}: expected each exam once, {cells[0]} stands there twice")
        labels[cells[0]] = int(cells[1])
    return labels
