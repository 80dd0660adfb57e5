"""Images: colours, orientation, order of names, zips and their cache, damage."""

import io
import multiprocessing
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from unreel.data.readers.images import ImageSource, open_folder, open_image, open_zip
from unreel.errors import ReadError
from unreel.natural import natural_key


def picture(seed: int = 0, shape: tuple[int, ...] = (20, 30, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def read(path: Path) -> torch.Tensor:
    with open_image(path) as source:
        frames = source.read([0])
    with open_image(path) as source:
        assert source.frame_shape == tuple(frames.shape[1:]), "the header tells what the pixels are"
    return frames[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_by_exif(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert torch.equal(read(tmp_path / "a.png"), torch.from_numpy(expected.copy()).permute(2, 0, 1))


def test_colors_come_down_to_rgb_or_grey(tmp_path: Path) -> None:
    color = Image.fromarray(picture())
    grey = color.convert("L")
    with_alpha = Image.fromarray(np.concatenate([picture(), picture(1, (20, 30, 1))], axis=2))
    as_tensor = torch.from_numpy(picture()).permute(2, 0, 1)
    palette = color.quantize(16)
    for name, image, expected in (
        ("rgba.png", with_alpha, as_tensor),
        ("palette.png", palette, torch.from_numpy(np.asarray(palette.convert("RGB")).copy()).permute(2, 0, 1)),
        ("cmyk.tif", color.convert("CMYK"), as_tensor),
        ("grey.png", grey, torch.from_numpy(np.asarray(grey).copy())[None]),
        ("grey_alpha.png", grey.convert("LA"), torch.from_numpy(np.asarray(grey).copy())[None]),
        ("bits.png", grey.convert("1"), torch.from_numpy(np.asarray(grey.convert("1").convert("L")).copy())[None]),
    ):
        image.save(tmp_path / name)
        assert torch.equal(read(tmp_path / name), expected), name


def test_of_sixteen_bits_the_upper_eight_are_kept(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(read(tmp_path / "deep.png"), torch.from_numpy((deep // 256).astype(np.uint8))[None])


def test_float_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "field.tif")
    with pytest.raises(ReadError, match=r"mode F.*\.npy"):
        read(tmp_path / "field.tif")


def test_natural_order() -> None:
    names = ["f10.png", "f9.png", "a/f2.png", "f09.png", "1.png", "f1b.png"]
    assert sorted(names, key=natural_key) == ["1.png", "a/f2.png", "f1b.png", "f09.png", "f9.png", "f10.png"]


def test_folder_takes_images_only_and_names_what_does_not_fit(tmp_path: Path) -> None:
    for index in (10, 9, 1):
        (tmp_path / f"f{index}.png").write_bytes(png(np.full((4, 6, 3), index, np.uint8)))
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._f1.png").write_bytes(b"left by macOS")
    with open_folder(tmp_path) as source:
        assert source.read(range(3))[:, 0, 0, 0].tolist() == [1, 9, 10]
        assert source.times.tolist() == [0, 1, 2]
    (tmp_path / "f11.png").write_bytes(png(np.zeros((5, 6, 3), np.uint8)))
    with open_folder(tmp_path) as source, pytest.raises(ReadError, match=r"f1\.png has \(3, 4, 6\), f11\.png has"):
        source.read([0, 3])
    (tmp_path / "f11.png").write_bytes(b"not a picture")
    with open_folder(tmp_path) as source, pytest.raises(ReadError, match=r"f11\.png"):
        source.read([3])


def write_zip(path: Path, value: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b/2.png", "b/10.png", "a/1.png"):
            archive.writestr(name, png(np.full((4, 6, 3), value + int(name[2:-4]), np.uint8)))
        archive.writestr("__MACOSX/._1.png", b"x")
        archive.writestr("a/readme.txt", b"x")
    return path


def values(source: ImageSource) -> list[int]:
    with source:
        return source.read(range(len(source)))[:, 0, 0, 0].tolist()


def test_places_in_a_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    assert values(open_zip(path)) == [1, 2, 10]
    assert values(open_zip(path, "b/")) == values(open_zip(path, "b")) == [2, 10]
    assert values(open_zip(path, "b/10.png")) == [10]
    with pytest.raises(ReadError) as caught:
        open_zip(path, "c/")
    assert caught.value.path == f"{path}!c/"


def test_a_zip_written_anew_is_noticed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    assert values(open_zip(path)) == [1, 2, 10]
    write_zip(path, value=100)
    os.utime(path, ns=(1, 1))
    assert values(open_zip(path)) == [101, 102, 110]


def read_in_worker(path: Path) -> list[int]:
    return [value for _ in range(20) for value in values(open_zip(path))]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_does_not_share_the_open_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    values(open_zip(path))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(read_in_worker, [path] * 6)
        here = read_in_worker(path)
        assert results.get(60) == [here] * 6 == [[1, 2, 10] * 20] * 6


def test_mutated_images_raise_or_read(tmp_path: Path) -> None:
    image = Image.fromarray(picture())
    refused = 0
    for suffix in ("png", "jpg", "bmp", "tif", "webp", "ppm"):
        image.save(tmp_path / f"good.{suffix}")
        data = (tmp_path / f"good.{suffix}").read_bytes()
        path = tmp_path / f"bad.{suffix}"
        for seed in range(40):
            generator = np.random.default_rng(seed)
            changed = np.frombuffer(data, np.uint8).copy()
            changed[generator.integers(0, min(len(changed), 200), 3)] = generator.integers(0, 256, 3)
            path.write_bytes(changed.tobytes()[: len(data) if seed % 3 else int(generator.integers(len(data)))])
            try:
                read(path)
            except ReadError as error:
                refused += 1
                if error.path != str(path) or not error.reason.isprintable():
                    raise
    assert refused > 80


def test_mutated_zips_raise_or_read(tmp_path: Path) -> None:
    data = write_zip(tmp_path / "good.zip").read_bytes()
    refused = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        changed = np.frombuffer(data, np.uint8).copy()
        changed[generator.integers(0, len(changed), 6)] = generator.integers(0, 256, 6)
        path = tmp_path / f"{seed}.zip"
        path.write_bytes(changed.tobytes()[: len(data) if seed % 5 else int(generator.integers(len(data)))])
        try:
            values(open_zip(path))
        except ReadError as error:
            refused += 1
            if error.path != str(path):
                raise
    assert refused > 30
