"""Many volumes in one array: each by its number, none decompressed to know what there is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from made_scans import planes_of, volume, write_medmnist
from unreel.data.content import content_hash, same_content
from unreel.data.readers import Reading, is_readable_name, open_source
from unreel.data.readers.npz import array_shapes
from unreel.data.readers.volumes import VolumeConfig
from unreel.errors import ReadError


def test_a_member_gives_its_slices(tmp_path: Path) -> None:
    stack = np.stack([volume((8, 8, 8), seed) for seed in range(3)])
    np.savez_compressed(tmp_path / "set.npz", train_images=stack)
    wanted = torch.cat([torch.from_numpy(slices).byte() for slices in planes_of(stack[2]).values()])
    with open_source(f"{tmp_path}/set.npz!train_images/2", Reading(volume=VolumeConfig(window=(0, 255)))) as source:
        assert torch.equal(source.read(range(24))[:, 0], wanted)
    assert is_readable_name("set.npz!train_images/2")


def test_four_axes_are_volumes_where_none_is_that_of_channels(tmp_path: Path) -> None:
    shapes = {"a": (2, 6, 5, 7), "b": (2, 6, 5, 3), "c": (2, 1, 6, 5), "d": (2, 6, 5)}
    np.savez(tmp_path / "set.npz", **{name: np.zeros(shape, np.uint8) for name, shape in shapes.items()})
    shown = {}
    for name in shapes:
        with open_source(f"{tmp_path}/set.npz!{name}/1") as source:
            shown[name] = (len(source), source.views is None, source.frame_shape)
    assert shown["a"] == (6 + 5 + 7, False, (1, 7, 7))
    assert [shown[name] for name in "bcd"] == [(1, True, (3, 6, 5)), (1, True, (1, 6, 5)), (1, True, (1, 6, 5))]


def test_shapes_are_known_from_headers(tmp_path: Path) -> None:
    path = write_medmnist(tmp_path / "set.npz", (4, 2, 2))
    assert array_shapes(path)["train_images"] == (4, 8, 8, 8)
    assert array_shapes(path)["test_labels"] == (2, 1)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for seed in range(2):
        canonical = volume((6, 6, 5 + seed), seed)
        np.savez(tmp_path / "set.npz", train_images=canonical[None])
        with open_source(
            f"{tmp_path}/set.npz!train_images/0", Reading(volume=VolumeConfig(("axial",), window=(0, 255)))
        ) as source:
            wanted = torch.from_numpy(planes_of(canonical)["axial"]).byte()
            assert torch.equal(source.read(range(5 + seed))[:, 0], wanted)


def test_equal_volumes_have_equal_hashes(tmp_path: Path) -> None:
    stack = np.stack([volume((5, 6, 5), seed) for seed in (0, 1, 0)])
    np.savez_compressed(tmp_path / "set.npz", train_images=stack, test_images=stack[1:2])
    paths = [
        f"{tmp_path}/set.npz!{name}" for name in ("train_images/0", "train_images/1", "train_images/2", "test_images/0")
    ]
    assert list(same_content(paths).values()) == [paths[0], paths[1], paths[0], paths[1]]
    with pytest.raises(ReadError, match="from 0 to 2, there is no 3"):
        content_hash(f"{tmp_path}/set.npz!train_images/3")


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("train_images/9", "from 0 to 3"),
        ("absent/0", "expected an array 'absent'"),
        ("train_labels/0", r"expected images \(n, H, W\)"),
        ("train_images", "there is none of this name"),
        ("train_images/-1", "there is none of this name"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, inner: str, said: str) -> None:
    path = write_medmnist(tmp_path / "set.npz", (4, 2, 2))
    with pytest.raises(ReadError, match=said):
        open_source(f"{path}!{inner}")


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = write_medmnist(tmp_path / "set.npz", (4, 2, 2))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)  # within the first array
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught, open_source(f"{path}!train_images/0") as source:
        source.read([0])
    assert caught.value.reason.isprintable()
    path.write_bytes(content[:100])
    with pytest.raises(ReadError, match="npz"):
        open_source(f"{path}!train_images/0")
