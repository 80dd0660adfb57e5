"""Arrays: which axis holds the channels, dtypes, times, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unreel.data.readers.arrays import ArraySource
from unreel.errors import ReadError


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("shape", "frame_shape"),
    [
        ((5, 7), (7,)),
        ((5, 8, 9), (1, 8, 9)),
        ((5, 3, 8, 9), (3, 8, 9)),
        ((5, 8, 9, 3), (3, 8, 9)),
        ((5, 8, 9, 1), (1, 8, 9)),
        ((5, 3, 8, 4), (3, 8, 4)),
        ((5, 2, 8, 9), (2, 8, 9)),
    ],
)
def test_channels_are_found_by_the_documented_rule(
    tmp_path: Path, shape: tuple[int, ...], frame_shape: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with ArraySource(save(tmp_path / "a.npy", array)) as source:
        assert len(source) == 5
        assert source.frame_shape == frame_shape
        read = source.read([4, 0, 4])
        assert read.shape == (3, *frame_shape)
        assert read[0].sum() == array[4].sum()
        assert torch.equal(read[0], read[2])


def test_dtypes(tmp_path: Path) -> None:
    for dtype, expected in (("u1", torch.uint8), ("?", torch.uint8), (">i2", torch.float32), ("f8", torch.float32)):
        array = np.arange(10).reshape(2, 5).astype(dtype)
        with ArraySource(save(tmp_path / "a.npy", array)) as source:
            read = source.read([0, 1])
            assert read.dtype == expected
            assert read.tolist() == array.tolist()


def test_npy_is_mapped_and_what_was_read_outlives_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.ones((4, 3, 8, 8), np.float32))
    source = ArraySource(path)
    assert isinstance(source._array, np.memmap)
    read = source.read([0])
    read.zero_()
    assert source.read([0]).min() == 1
    source.close()
    assert read.sum() == 0
    with pytest.raises(ReadError, match="closed"):
        source.read([0])


def test_npz_takes_frames_and_times(tmp_path: Path) -> None:
    frames, times = np.zeros((3, 8, 8), np.uint8), np.array([0.5, 0.7, 2.0])
    np.savez(tmp_path / "named.npz", frames=frames, other=np.zeros(2), times=times)
    np.savez(tmp_path / "only.npz", frames)
    with ArraySource(tmp_path / "named.npz") as source:
        assert source.times.tolist() == times.tolist()
    with ArraySource(tmp_path / "only.npz") as source:
        assert source.times.tolist() == [0, 1, 2]
    np.savez(tmp_path / "two.npz", a=frames, b=frames)
    np.savez(tmp_path / "times.npz", frames=frames, times=times[:2])
    for name, said in (("two", "named 'frames'"), ("times", r"shape \(3,\)")):
        with pytest.raises(ReadError, match=said):
            ArraySource(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    "array",
    [np.array([[{}]], object), np.zeros((2, 3), complex), np.zeros(4), np.zeros((0, 3)), np.zeros((1, 2, 3, 4, 5))],
    ids=["objects", "complex", "1-D", "no frame", "5-D"],
)
def test_what_is_no_clip_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(ReadError) as caught:
        ArraySource(path)
    assert caught.value.path == str(path)


def test_a_size_that_no_integer_holds_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"
    data = b"\x93NUMPY\x01\x00" + bytes([118, 0]) + header.ljust(117) + b"\n" + bytes(64)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ReadError, match="overflow"):
        ArraySource(tmp_path / "a.npy")


def test_an_npz_that_is_none_is_not_said_to_be_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"a video" * 100)
    with pytest.raises(ReadError) as caught:
        ArraySource(tmp_path / "a.npz")
    assert caught.value.reason == "expected a NumPy array: the file is no .npz"


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_mutated_arrays_raise_or_read(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    good = tmp_path / f"good.{suffix}"
    np.save(good, array) if suffix == "npy" else np.savez_compressed(good, frames=array)
    data = good.read_bytes()
    refused = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        changed = np.frombuffer(data, np.uint8).copy()
        changed[generator.integers(0, min(len(changed), 200), 3)] = generator.integers(0, 256, 3)
        path = tmp_path / f"bad.{suffix}"
        path.write_bytes(changed.tobytes()[: len(data) if seed % 4 else int(generator.integers(len(data)))])
        try:
            with ArraySource(path) as source:
                source.read(range(len(source)))
        except ReadError as error:
            refused += 1
            if error.path != str(path) or not error.reason.isprintable():
                raise
    assert refused > 40
