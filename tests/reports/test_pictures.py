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


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((5, 7), dtype=np.float32))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert "(7,)" in pictures(tmp_path, "features.npy", None, None).missing
    assert pictures(tmp_path, "broken.mp4", None, None).missing
    assert "does not say" in pictures(None, "a.mp4", None, None).missing
