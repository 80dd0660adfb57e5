"""Exams: a volume, or a part for each plane; missing planes, unequal counts, parts of every kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from made_scans import planes_of, stored, volume, write_dicom, write_mrnet, write_nifti
from unreel.data.content import content_hash, same_content
from unreel.data.readers import Reading, open_source
from unreel.data.readers.volumes import VolumeConfig
from unreel.errors import ReadError

PLAIN = Reading(volume=VolumeConfig(window=(0, 255)))


def test_an_array_is_a_volume_where_planes_are_named(tmp_path: Path) -> None:
    canonical = volume((8, 8, 8))
    np.save(tmp_path / "a.npy", canonical)
    np.savez(tmp_path / "a.npz", canonical)
    wanted = planes_of(canonical)
    for name in ("a.npy", "a.npz"):
        with open_source(tmp_path / name) as source:
            assert source.views is None  # frames, as ever
            assert len(source) == 8
        config = Reading(volume=VolumeConfig(("coronal", "axial"), window=(0, 255)))
        with open_source(tmp_path / name, config) as source:
            slices = np.concatenate([wanted["coronal"], wanted["axial"]])
            assert torch.equal(source.read(range(16))[:, 0], torch.from_numpy(slices).byte())
    np.save(tmp_path / "colour.npy", np.zeros((5, 3, 6, 6), np.uint8))
    with open_source(tmp_path / "colour.npy", Reading(volume=VolumeConfig(("axial",)))) as source:
        assert source.views is None


def test_mrnets_exam_is_three_series_of_its_own(tmp_path: Path) -> None:
    root = write_mrnet(tmp_path)
    with open_source(root / "train!0001", Reading(volume=VolumeConfig(percentiles=(0, 100)))) as source:
        assert source.views is not None
        counts = [len(np.load(root / "train" / plane / "0001.npy")) for plane in ("axial", "sagittal", "coronal")]
        assert source.views.bincount().tolist() == counts
        axial = np.load(root / "train" / "axial" / "0001.npy").astype(np.float64)
        wanted = np.round((axial - axial.min()) * 255 / (axial.max() - axial.min()))
        found = source.read(range(counts[0]))[:, 0].numpy()
        assert np.abs(found - wanted).max() <= 1
    with open_source(root / "train!0003") as source:
        assert source.views is not None
        assert set(source.views.tolist()) == {0, 1}  # the coronal series is missing
    with open_source(root / "train!0003", Reading(volume=VolumeConfig(("coronal", "axial")))) as source:
        assert source.views is not None
        assert set(source.views.tolist()) == {0}
    with pytest.raises(ReadError, match="expected coronal, the exam has axial, sagittal only"):
        open_source(root / "train!0003", Reading(volume=VolumeConfig(("coronal",))))
    with pytest.raises(ReadError, match="there is none"):
        open_source(root / "train!0099")
    (root / "train" / "axial").rename(root / "train" / "Axial")
    with open_source(root / "train!0001") as source:
        assert source.views is not None
        assert source.views.bincount().tolist() == counts


def test_parts_of_every_kind_are_one_exam(tmp_path: Path) -> None:
    canonical = volume((8, 8, 8))
    wanted = planes_of(canonical)
    exam = tmp_path / "exam"
    write_nifti(exam / "axial.nii.gz", *stored(canonical, (2, 0, 1), (1, -1, 1)))
    write_dicom(exam / "Sagittal", canonical, "sagittal")
    (exam / "coronal").mkdir()
    for number, pixels in enumerate(wanted["coronal"]):
        Image.fromarray(pixels.astype(np.uint8)).save(exam / "coronal" / f"slice{number}.png")
    (exam / "report.txt").write_text("passed over")
    with open_source(exam, PLAIN) as source:
        assert torch.equal(source.read(range(24))[:, 0], torch.from_numpy(np.concatenate(list(wanted.values()))).byte())


def test_one_slice_a_plane_is_the_tutorials_case(tmp_path: Path) -> None:
    for plane, grey in (("axial", 10), ("coronal", 20), ("sagittal", 30)):
        Image.fromarray(np.full((6, 6, 3), grey, np.uint8)).save(tmp_path / f"{plane}.png")
    with open_source(tmp_path, PLAIN) as source:
        assert source.views is not None
        assert source.views.tolist() == [0, 1, 2]
        assert source.read([0, 1, 2])[:, 0, 0, 0].tolist() == [10, 30, 20]


def test_parts_of_unequal_size_share_the_largest_square(tmp_path: Path) -> None:
    np.save(tmp_path / "axial.npy", np.full((2, 4, 6), 200, np.uint8))
    np.save(tmp_path / "coronal.npy", np.full((3, 10, 8), 100, np.uint8))
    with open_source(tmp_path, PLAIN) as source:
        assert source.frame_shape == (1, 10, 10)
        frames = source.read(range(5))
    assert (frames[0] > 0).sum() == 4 * 6
    assert (frames[4] > 0).sum() == 10 * 8
    assert (frames[0, 0, 3:7, 2:8] == 200).all()


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    write_nifti(tmp_path / "axial.nii", volume((20, 20, 20)))
    content = write_nifti(tmp_path / "coronal.nii", volume((20, 20, 20))).read_bytes()
    (tmp_path / "coronal.nii").write_bytes(content[:5000])
    with pytest.raises(ReadError, match=r"coronal\.nii: ") as caught, open_source(tmp_path) as source:
        source.read(range(len(source)))
    assert caught.value.path == str(tmp_path)
    (tmp_path / "coronal.nii").write_bytes(b"nothing")
    with pytest.raises(ReadError, match=r"coronal\.nii: "):
        open_source(tmp_path)
    np.save(tmp_path / "coronal.npy", volume())
    with pytest.raises(ReadError, match=r"one coronal series, found coronal\.nii and coronal\.npy"):
        open_source(tmp_path)
    (tmp_path / "flat").mkdir()
    np.save(tmp_path / "flat" / "axial.npy", np.zeros((5, 6)))
    with pytest.raises(ReadError, match=r"axial\.npy: expected slices \(T, H, W\)"):
        open_source(tmp_path / "flat")


def test_what_an_exam_holds_is_its_content(tmp_path: Path) -> None:
    root = write_mrnet(tmp_path)
    for plane in ("axial", "coronal", "sagittal"):  # exam 7 is exam 1 again
        (root / "train" / plane / "0007.npy").write_bytes((root / "train" / plane / "0001.npy").read_bytes())
    paths = [root / f"train!000{number}" for number in (1, 2, 7)]
    assert list(same_content(paths).values()) == [str(paths[0]), str(paths[1]), str(paths[0])]
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, seed in ((one, 0), (other, 1)):
        write_dicom(folder / "axial", volume((4, 4, 4), seed))
    assert content_hash(one) != content_hash(other)  # though no file lies directly in them
    write_dicom(one / "axial", volume((4, 4, 4), 1), series="1.2.9", names=[f"b{number}" for number in range(4)])
    assert content_hash(one / "axial!1.2.3") != content_hash(one / "axial!1.2.9")
