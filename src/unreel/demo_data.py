"""The demo's clips: a handwritten digit moves in one of four ways, and only the order of the frames tells which.

What this file is not: it trains nothing and knows no reader, model or task. It writes mp4 files and a manifest.

The digits are real: the 1797 images of 8 × 8 pixels by 43 writers that scikit-learn carries (`load_digits`). A clip
draws a straight line of T places on a torus (what leaves the frame on one side enters it on the other):

    place(k) = start + k · speed · (cos angle, sin angle),  k = 0 .. T-1

with a start uniform over the frame, a speed and a small tilt. The four ways visit the *same* places in another order:

    right              0, 1, 2, ..., T-1
    left               T-1, ..., 2, 1, 0
    right_and_back     0, 2, ..., T-2, T-1, ..., 3, 1
    left_and_back      T-1, ..., 3, 1, 0, 2, ..., T-2

**No frame tells the class.** Start, speed, tilt, contrast, digit and noise are drawn before and without the way, and
every way is a permutation of 0 .. T-1. So the multiset of the T frames of a clip has one and the same distribution for
all four ways, and so has every single frame, since at any t the place is start plus something, which on a torus is as
uniform as the start itself. Whatever sees frames one by one and forgets their order (a CNN per frame with averaged
logits, a bag of frames, the mean image) can do no better than chance, 1 in 4. This must outlive the codec, where
a moved block of an earlier frame could show through: so every frame is coded by itself (intra only, constant
quantiser) and decodes to the same pixels whatever stands before it.

**No digit tells the class.** Each image makes one clip of every way. The test side has digits 8 and 9 only, which
neither train nor val ever see; val has images that train does not have. The group of a clip is its image.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unreel.errors import ConfigError

WAYS = ("left", "left_and_back", "right", "right_and_back")
FPS = 12
HELD_OUT_DIGITS = (8, 9)
TEST_SHARE, VAL_SHARE = 0.25, 0.15


def order(way: str, frames: int) -> NDArray[np.int64]:
    """Order in which a way visits the places of its line: a permutation of 0 .. frames-1, (T,).

    Args:
        way: one of `WAYS`.
        frames: T, even.
    """
    places = np.arange(frames)
    return {
        "right": places,
        "left": places[::-1],
        "right_and_back": np.concatenate([places[0::2], places[1::2][::-1]]),
        "left_and_back": np.concatenate([places[1::2][::-1], places[0::2]]),
    }[way]


def render(digit: NDArray[np.float64], way: str, size: int, frames: int, seed: int) -> NDArray[np.uint8]:
    """Draw one clip.

    Args:
        digit: (8, 8) ink from 0 to 1.
        way: one of `WAYS`. The same seed with another way gives the same frames in another order.
        size: height and width of a frame, pixels.
        frames: T, even.
        seed: of start, speed, tilt, contrast and noise.

    Returns:
        (T, size, size) grey pixels.
    """
    rng = np.random.default_rng(seed)
    places = _line(rng, size, frames)
    paper, ink = rng.uniform(0, 40), rng.uniform(100, 240)
    noise = rng.normal(0, 20, (frames, size, size))

    side = size // 2
    glyph = np.asarray(Image.fromarray(digit.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    canvas = np.zeros((size, size))
    canvas[:side, :side] = glyph.clip(0, 1)
    pixels = paper + (ink - paper) * _moved(canvas, places) + noise
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)[order(way, frames)]


def boxes(way: str, size: int, frames: int, seed: int) -> NDArray[np.bool_]:
    """Where the digit is in the clip that `render` draws: (T, size, size), true inside its box of `size // 2`."""
    canvas = np.zeros((size, size), dtype=bool)
    canvas[: size // 2, : size // 2] = True
    return _moved(canvas, _line(np.random.default_rng(seed), size, frames))[order(way, frames)]


def clip_seed(seed: int, image: int, way: str) -> int:
    """Seed of the clip of an image that `make_moving_digits` wrote with `seed`."""
    return int(np.random.SeedSequence([seed, image, WAYS.index(way)]).generate_state(1)[0])


def _line(rng: np.random.Generator, size: int, frames: int) -> list[tuple[int, int]]:
    """T places (row, column) on a straight line."""
    start = rng.uniform(0, size, 2)
    speed = size / 32 * rng.uniform(0.5, 2.0)
    tilt = rng.uniform(-np.pi / 4, np.pi / 4)
    steps = speed * np.arange(frames)
    rows = np.rint(start[0] + steps * np.sin(tilt)).astype(int).tolist()
    columns = np.rint(start[1] + steps * np.cos(tilt)).astype(int).tolist()
    return list(zip(rows, columns, strict=True))


def _moved(canvas: NDArray[Any], places: list[tuple[int, int]]) -> NDArray[Any]:
    """The canvas (H, W) at each place, (T, H, W); what leaves on one side enters on the other."""
    return np.stack([np.roll(canvas, place, (0, 1)) for place in places])


def write_clip(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write grey frames (T, H, W) as mp4 (H.264) in which every frame is coded by itself."""
    with av.open(str(path), "w") as container:
        # One thread: with several, x264 spends more time starting them than coding so small a clip.
        options = {"qp": "16", "preset": "veryfast", "threads": "1", "aq-mode": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt, stream.gop_size = "yuv420p", 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())


def _choose(digits: NDArray[np.int64], wanted: dict[str, int], seed: int) -> list[tuple[str, int]]:
    """Pick that many digit images for each side; returns (side, index of an image)."""
    rng = np.random.default_rng(seed)
    held_out = np.isin(digits, HELD_OUT_DIGITS)
    seen, unseen = rng.permutation(np.flatnonzero(~held_out)), rng.permutation(np.flatnonzero(held_out))
    train, val, test = wanted["train"], wanted["val"], wanted["test"]
    if train + val > len(seen) or test > len(unseen):
        raise ConfigError(
            f"expected at most {len(seen)} images for training and {len(unseen)} for test, since each is used once, "
            f"got {train + val} and {test}: ask for fewer clips"
        )
    sides = ["train"] * train + ["val"] * val + ["test"] * test
    images = [*seen[: train + val], *unseen[:test]]
    return [(side, int(image)) for side, image in zip(sides, images, strict=True)]


def make_moving_digits(folder: Path, clips: int = 600, size: int = 32, frames: int = 16, seed: int = 0) -> None:
    """Write the demo's clips: `folder/<way>/<image>.mp4` and `folder/manifest.csv` (path, label, group, split).

    The manifest is written last, so where it exists the set is whole. The same arguments give the same pixels.

    Args:
        folder: made where it does not exist; files of an earlier set in it are written anew.
        clips: number of clips, a multiple of 4, at least 40: a quarter for each way.
        size: height and width, pixels; even.
        frames: T, even.
        seed: chooses the images, and the start, speed, tilt, contrast and noise of each.

    Raises:
        ConfigError: a number disagrees with the above, or scikit-learn has not that many images.
    """
    from sklearn.datasets import load_digits

    if clips % len(WAYS) or clips < 40 or frames % 2 or size % 2:
        raise ConfigError(
            f"expected clips a multiple of {len(WAYS)} from 40, frames and size even, "
            f"got clips={clips}, frames={frames}, size={size}: choose other numbers"
        )
    pixels, digits = load_digits(return_X_y=True)
    images = clips // len(WAYS)
    test, val = round(TEST_SHARE * images), round(VAL_SHARE * images)
    chosen = _choose(digits, {"train": images - val - test, "val": val, "test": test}, seed)
    for way in WAYS:
        (folder / way).mkdir(parents=True, exist_ok=True)
    rows = []
    for side, image in chosen:
        group = f"digit{digits[image]}-image{image:04d}"
        for way in WAYS:
            path = f"{way}/{group}.mp4"
            drawn = render(pixels[image].reshape(8, 8) / 16, way, size, frames, clip_seed(seed, image, way))
            write_clip(folder / path, drawn)
            rows.append((path, way, group, side))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "group", "split"))
        writer.writerows(rows)
