"""Which way axes run: all 48 ways to store a volume, and what has no direction at all."""

import numpy as np
import pytest

from made_scans import ORDERS, planes_of, stored, volume
from unreel.data.readers.geometry import PLANES, affine_of_series, along, orientation_of, slices_of


def test_however_a_volume_is_stored_its_slices_are_the_same() -> None:
    canonical = volume()
    wanted = planes_of(canonical)
    for axes, signs in ORDERS:
        array, affine = stored(canonical, axes, signs, (0.5, 1.0, 2.0))
        orientation = orientation_of(affine)
        assert orientation.spacing == (0.5, 1.0, 2.0)
        assert orientation.extent(array.shape) == canonical.shape
        found = orientation.canonical(array)
        assert np.array_equal(found, canonical)
        for plane in PLANES:
            assert np.array_equal(slices_of(found, plane), wanted[plane])


def test_canonical_order_is_nibabels() -> None:
    import nibabel

    generator = np.random.default_rng(0)
    for axes, signs in ORDERS[::5]:
        array, affine = stored(volume(), axes, signs, (0.5, 1.0, 2.0))
        turn, _ = np.linalg.qr(np.eye(3) + 0.2 * generator.normal(size=(3, 3)))  # oblique by some degrees
        affine[:3, :3] = turn * np.sign(np.diag(turn)) @ affine[:3, :3]
        theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
        orientation = orientation_of(affine)
        assert np.array_equal(orientation.canonical(array), np.asarray(theirs.dataobj))
        assert orientation.spacing == pytest.approx(theirs.header.get_zooms())


def test_a_mark_at_the_right_anterior_superior_corner_is_seen_where_radiologists_look_for_it() -> None:
    canonical = np.zeros((3, 4, 5))
    canonical[-1, -1, -1] = 1
    for plane, slice_of_it in (("axial", -1), ("sagittal", -1), ("coronal", -1)):
        slices = slices_of(canonical, plane)
        assert slices[slice_of_it, 0, 0] == 1  # top left: right or anterior, and anterior or superior
        assert slices.sum() == 1


@pytest.mark.parametrize("plane", PLANES)
def test_a_series_of_a_named_plane_gives_its_own_slices(plane: str) -> None:
    series = volume((4, 5, 7))
    orientation = orientation_of(affine_of_series(plane))
    assert np.array_equal(slices_of(orientation.canonical(series), plane), series)
    assert along(orientation.extent(series.shape), plane) == series.shape


@pytest.mark.parametrize("columns", [np.zeros((3, 3)), np.diag([1.0, np.nan, 1.0]), np.ones((3, 3))])
def test_an_affine_that_spans_nothing_is_refused(columns: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3] = columns
    with pytest.raises(ValueError, match="expected an affine"):
        orientation_of(affine)
