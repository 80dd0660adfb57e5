"""Files of many labelled images become manifests: sides and labels kept, what is broken listed."""

from pathlib import Path

import numpy as np
import pytest

from unreel.data.folders import load
from unreel.data.manifest import Example, ManifestConfig
from unreel.data.manifest_files import read_manifest, write_manifest
from unreel.data.readers import open_source
from unreel.data.scanning import scan
from unreel.data.splits import SplitConfig, split
from unreel.errors import ManifestError

from made_scans import write_medmnist  # isort: skip
from image_files import (  # isort: skip
    NAMES,
    pixels,
    write_cifar_binary,
    write_cifar_names,
    write_cifar_python,
    write_idx,
)


def keras_npz(path: Path, **more: np.ndarray) -> Path:
    arrays = {"x_train": pixels(6, 8, 8), "y_train": np.array([0, 1, 2, 0, 1, 2]), "x_test": pixels(2, 8, 8, seed=1)}
    np.savez(path, **(arrays | {"y_test": np.array([2, 0])} | more))
    return path


def cifar(folder: Path, python: bool = False, batches: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write, suffix = (write_cifar_python, "") if python else (write_cifar_binary, ".bin")
    for number in range(1, batches + 1):
        write(folder / f"data_batch_{number}{suffix}", pixels(3, 3, 32, 32, seed=number), [0, 1, 2])
    write(folder / f"test_batch{suffix}", pixels(2, 3, 32, 32, seed=9), [1, 0])
    write_cifar_names(folder / ("batches.meta" if python else "batches.meta.txt"))
    return folder


def mnist(folder: Path, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for side, count in (("train", 4), ("t10k", 2)):
        write_idx(folder / f"{side}-images-idx3-ubyte{suffix}", pixels(count, 6, 6, seed=count))
        write_idx(folder / f"{side}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 2)
    return folder


def said(manifest) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(example.path, example.labels, example.split) for example in manifest.examples]


def test_npz_as_keras_writes_it(tmp_path: Path) -> None:
    manifest = load(keras_npz(tmp_path / "mnist.npz"))
    assert manifest.root == tmp_path
    assert said(manifest)[:2] == [("mnist.npz!x_train/0", ("0",), "train"), ("mnist.npz!x_train/1", ("1",), "train")]
    assert said(manifest)[-1] == ("mnist.npz!x_test/1", ("0",), "test")
    assert (len(manifest), manifest.classes) == (8, ("0", "1", "2"))
    for example in manifest.examples:
        assert open_source(manifest.root / example.path).frame_shape == (1, 8, 8)


def test_npz_as_medmnist_writes_it(tmp_path: Path) -> None:
    arrays = {}
    for side, count in (("train", 3), ("val", 2), ("test", 2)):
        arrays |= {
            f"{side}_images": pixels(count, 8, 8, 3),
            f"{side}_labels": np.arange(count)[:, None].astype(np.uint8),
        }
    np.savez(tmp_path / "path.npz", **arrays)
    sides = [example.split for example in load(tmp_path / "path.npz").examples]
    assert sides == ["train"] * 3 + ["val"] * 2 + ["test"] * 2
    assert load(tmp_path / "path.npz").examples[4] == Example("path.npz!val_images/1", ("1",), split="val")


def test_medmnist_states_its_sides(tmp_path: Path) -> None:
    manifest = load(write_medmnist(tmp_path / "set.npz", (12, 6, 6)))
    assert manifest.examples[1].path == "set.npz!train_images/1"
    assert manifest.examples[1].labels == ("1",)
    splits = split(manifest)
    assert [len(side) for side in splits] == [12, 6, 6]
    assert {example.path.split("!")[1].split("/")[0] for example in splits.val} == {"val_images"}
    report = scan(manifest, workers=1)
    assert not report.unreadable
    assert report.files[0].frames == 24


def test_medmnists_rows_of_several_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 9, (2, 5, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=np.array([[0, 1, 1], [0, 0, 0]], np.uint8))
    assert [example.labels for example in load(tmp_path / "set.npz").examples] == [("1", "2"), ()]


def test_several_labels_an_image(tmp_path: Path) -> None:
    keras_npz(tmp_path / "chest.npz", y_train=np.eye(6, 4, dtype=np.uint8) + np.eye(6, 4, 1, dtype=np.uint8))
    assert [example.labels for example in load(tmp_path / "chest.npz").examples[:5]] == [
        ("0", "1"),
        ("1", "2"),
        ("2", "3"),
        ("3",),
        (),
    ]


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("below", ["", "cifar-10-batches"])
def test_the_original_files_of_cifar_10(python: bool, below: str, tmp_path: Path) -> None:
    cifar(tmp_path / below, python)
    manifest = load(tmp_path)
    suffix, before = "" if python else ".bin", f"{below}/" if below else ""
    assert manifest.root == tmp_path
    assert said(manifest)[0] == (f"{before}data_batch_1{suffix}!0", ("airplane",), "train")
    assert said(manifest)[-2:] == [
        (f"{before}test_batch{suffix}!0", ("automobile",), "test"),
        (f"{before}test_batch{suffix}!1", ("airplane",), "test"),
    ]
    assert (len(manifest), manifest.classes, manifest.broken) == (8, NAMES, {})
    assert open_source(manifest.root / manifest.examples[4].path).frame_shape == (3, 32, 32)


def test_both_versions_in_one_folder_are_read_once(tmp_path: Path) -> None:
    cifar(cifar(tmp_path), python=True)
    assert all(".bin!" in example.path for example in load(tmp_path).examples)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(suffix: str, tmp_path: Path) -> None:
    manifest = load(mnist(tmp_path, suffix))
    assert said(manifest) == [
        *((f"t10k-images-idx3-ubyte{suffix}!{row}", (str(row % 2),), "test") for row in range(2)),
        *((f"train-images-idx3-ubyte{suffix}!{row}", (str(row % 2),), "train") for row in range(4)),
    ]
    assert len(load(mnist(tmp_path, ".gz" if suffix == "" else ""))) == 6  # packed and unpacked side by side


def test_the_official_test_side_stays_and_validation_comes_from_train(tmp_path: Path) -> None:
    manifest = load(
        keras_npz(tmp_path / "a.npz", x_train=pixels(40, 8, 8), y_train=np.arange(40) % 2, y_test=np.arange(2))
    )
    splits = split(manifest, SplitConfig(val=0.25))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 2)
    assert {example.path for example in splits.test} == {"a.npz!x_test/0", "a.npz!x_test/1"}
    assert sum(example.labels == ("0",) for example in splits.val) == 5


def test_a_manifest_of_images_comes_back_from_a_table(tmp_path: Path) -> None:
    manifest = load(cifar(tmp_path))
    write_manifest(manifest, tmp_path / "all.csv")
    assert read_manifest(tmp_path / "all.csv").examples == manifest.examples


def test_groups_may_come_from_the_path(tmp_path: Path) -> None:
    manifest = load(cifar(tmp_path), ManifestConfig(group_from=r"(batch_\d|test_batch)"))
    assert {example.group for example in manifest.examples} == {"batch_1", "batch_2", "test_batch"}


def test_a_broken_file_is_listed_and_left_out(tmp_path: Path) -> None:
    torn = cifar(tmp_path / "c") / "data_batch_2.bin"
    torn.write_bytes(torn.read_bytes()[:-1])
    manifest = load(tmp_path / "c")
    assert len(manifest) == 5
    assert "cut short" in manifest.broken["data_batch_2.bin"]
    write_cifar_names(tmp_path / "c" / "batches.meta.txt", NAMES[:2])
    assert "expected labels of 2 names, got 2" in load(tmp_path / "c").broken["data_batch_1.bin"]
    mnist(tmp_path / "m")
    (tmp_path / "m" / "t10k-labels-idx1-ubyte.gz").unlink()
    manifest = load(tmp_path / "m")
    assert {example.split for example in manifest.examples} == {"train"}
    assert "expected its labels" in manifest.broken["t10k-images-idx3-ubyte.gz"]
    write_idx(tmp_path / "m" / "train-labels-idx1-ubyte.gz", np.zeros(3, np.uint8))
    with pytest.raises(ManifestError, match=r"none of 2 files can be used: .* a label for each of 4,"):
        load(tmp_path / "m")


def test_without_names_labels_are_numbers(tmp_path: Path) -> None:
    cifar(tmp_path, python=True)
    (tmp_path / "batches.meta").write_bytes(b"no pickle")
    manifest = load(tmp_path)
    assert manifest.classes == ("0", "1", "2")
    assert "names of classes" in manifest.broken["batches.meta"]
    (tmp_path / "batches.meta").unlink()
    assert load(tmp_path).broken == {}


def test_what_is_no_set_of_images_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=pixels(3, 8, 8))
    keras_npz(tmp_path / "b.npz", y_train=np.zeros(5))
    np.savez(tmp_path / "c.npz", x_train=pixels(3, 8, 8))
    keras_npz(tmp_path / "d.npz", x_train=np.zeros((6, 8)))
    np.savez(tmp_path / "f.npz", train_images=np.zeros((2, 5, 5, 5)), train_labels=np.zeros((3, 1), int))
    (tmp_path / "e.npz").write_bytes(b"PK\x03\x04 torn")
    for name, reason in (
        ("a", "expected arrays x_train and y_train, or train_images and train_labels; found"),
        ("b", "a label for each of 6,"),
        ("c", "expected an array y_train for x_train"),
        ("d", r"expected images \(n, H, W\)"),
        ("e", "expected an .npz"),
        ("f", "a label for each of 2,"),
    ):
        with pytest.raises(ManifestError, match=reason):
            load(tmp_path / f"{name}.npz")
    mnist(tmp_path / "two" / "mnist")
    mnist(tmp_path / "two" / "fashion")
    with pytest.raises(ManifestError, match="found them in fashion, mnist: name one"):
        load(tmp_path / "two")
    write_idx(tmp_path / "two" / "mnist" / "letters-train-images-idx3-ubyte", pixels(2, 4, 4))
    with pytest.raises(ManifestError, match="give each a folder"):
        load(tmp_path / "two" / "mnist")
