"""Which files are behind what a person names."""

import os
from pathlib import Path

import numpy as np
import pytest

from unreel.data.readers import open_source
from unreel.errors import ConfigError, ReadError
from unreel.inference.predict import find_files

from image_files import write_cifar_names, write_cifar_python, write_idx  # isort: skip


def test_what_a_pattern_of_the_shell_names_is_kept_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "empty.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to("nowhere")
    (tmp_path / "notes.txt").touch()
    named = sorted(tmp_path.iterdir())
    assert find_files(named) == named


def test_a_folder_gives_its_readable_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "deep/a.PNG", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    assert find_files([tmp_path]) == [tmp_path / "b.mp4", tmp_path / "deep" / "a.PNG"]


def test_nothing_at_all_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.mp4", tmp_path / "*.mp4"):
        with pytest.raises(ConfigError, match="found none"):
            find_files([path])


def test_a_scan_is_one_path_never_above_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("case/1.dcm", "case/2.dcm", "exam/axial.nii", "exam/coronal.nii", "axial/1.png", "axial/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_files([tmp_path / "case", tmp_path / "exam"]) == [tmp_path / "case", tmp_path / "exam"]
    monkeypatch.chdir(tmp_path)
    assert find_files(["axial"]) == [Path("axial/1.png"), Path("axial/2.png")]


def test_a_file_of_many_images_or_volumes_is_one_path_each(tmp_path: Path) -> None:
    labels = np.arange(2)
    for name, shape in (("images", (2, 8, 8)), ("volumes", (2, 6, 6, 6))):
        np.savez(tmp_path / f"{name}.npz", x_test=np.zeros(shape, np.uint8), y_test=labels)
        assert find_files([tmp_path / f"{name}.npz"]) == [tmp_path / f"{name}.npz!x_test/{row}" for row in labels]
    np.savez(tmp_path / "clip.npz", frames=np.zeros((2, 8, 8), np.uint8))
    assert find_files([tmp_path / "clip.npz"]) == [tmp_path / "clip.npz"]
    places = [tmp_path / f"{name}.npz!x_test/{row}" for name in ("images", "volumes") for row in labels]
    assert find_files([tmp_path]) == [tmp_path / "clip.npz", *places]


def test_the_original_files_of_image_sets_are_looked_into(tmp_path: Path) -> None:
    images = np.zeros((2, 3, 32, 32), np.uint8)
    write_cifar_python(tmp_path / "data_batch_1", images, [0, 1])
    write_cifar_names(tmp_path / "batches.meta")
    (tmp_path / "test_batch.bin").write_bytes(b"torn")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:, 0])
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(2, np.uint8))
    found = [f"data_batch_1!{row}" for row in (0, 1)] + [f"t10k-images-idx3-ubyte!{row}" for row in (0, 1)]
    assert find_files([tmp_path]) == [tmp_path / place for place in (*found, "test_batch.bin!0")]
    assert find_files([tmp_path / "data_batch_1"]) == [tmp_path / place for place in found[:2]]
    assert all(len(open_source(tmp_path / place)) == 1 for place in found)
    with pytest.raises(ReadError, match="cut short"):
        open_source(tmp_path / "test_batch.bin!0")
