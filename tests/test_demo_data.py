"""The demo's clips: what the docstring proves, checked on the pixels that come back from the files."""

import csv
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from unreel.demo_data import WAYS, boxes, clip_seed, make_moving_digits, order, render, write_clip
from unreel.errors import ConfigError


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    make_moving_digits(folder, clips=80, seed=3)
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("frames", [2, 4, 16])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_visits_every_place_once(way: str, frames: int) -> None:
    assert sorted(order(way, frames)) == list(range(frames))


def test_ways_are_what_they_are_called() -> None:
    assert order("right", 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert order("left", 6).tolist() == [5, 4, 3, 2, 1, 0]
    assert order("right_and_back", 6).tolist() == [0, 2, 4, 5, 3, 1]
    assert order("left_and_back", 6).tolist() == [5, 3, 1, 0, 2, 4]


def test_the_digit_moves_to_the_side_that_the_way_says() -> None:
    clip = render(load_digits().images[0] / 16, "right", size=64, frames=16, seed=5).astype(float)
    ink = (clip - np.median(clip)).clip(60) - 60
    # the centre of a circle's mass turns with the column, so a wrap around the edge is no jump
    phase = np.angle((ink.sum(1) * np.exp(2j * np.pi * np.arange(64) / 64)).sum(1))
    assert (np.diff(np.unwrap(phase)) >= -0.02).all()
    assert np.unwrap(phase)[-1] > phase[0] + 0.5


def test_files_of_all_ways_hold_the_same_frames_in_another_order(tmp_path: Path) -> None:
    """Exactly the same after the codec: this is why no single frame, nor all of them unordered, tells the class."""
    frames = {}
    for way in WAYS:
        clip = render(load_digits().images[7] / 16, way, size=32, frames=16, seed=11)
        write_clip(tmp_path / f"{way}.mp4", clip)
        decoded = decode(tmp_path / f"{way}.mp4")
        assert np.abs(decoded.astype(int) - clip).mean() < 4
        frames[way] = decoded
    for way in WAYS:
        assert not np.array_equal(frames[way], frames["left"]) or way == "left"
        assert Counter(map(bytes, frames[way])) == Counter(map(bytes, frames["left"]))


def test_places_are_uniform_over_the_frame() -> None:
    """The mean image over many clips is flat for every way and at every time: within 5 standard errors."""
    digit = load_digits().images[4] / 16
    for way in ("right", "left_and_back"):
        clips = np.stack([render(digit, way, 16, 4, seed)[[0, -1]] for seed in range(600)]).astype(float)
        error = clips.std(0) / np.sqrt(len(clips))
        flat = clips.mean((0, 2, 3))[:, None, None]
        assert (np.abs(clips.mean(0) - flat) < 5 * error).all()


def test_classes_are_balanced_on_every_side(table: list[dict[str, str]], folder: Path) -> None:
    counts = Counter((row["split"], row["label"]) for row in table)
    assert len(table) == 80
    for side in ("train", "val", "test"):
        assert len({counts[side, way] for way in WAYS}) == 1
    assert sorted(row["path"] for row in table) == sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.mp4")
    )


def test_held_out_digits_and_images_are_not_seen_before(table: list[dict[str, str]]) -> None:
    groups = {side: {row["group"] for row in table if row["split"] == side} for side in ("train", "val", "test")}
    digits = {side: {group.split("-")[0] for group in groups[side]} for side in groups}
    assert digits["test"] <= {"digit8", "digit9"}
    assert not digits["test"] & (digits["train"] | digits["val"])
    assert not groups["train"] & groups["val"]


def test_the_group_is_the_image(table: list[dict[str, str]]) -> None:
    targets = load_digits().target
    for row in table:
        digit, image = row["group"].split("-")
        assert digit == f"digit{targets[int(image.removeprefix('image'))]}"
    assert set(Counter(row["group"] for row in table).values()) == {4}


def test_clips_have_the_length_and_size_asked_for(tmp_path: Path) -> None:
    make_moving_digits(tmp_path, clips=40, size=48, frames=6)
    assert decode(next(tmp_path.glob("right/*.mp4"))).shape == (6, 48, 48)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    make_moving_digits(tmp_path / "same", clips=80, seed=3)
    make_moving_digits(tmp_path / "other", clips=80, seed=4)
    manifest = (folder / "manifest.csv").read_text()
    assert (tmp_path / "same/manifest.csv").read_text() == manifest
    assert (tmp_path / "other/manifest.csv").read_text() != manifest
    name = next(folder.glob("left/*.mp4")).relative_to(folder)
    assert np.array_equal(decode(folder / name), decode(tmp_path / "same" / name))


@pytest.mark.parametrize("wrong", [{"clips": 41}, {"clips": 8}, {"frames": 5}, {"size": 31}, {"clips": 8000}])
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make_moving_digits(tmp_path, **wrong)


@pytest.mark.parametrize("way", WAYS)
def test_boxes_hold_the_digit(way: str) -> None:
    ones = np.ones((8, 8))
    clip = render(ones, way, size=32, frames=16, seed=7).astype(float)
    box = boxes(way, 32, 16, 7)
    assert box.shape == clip.shape
    assert box.mean() == 0.25
    assert clip[box].mean() > clip[~box].mean() + 60
    assert all(frame[inside].mean() > frame[~inside].mean() + 60 for frame, inside in zip(clip, box, strict=True))


def test_a_clip_can_be_drawn_again(folder: Path, table: list[dict[str, str]]) -> None:
    row = table[5]
    image = int(row["group"].partition("-image")[2])
    again = render(load_digits().images[image] / 16, row["label"], 32, 16, clip_seed(3, image, row["label"]))
    assert np.abs(decode(folder / row["path"]).astype(int) - again).mean() < 3
