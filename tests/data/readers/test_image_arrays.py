"""Images in array files: the same pixels whatever the format, places that say what they are, clear refusals."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unreel.data.content import content_hash, same_content
from unreel.data.readers import is_readable_name, open_source, split_inside
from unreel.errors import ReadError

from image_files import pixels, write_cifar_binary, write_cifar_python, write_idx  # isort: skip

IMAGES = pixels(5, 3, 32, 32)
LABELS = [3, 1, 2, 0, 9]


def npz(folder: Path, images: np.ndarray = IMAGES) -> str:
    np.savez_compressed(folder / "a.npz", x_train=images.transpose(0, 2, 3, 1), y_train=np.array(LABELS))
    return f"{folder / 'a.npz'}!x_train/"


def npz_first(folder: Path, images: np.ndarray = IMAGES) -> str:
    np.savez(folder / "a.npz", train_images=images)
    return f"{folder / 'a.npz'}!train_images/"


def binary(folder: Path, images: np.ndarray = IMAGES) -> str:
    return f"{write_cifar_binary(folder / 'data_batch_1.bin', images, LABELS)}!"


def python(folder: Path, images: np.ndarray = IMAGES) -> str:
    return f"{write_cifar_python(folder / 'test_batch', images, LABELS)}!"


def idx(folder: Path, images: np.ndarray = IMAGES) -> str:
    return f"{write_idx(folder / 'train-images-idx4-ubyte', images)}!"


WRITERS = [npz, npz_first, binary, python, idx]


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_images(write, tmp_path: Path) -> None:
    place = write(tmp_path)
    for row in range(5):
        with open_source(f"{place}{row}") as source:
            assert (len(source), source.frame_shape, source.times.tolist()) == (1, (3, 32, 32), [0.0])
            frames = source.read([0, 0])
        assert frames.dtype == torch.uint8
        assert torch.equal(frames, torch.from_numpy(IMAGES[[row, row]]))
        assert is_readable_name(f"{place}{row}")
    assert open_source(f"{place}0").read([]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte", "emnist-a-train-images-idx3-ubyte.gz"]
)
def test_grey_idx_packed_or_not(name: str, tmp_path: Path) -> None:
    grey = pixels(4, 7, 6)
    write_idx(tmp_path / name, grey)
    assert torch.equal(open_source(f"{tmp_path / name}!3").read([0]), torch.from_numpy(grey[3:4, None]))


def test_numbers_other_than_bytes_become_float32(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=pixels(2, 4, 4).astype(np.float64) / 255, x_test=pixels(2, 4, 4) > 9)
    assert open_source(tmp_path / "a.npz!x_train/1").read([0]).dtype == torch.float32
    assert open_source(tmp_path / "a.npz!x_test/1").read([0]).dtype == torch.uint8
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels(2, 4, 4).astype(np.float32))
    assert open_source(tmp_path / "train-images-idx3-ubyte!0").read([0]).dtype == torch.float32


def test_what_was_read_is_a_copy_and_a_closed_image_says_so(tmp_path: Path) -> None:
    place = npz(tmp_path) + "0"
    source = open_source(place)
    source.read([0]).zero_()
    assert torch.equal(source.read([0])[0], torch.from_numpy(IMAGES[0]))
    with pytest.raises(IndexError, match="frames 0 to 0"):
        source.read([1])
    source.close()
    source.close()
    with pytest.raises(ReadError, match="closed"):
        source.read([0])


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_written_anew_is_read_anew(write, tmp_path: Path) -> None:
    place = write(tmp_path)
    open_source(f"{place}0")
    file = Path(place.split("!")[0])
    before = file.stat()
    file.unlink()  # what is mapped must not be written over
    write(tmp_path, IMAGES[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert torch.equal(open_source(f"{place}0").read([0])[0], torch.from_numpy(IMAGES[-1]))


def test_places_are_told_by_name() -> None:
    places = {
        "a/b.npz!x_train/7": ("a/b.npz", "x_train/7"),
        "data_batch_1!0": ("data_batch_1", "0"),
        "a!b/data_batch_1.bin!12": ("a!b/data_batch_1.bin", "12"),
        "wow!.zip!a.png": ("wow!.zip", "a.png"),
        "a.zip!b!c.png": ("a.zip", "b!c.png"),
        "train-images-idx3-ubyte.gz!3": ("train-images-idx3-ubyte.gz", "3"),
    }
    for place, parts in places.items():
        assert split_inside(place) == parts
    for other in ("a.npz!7", "a.npz!x/y", "wow!.mp4", "data_batch_1!x", "data_batch!1", "a.bin!3", "a.npz", "a.zip!"):
        assert split_inside(other) == (other, "")


def refused(path: str | Path) -> str:
    with pytest.raises(ReadError) as caught:
        open_source(path)
    assert caught.value.path == str(path)
    assert caught.value.reason.isprintable()
    return caught.value.reason


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    place = npz(tmp_path)
    assert refused(place + "5") == "expected a number from 0 to 4, there is no 5"
    assert "x_tset" in refused(f"{tmp_path / 'a.npz'}!x_tset/0")
    assert "expected images (n, H, W)" in refused(f"{tmp_path / 'a.npz'}!y_train/0")
    assert "No such file" in refused(f"{tmp_path / 'none.npz'}!x/0")
    np.savez(tmp_path / "v.npz", train_images=np.zeros((2, 8, 8, 8, 3), np.uint8), words=np.array([[["a"]]]))
    assert "expected images (n, H, W)" in refused(f"{tmp_path / 'v.npz'}!train_images/0")
    assert "of <U1" in refused(f"{tmp_path / 'v.npz'}!words/0")
    (tmp_path / "t.npz").write_bytes(b"text" * 99)
    assert "expected an .npz" in refused(f"{tmp_path / 't.npz'}!x/0")
    (tmp_path / "data_batch_7.bin").mkdir()
    assert "got a folder" in refused(f"{tmp_path / 'data_batch_7.bin'}!0")


@pytest.mark.parametrize("write", WRITERS)
def test_a_torn_file_is_refused(write, tmp_path: Path) -> None:
    place = write(tmp_path)
    file = Path(place.split("!")[0])
    data = file.read_bytes()
    for keep in (0, 2, 40, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:keep])
        assert refused(f"{place}1").startswith("expected ")


def test_a_torn_batch_says_that_it_is_cut_short(tmp_path: Path) -> None:
    place = binary(tmp_path)
    file = Path(place[:-1])
    file.write_bytes(file.read_bytes()[:-10])
    assert "records of 3073 bytes, got 15355 bytes: the file is cut short" in refused(place + "0")
    (tmp_path / "data_batch_2").write_bytes(b"\x80\x02cos\nsystem\n.")
    said = refused(f"{tmp_path / 'data_batch_2'}!0")
    assert "it asks for os.system" in said
    assert "binary version" in said


def test_the_same_image_is_found_in_any_file(tmp_path: Path) -> None:
    doubled = IMAGES[[0, 1, 0]]
    np.savez(tmp_path / "a.npz", x_train=doubled)
    write_cifar_binary(tmp_path / "test_batch.bin", IMAGES[1:3], [0, 1])
    places = [
        str(tmp_path / name) for name in ("a.npz!x_train/0", "a.npz!x_train/1", "a.npz!x_train/2", "test_batch.bin!0")
    ]
    same = same_content(places)
    assert [places.index(same[place]) for place in places] == [0, 1, 0, 1]
    with pytest.raises(ReadError, match="there is no 9"):
        content_hash(f"{tmp_path / 'a.npz'}!x_train/9")
