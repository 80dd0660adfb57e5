"""Which files are one scan, in class folders and for predict; patients as groups; the extra that is not there."""

import importlib.util
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from made_scans import volume, write_dicom, write_mrnet, write_nifti
from unreel.data import ManifestConfig, SplitConfig, load, split
from unreel.data import scans as scans_module
from unreel.data.readers.dicom import is_dicom_name
from unreel.data.scans import as_clips
from unreel.errors import ConfigError

SMALL = volume((4, 4, 4))


def clips(*names: str, shallowest: int = 0) -> list[str]:
    files = [PurePosixPath(name) for name in names]
    return [str(clip) for clip in as_clips(files, lambda file: is_dicom_name(file.name), shallowest)]


def test_files_of_one_scan_are_one_clip() -> None:
    assert clips("a/1.dcm", "a/2.dcm", "b/1.dcm", "c.nii.gz") == ["a", "b", "c.nii.gz"]
    assert clips("a/axial.nii.gz", "a/coronal.npy", "a/notes.txt") == ["a", "a/notes.txt"]
    assert clips("a/axial/1.dcm", "a/Sagittal/1.png", "a/coronal.nii") == ["a"]
    assert clips("valid/axial/7.npy", "valid/coronal/7.npy", "valid/axial/8.nii.gz") == ["valid!7", "valid!8"]
    assert clips("a/1.dcm", "a/film.mp4", "1.npy", "x/1.png") == ["a/1.dcm", "a/film.mp4", "1.npy", "x/1.png"]


def test_a_class_folder_is_no_scan() -> None:
    named = ("sick/1.dcm", "sick/2.dcm", "axial/1.npy", "well/p1/1.dcm", "well/p2/axial/1.dcm", "well/coronal.npy")
    assert clips(*named, shallowest=2) == [
        "sick/1.dcm",
        "sick/2.dcm",
        "axial/1.npy",
        "well/p1",
        "well/p2",
        "well/coronal.npy",
    ]


def test_class_folders_of_scans(tmp_path: Path) -> None:
    for number, label in enumerate(("sick", "well", "sick", "well")):
        names = [f"IM{place}" for place in range(4)]  # without a suffix
        write_dicom(tmp_path / label / f"case{number}", SMALL, names=names, patient=f"patient {number // 2}")
    write_nifti(tmp_path / "sick" / "a.nii.gz", SMALL)
    np.save((tmp_path / "well" / "exam").with_suffix(".npy"), SMALL)
    manifest = load(tmp_path)
    assert [example.path for example in manifest.examples] == [
        "sick/a.nii.gz",
        "sick/case0",
        "sick/case2",
        "well/case1",
        "well/case3",
        "well/exam.npy",
    ]
    groups = {example.path: example.group for example in manifest.examples}
    assert groups["sick/a.nii.gz"] is None
    assert groups["sick/case0"] == groups["well/case1"] != groups["sick/case2"] == groups["well/case3"]
    assert load(tmp_path, ManifestConfig(group_from=r"case(\d)")).examples[1].group == "0"


def test_scans_of_one_patient_stand_on_one_side(tmp_path: Path) -> None:
    for number in range(12):
        label = ("sick", "well")[number % 2]
        write_dicom(tmp_path / label / f"case{number}", volume((3, 3, 3), number), patient=f"patient {number // 4}")
    sides = split(load(tmp_path), SplitConfig(val=0.3, test=0.3))
    side = {example.path: example.split for example in sides.examples}
    for patient in range(3):
        found = {side[f"{('sick', 'well')[number % 2]}/case{number}"] for number in range(4 * patient, 4 * patient + 4)}
        assert len(found) == 1


def test_a_table_may_name_scans(tmp_path: Path) -> None:
    write_dicom(tmp_path / "one", SMALL, patient="A")
    write_dicom(tmp_path / "two" / "axial", SMALL, patient="A")
    write_dicom(tmp_path / "three", SMALL, patient="B")
    write_mrnet(tmp_path)
    (tmp_path / "manifest.csv").write_text("path,label\none,a\ntwo,b\nthree!1.2.3,b\ntrain!0001,a\nabsent,a\n")
    manifest = load(tmp_path)
    groups = [example.group for example in manifest.examples]
    assert groups[0] == groups[1] is not None
    assert groups[2] not in (None, groups[0])
    assert groups[3:] == [None, None]


def test_nifti_without_nibabel_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("a", "b"):
        write_nifti(tmp_path / label / "1.nii", SMALL)
    monkeypatch.setattr(scans_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"NIfTI needs nibabel: pip install 'unreel\[medical\]'"):
        load(tmp_path)
    assert importlib.util.find_spec("nibabel") is not None


def test_a_stated_group_stays(tmp_path: Path) -> None:
    write_dicom(tmp_path / "one", SMALL)
    (tmp_path / "manifest.csv").write_text("path,label,group\none,a,mine\n")
    manifest = load(tmp_path)
    assert scans_module.grouped_by_patient(manifest).examples == (replace(manifest.examples[0], group="mine"),)
