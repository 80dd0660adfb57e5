"""DICOM series: in the order of space, whatever the names; and what makes no volume says why."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from made_scans import planes_of, volume, write_dicom
from unreel.data.readers import Reading, open_source
from unreel.data.readers.dicom import is_dicom, patient_of
from unreel.data.readers.volumes import VolumeConfig
from unreel.errors import ConfigError, ReadError

PLAIN = Reading(volume=VolumeConfig(window=(0, 255)))
CUBE = volume((8, 8, 8))
WANTED = torch.cat([torch.from_numpy(slices).byte() for slices in planes_of(CUBE).values()])


def shuffled(count: int) -> list[str]:
    order = np.random.default_rng(0).permutation(count)
    return [f"IM{number:04d}" for number in order]  # without a suffix, in no order


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_a_series_of_any_plane_gives_the_same_slices(tmp_path: Path, plane: str) -> None:
    write_dicom(tmp_path / "series", CUBE, plane, names=shuffled(8))
    (tmp_path / "series" / "DICOMDIR").write_bytes(b"an index")
    (tmp_path / "series" / "notes.txt").write_text("passed over")
    with open_source(tmp_path / "series", PLAIN) as source:
        assert source.frame_shape == (1, 8, 8)
        assert torch.equal(source.read(range(24))[:, 0], WANTED)


def test_spacing_comes_from_the_headers(tmp_path: Path) -> None:
    write_dicom(tmp_path / "series", volume((8, 6, 5)), spacing=(0.5, 1.0, 4.0))
    with open_source(tmp_path / "series", PLAIN) as source:
        assert source.frame_shape == (1, 40, 40)  # 5 slices of 4 mm, pixels of 0.5 mm
        assert source.views is not None
        assert source.views.bincount().tolist() == [5, 8, 6]
        height, width = (source.read([2])[0, 0] > 0).any(1).sum(), (source.read([2])[0, 0] > 0).any(0).sum()
    assert (int(height), int(width)) == (12, 8)  # 6 rows of 1 mm, 8 columns of 0.5 mm


def test_an_oblique_series_keeps_its_own_slices(tmp_path: Path) -> None:
    angle = np.deg2rad(25)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    write_dicom(tmp_path / "series", CUBE, names=shuffled(8), turn=turn)
    with open_source(tmp_path / "series", PLAIN) as source:
        assert torch.equal(source.read(range(24))[:, 0], WANTED)


def test_slope_intercept_and_monochrome1(tmp_path: Path) -> None:
    write_dicom(tmp_path / "scaled", CUBE, RescaleSlope=2, RescaleIntercept=-100)
    with open_source(tmp_path / "scaled", Reading(volume=VolumeConfig(window=(-100, 410)))) as source:
        assert torch.equal(source.read(range(24))[:, 0], WANTED)
    write_dicom(tmp_path / "inverted", CUBE, PhotometricInterpretation="MONOCHROME1")
    with open_source(tmp_path / "inverted", PLAIN) as source:
        assert torch.equal(source.read(range(24))[:, 0], 255 - WANTED)


def test_one_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    file = write_dicom(tmp_path, CUBE, "coronal")[3]
    with open_source(file, PLAIN) as source:
        assert source.views is not None
        assert source.views.tolist() == [2]
        assert torch.equal(source.read([0])[0, 0], WANTED[16 + 3])


def test_of_several_series_one_is_to_be_named(tmp_path: Path) -> None:
    write_dicom(tmp_path / "both", CUBE, names=[f"a{number}" for number in range(8)])
    write_dicom(tmp_path / "both", 255 - CUBE, series="1.2.4", names=[f"b{number}" for number in range(8)])
    with pytest.raises(
        ReadError, match=r"holds 2: name one as FOLDER!UID: 1\.2\.3 \(axial series, 8 slices\); 1\.2\.4"
    ):
        open_source(tmp_path / "both")
    with open_source(f"{tmp_path / 'both'}!1.2.4", PLAIN) as source:
        assert torch.equal(source.read(range(24))[:, 0], 255 - WANTED)
    with pytest.raises(ReadError, match=r"expected the series 1\.2\.5"):
        open_source(f"{tmp_path / 'both'}!1.2.5")


def test_missing_slices_are_told(tmp_path: Path) -> None:
    files = write_dicom(tmp_path / "gap", CUBE, spacing=(1, 1, 2.5))
    files[4].unlink()
    with pytest.raises(ReadError, match=r"IM0003\.dcm and IM0005\.dcm lie 5\.00 mm apart.*missing"):
        open_source(tmp_path / "gap")


def test_slices_that_are_there_twice_are_told(tmp_path: Path) -> None:
    files = write_dicom(tmp_path / "twice", CUBE)
    (tmp_path / "twice" / "copy.dcm").write_bytes(files[2].read_bytes())
    with pytest.raises(ReadError, match=r"IM0002\.dcm.* both lie at 2\.00 mm: one is a copy"):
        open_source(tmp_path / "twice")
    (tmp_path / "twice" / "copy.dcm").unlink()
    write_dicom(tmp_path / "twice", CUBE, names=[f"later{number}.dcm" for number in range(8)], SOPInstanceUID="9.9")
    with pytest.raises(ReadError, match="a series over time"):
        open_source(tmp_path / "twice")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "one orientation"),
        ({"PixelSpacing": [1, 2]}, "one pixel spacing"),
        ({"Columns": 4}, r"one size \(rows, columns\)"),
    ],
)
def test_slices_that_differ_are_told(tmp_path: Path, tags: dict[str, object], said: str) -> None:
    names = [f"IM{number:04d}.dcm" for number in range(8)]
    write_dicom(tmp_path / "series", CUBE, names=names)
    for file in write_dicom(tmp_path / "other", CUBE, names=names, **tags)[4:]:
        file.rename(tmp_path / "series" / file.name)
    with pytest.raises(ReadError, match=said):
        open_source(tmp_path / "series")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ImagePositionPatient": None}, r"3 numbers in ImagePositionPatient of IM0000\.dcm"),
        ({"PixelSpacing": None}, "2 numbers in PixelSpacing"),
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"SamplesPerPixel": 3}, "has 3 colours"),
    ],
)
def test_headers_that_say_too_little_are_told(tmp_path: Path, tags: dict[str, object], said: str) -> None:
    write_dicom(tmp_path / "series", CUBE, **tags)
    with pytest.raises(ReadError, match=said):
        open_source(tmp_path / "series")


def test_broken_slices_are_named(tmp_path: Path) -> None:
    files = write_dicom(tmp_path / "series", CUBE)
    content = files[5].read_bytes()
    files[5].write_bytes(content[:-20])
    with open_source(tmp_path / "series") as source, pytest.raises(ReadError, match=r"pixels of IM0005\.dcm"):
        source.read([0])
    files[5].write_bytes(b"")
    with pytest.raises(ReadError, match=r"expected a DICOM file IM0005\.dcm") as caught:
        open_source(tmp_path / "series")
    assert caught.value.path == str(tmp_path / "series")


def test_patients_have_names_that_say_nothing(tmp_path: Path) -> None:
    one, same, other, none = (
        write_dicom(tmp_path / str(number), CUBE, patient=patient)[0]
        for number, patient in enumerate(("Jane", "Jane ", "John", ""))
    )
    assert patient_of(one) == patient_of(same) != patient_of(other)
    assert "Jane" not in str(patient_of(one))
    assert patient_of(none) is None


def test_what_is_dicom(tmp_path: Path) -> None:
    bare = write_dicom(tmp_path, CUBE, names=[f"{number}" for number in range(8)])[0]
    assert is_dicom(bare)
    assert is_dicom(bare.rename(tmp_path / "1.2.840.5"))
    assert is_dicom(tmp_path / "absent.DCM")
    (tmp_path / "README").write_text("this is none")
    assert not any(is_dicom(tmp_path / name) for name in ("README", "absent", "DICOMDIR", ".hidden.dcm", "a.png"))


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_dicom(tmp_path / "series", CUBE)[0]
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ReadError, match=r"needs pydicom: pip install 'unreel\[medical\]'"):
        open_source(tmp_path / "series")
    with pytest.raises(ConfigError, match=r"unreel\[medical\]"):
        patient_of(file)
