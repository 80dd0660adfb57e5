"""Voxels to pictures: one scale in all planes, a square, black and white by window or percentiles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from made_scans import ORDERS, planes_of, stored, volume
from unreel.data.readers.geometry import PLANES, Volume
from unreel.data.readers.volumes import VolumeConfig, VolumeSource, centred, limits
from unreel.errors import ConfigError, ReadError

PLAIN = VolumeConfig(window=(0, 255))


def source_of(
    array: np.ndarray, affine: np.ndarray | None = None, config: VolumeConfig = PLAIN, inverted: bool = False
):
    given = Volume(array.shape, np.eye(4) if affine is None else affine, lambda: array, inverted)
    return VolumeSource("a.nii", given, config, config.planes or PLANES)


def test_planes_follow_each_other_and_each_slice_knows_its_view() -> None:
    canonical = volume()
    source = source_of(canonical)
    assert len(source) == 10 + 6 + 8
    assert source.views is not None
    assert source.views.tolist() == [0] * 10 + [1] * 6 + [2] * 8
    assert source.times.tolist() == list(range(24))
    assert source.frame_shape == (1, 10, 10)
    wanted = torch.cat([centred(torch.from_numpy(slices).byte(), 10) for slices in planes_of(canonical).values()])
    assert torch.equal(source.read(range(24))[:, 0], wanted)
    assert torch.equal(source.read([23, 0, 12, 0])[:, 0], wanted[[23, 0, 12, 0]])
    assert source.read([]).shape == (0, 1, 10, 10)


def test_chosen_planes_come_in_their_order() -> None:
    canonical = volume()
    source = source_of(canonical, config=VolumeConfig(("coronal", "axial"), window=(0, 255)))
    assert source.views is not None
    assert source.views.tolist() == [2] * 8 + [0] * 10
    # the square is as large as these planes need it
    assert source_of(canonical, config=VolumeConfig(("axial",), window=(0, 255))).frame_shape == (1, 8, 8)


def test_permuted_flipped_and_turned_affines_give_the_same_pictures() -> None:
    canonical = volume()
    wanted = source_of(*stored(canonical, (0, 1, 2), (1, 1, 1), (1.0, 1.5, 3.0))).read(range(24))
    for axes, signs in ORDERS:
        array, affine = stored(canonical, axes, signs, (1.0, 1.5, 3.0))
        assert torch.equal(source_of(array, affine).read(range(24)), wanted)


def test_an_oblique_volume_keeps_its_own_slices() -> None:
    canonical = volume()
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert torch.equal(source_of(canonical, turn).read(range(24)), source_of(canonical).read(range(24)))


def test_a_cube_is_a_square_of_its_millimetres_in_every_plane() -> None:
    spacing = (1.0, 0.5, 3.0)
    shape = (40, 60, 12)  # 40 × 30 × 36 mm
    centres = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"))
    cube = np.where((np.abs(centres - np.array([20, 15, 16.5])[:, None, None, None]) < 9.1).all(0), 255, 0)
    for config, edge in ((PLAIN, 36), (VolumeConfig(window=(0, 255), spacing=1.0), 18)):
        source = source_of(cube.astype(np.uint8), np.diag([*spacing, 1.0]), config)
        assert source.frame_shape == ((1, 80, 80) if config is PLAIN else (1, 40, 40))  # 40 mm, finest 0.5 mm
        assert source.views is not None
        for view in range(3):
            places = (source.views == view).nonzero().flatten().tolist()
            middle = source.read([places[len(places) // 2]])[0, 0] > 127
            for axis in (0, 1):
                assert abs(int(middle.any(axis).sum()) - edge) <= (2 if config is PLAIN else 1)


def test_the_field_cuts_and_pads_around_the_middle() -> None:
    canonical = volume((8, 8, 8))
    whole = source_of(canonical).read([3])[0, 0]
    small = source_of(canonical, config=VolumeConfig(window=(0, 255), field=4)).read([3])[0, 0]
    large = source_of(canonical, config=VolumeConfig(window=(0, 255), field=12)).read([3])[0, 0]
    assert torch.equal(small, whole[2:6, 2:6])
    assert torch.equal(large[2:10, 2:10], whole)
    assert large.sum() == whole.long().sum()


def test_black_and_white() -> None:
    voxels = np.arange(1000, dtype=np.int16).reshape(10, 10, 10) - 500
    assert limits(voxels, VolumeConfig(window=(-100, 100))) == (-100, 100)
    assert limits(voxels, VolumeConfig(percentiles=(10, 90))) == pytest.approx(np.percentile(voxels, (10, 90)))
    read = source_of(voxels, config=VolumeConfig(window=(-100, 100))).read(range(30))
    assert (read.min(), read.max()) == (0, 255)
    zero = source_of(np.zeros((4, 4, 4), np.int16), config=VolumeConfig(window=(-100, 100))).read([0])
    assert zero.unique().tolist() == [128]
    # a mask of a few voxels: both percentiles are 0
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5, 6, 7] = 1
    assert limits(mask, VolumeConfig()) == (0, 1)
    assert source_of(mask, config=VolumeConfig()).read(range(60)).unique().tolist() == [0, 255]
    # nothing at all, or nothing that is a number
    assert source_of(np.full((4, 4, 4), 7.0), config=VolumeConfig()).read([0]).unique().tolist() == [0]
    assert limits(np.full((2, 2, 2), np.nan), VolumeConfig()) == (0.0, 1.0)
    holes = np.ones((4, 4, 4), np.float32)
    holes[0, 0, 0], holes[1, 1, 1], holes[2, 2, 2] = np.nan, np.inf, 0
    assert set(source_of(holes, config=VolumeConfig(percentiles=(0, 100))).read(range(12)).unique().tolist()) == {
        0,
        255,
    }


def test_monochrome1_is_bright_where_values_are_low_and_still_black_around() -> None:
    canonical = volume((4, 6, 6))
    plain, inverted = source_of(canonical).read([0])[0, 0], source_of(canonical, inverted=True).read([0])[0, 0]
    assert torch.equal(inverted[:, 1:5], 255 - plain[:, 1:5])
    assert not inverted[:, 0].any()


def test_planes_across_a_single_slice_are_left_out() -> None:
    one = source_of(volume((5, 6, 1)))
    assert one.views is not None
    assert one.views.tolist() == [0]
    assert one.frame_shape == (1, 6, 6)
    with pytest.raises(ReadError, match="plane sagittal"):
        source_of(volume((5, 6, 1)), config=VolumeConfig(("sagittal",)))


def test_what_is_no_volume_is_refused_with_its_path() -> None:
    with pytest.raises(ReadError, match=r"a\.nii: expected an affine"):
        source_of(volume(), np.zeros((4, 4)))
    with pytest.raises(ReadError, match="reasonable size"):
        source_of(volume(), config=VolumeConfig(spacing=1e-5))
    lied = VolumeSource("a.nii", Volume((6, 8, 9), np.eye(4), volume), PLAIN, PLANES)
    with pytest.raises(ReadError, match="as the header says"):
        lied.read([0])
    source = source_of(volume())
    with pytest.raises(IndexError, match="0 to 23"):
        source.read([24])
    source.close()
    with pytest.raises(ReadError, match="closed"):
        source.read([0])


@pytest.mark.parametrize(
    "fields",
    [
        {"planes": ("axial", "axial")},
        {"planes": ()},
        {"planes": ("oblique",)},
        {"spacing": 0.0},
        {"field": -1.0},
        {"window": (2.0, 1.0)},
        {"percentiles": (50.0, 50.0)},
        {"percentiles": (0.0, 101.0)},
    ],
)
def test_settings_that_cannot_be(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        VolumeConfig(**fields)  # type: ignore[arg-type]


def test_lists_of_yaml_become_tuples(tmp_path: Path) -> None:
    assert VolumeConfig(planes=["axial"], window=[0, 1]) == VolumeConfig(planes=("axial",), window=(0, 1))  # type: ignore[arg-type]
