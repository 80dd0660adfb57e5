"""NIfTI files: stored whichever way, scaled, compressed, broken."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from made_scans import ORDERS, planes_of, stored, volume, write_nifti
from unreel.data.readers import Reading, open_source
from unreel.data.readers.volumes import VolumeConfig
from unreel.errors import ReadError

PLAIN = Reading(volume=VolumeConfig(window=(0, 255)))


def test_a_file_gives_the_same_slices_however_it_is_stored(tmp_path: Path) -> None:
    canonical = volume((8, 8, 8))
    wanted = torch.cat([torch.from_numpy(slices).byte() for slices in planes_of(canonical).values()])
    for number, (axes, signs) in enumerate(ORDERS[::6]):
        suffix = (".nii", ".nii.gz")[number % 2]
        path = write_nifti(tmp_path / f"{number}{suffix}", *stored(canonical, axes, signs))
        with open_source(path, PLAIN) as source:
            assert source.frame_shape == (1, 8, 8)
            assert torch.equal(source.read(range(24))[:, 0], wanted)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(volume((8, 8, 8)).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(4.0, -300.0)  # the numbers themselves are then written as they are
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    with open_source(
        tmp_path / "scaled.nii.gz", Reading(volume=VolumeConfig(("axial",), window=(-300, 720)))
    ) as source:
        assert torch.equal(source.read(range(8))[:, 0], torch.from_numpy(planes_of(volume((8, 8, 8)))["axial"]).byte())


def test_a_last_axis_of_one_is_no_axis(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", volume((4, 5, 6, 1)))
    with open_source(path) as source:
        assert len(source) == 15
        source.read(range(15))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 4, 2), np.uint8), "three axes"),
        (np.zeros((4, 4), np.uint8), "three axes"),
        (np.zeros((4, 4, 4), np.complex64), "a number for each voxel"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "a number for each voxel"),
    ],
)
def test_what_is_no_volume_of_numbers_is_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    with pytest.raises(ReadError, match=said) as caught:
        open_source(write_nifti(tmp_path / "odd.nii.gz", array))
    assert caught.value.path == str(tmp_path / "odd.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_told(tmp_path: Path, suffix: str, share: float) -> None:
    path = write_nifti(tmp_path / f"cut{suffix}", volume((20, 20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReadError) as caught, open_source(path) as source:
        source.read([0])
    assert caught.value.path == str(path)
    assert caught.value.reason.isprintable()


def test_a_header_that_claims_too_much_is_told(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "huge.nii", volume())
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()  # the three sizes
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ReadError, match="voxels"):
        open_source(tmp_path / "huge.nii.gz")


def test_without_nibabel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "a.nii", volume())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ReadError, match=r"needs nibabel: pip install 'unreel\[medical\]'"):
        open_source(path)
