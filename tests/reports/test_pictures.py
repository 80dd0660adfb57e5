"""Frames of a clip as images in the page."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unreel.reports.pictures import pictures


def open_address(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


def test_eight_frames_in_the_order_of_time(digits: Path) -> None:
    file = next(digits.glob("left/*.mp4"))
    found = pictures(digits, file.relative_to(digits).as_posix(), None, None)
    assert len(found.images) == len(found.times) == 8
    assert found.times[0] == 0
    assert found.times[-1] == pytest.approx(15 / 12)
    assert all(open_address(address).size == (32, 32) for address in found.images)


def test_only_frames_between_start_and_end(digits: Path) -> None:
    file = next(digits.glob("left/*.mp4")).relative_to(digits).as_posix()
    assert pictures(digits, file, 0.5, 0.7).times == pytest.approx((6 / 12, 7 / 12, 8 / 12))
    assert "no frame between" in pictures(digits, file, 50.0, 60.0).missing


def test_small_frames_are_exact_and_large_ones_become_small(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    Image.fromarray(pixels).resize((600, 400)).save(tmp_path / "large.png")
    small, large = (pictures(tmp_path, f"{name}.png", None, None).images for name in ("small", "large"))
    assert np.array_equal(np.asarray(open_address(small[0])), pixels)
    assert open_address(large[0]).size == (144, 96)
    assert large[0].startswith("data:image/jpeg;base64,")


def test_float_frames_are_stretched(tmp_path: Path) -> None:
    np.save(tmp_path / "field.npy", np.linspace(-3, 5, 2 * 1 * 4 * 4, dtype=np.float32).reshape(2, 1, 4, 4))
    found = pictures(tmp_path, "field.npy", None, None)
    pixels = np.stack([np.asarray(open_address(address)) for address in found.images])
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_vectors_are_one_picture_with_time_to_the_right_and_features_upwards(tmp_path: Path) -> None:
    vectors = np.zeros((200, 3), dtype=np.float32)
    vectors[150:, 2] = 8
    vectors[:, 0] = -8
    np.save(tmp_path / "numbers.npy", vectors)
    found = pictures(tmp_path, "numbers.npy", None, None)
    assert (len(found.images), found.wide, found.missing) == (1, True, "")
    pixels = np.asarray(open_address(found.images[0]).convert("L")).astype(int)
    assert pixels.shape == (3, 200)
    assert pixels[0, 149:151].tolist() == [128, 255]
    assert not pixels[2].any()
    later = pictures(tmp_path, "numbers.npy", 150.0, 159.0)
    assert open_address(later.images[0]).size == (10, 3)
    assert later.captions == ("from 150.00 s",)


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a dog runs")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert "no picture" in pictures(tmp_path, "words.txt", None, None).missing
    assert pictures(tmp_path, "broken.mp4", None, None).missing
    assert "does not say" in pictures(None, "a.mp4", None, None).missing
