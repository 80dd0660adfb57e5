"""Labels beside films, in every form and with everything that can be wrong with them."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from unreel.data import SplitConfig, at_once, frame_times, load, scan, split
from unreel.data.manifest import Example, Manifest, Segment
from unreel.errors import ManifestError


def write_pair(folder: Path, name: object, labels: np.ndarray, frames: int | None = None, size: int = 4) -> None:
    """A scene and its labels (K, T) as the tutorial stores them; no two scenes hold the same pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(name).encode())).random(
        (labels.shape[1] if frames is None else frames, 3, size, size)
    )
    np.save(folder / f"scene_{name}.npy", pixels.astype(np.float32))
    np.save(folder / f"category_{name}.npy", labels[:, None, :, None].astype(np.float64))


def test_pairs_say_of_every_frame_what_the_arrays_say(tmp_path: Path) -> None:
    truth = {name: np.random.default_rng(name).integers(0, 2, (6, 50)) for name in (2, 10)}
    truth[10][4] = 0  # a head that never holds is a head
    for name, labels in truth.items():
        write_pair(tmp_path, name, labels)
    manifest = load(tmp_path)
    assert [example.path for example in manifest.examples] == ["scene_2.npy", "scene_10.npy"]
    assert manifest.heads == tuple(f"cat_{head}" for head in range(6))
    assert not manifest.broken
    for example, labels in zip(manifest.examples, truth.values(), strict=True):
        times = frame_times(tmp_path / example.path, example)
        said = np.zeros_like(labels)
        for segment in example.segments:
            inside = (times >= segment.start) & (times < segment.end)
            said[manifest.heads.index(segment.label), inside.numpy()] += 1
        np.testing.assert_array_equal(said, labels)


def test_heads_have_the_names_of_heads_txt(tmp_path: Path) -> None:
    write_pair(tmp_path, 0, np.eye(3, 5))
    (tmp_path / "heads.txt").write_text("explosion\nkiss\n\nchase\n")
    manifest = load(tmp_path)
    assert manifest.heads == ("explosion", "kiss", "chase")
    assert manifest.examples[0].segments[1] == Segment(1, 2, "kiss")
    (tmp_path / "heads.txt").write_text("explosion\nkiss\n")
    with pytest.raises(ManifestError, match=r"heads.txt: expected .* for \[3\] heads, found \['explosion', 'kiss'\]"):
        load(tmp_path)


def test_pairs_that_do_not_fit_are_listed_and_left_out(tmp_path: Path) -> None:
    labels = np.zeros((6, 8))
    for name in ("a", "b"):
        write_pair(tmp_path, name, labels)
    write_pair(tmp_path, "long", labels, frames=9)
    write_pair(tmp_path, "five", labels[:5])
    write_pair(tmp_path, "soft", labels + 0.5)
    write_pair(tmp_path, "nan", labels * np.nan)
    write_pair(tmp_path, "lonely", labels)
    (tmp_path / "category_lonely.npy").rename(tmp_path / "category_nobody.npy")
    write_pair(tmp_path, "torn", labels)
    (tmp_path / "category_torn.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "category_flat.npy", labels)
    np.save(tmp_path / "scene_flat.npy", np.zeros((8, 3, 4, 4), dtype=np.uint8))
    manifest = load(tmp_path)
    assert [example.path for example in manifest.examples] == ["scene_a.npy", "scene_b.npy"]
    reasons = dict(manifest.broken)
    assert reasons.keys() == {
        *(f"scene_{name}.npy" for name in ("long", "five", "soft", "nan", "lonely", "torn", "flat")),
        "category_nobody.npy",
    }
    assert "(heads, 1, 9, 1), for scene_long.npy is (9, 3, 4, 4); got (6, 1, 8, 1)" in reasons["scene_long.npy"]
    assert "category_five.npy of 6 heads like the others, got (5, 1, 8, 1)" in reasons["scene_five.npy"]
    assert "expected 0 or 1 in category_soft.npy, got 0.5 in row 0, frame 0" in reasons["scene_soft.npy"]
    assert "got nan" in reasons["scene_nan.npy"]
    assert "category_lonely.npy beside it, there is none" in reasons["scene_lonely.npy"]
    assert reasons["scene_torn.npy"].startswith("category_torn.npy: expected a NumPy array")
    assert "got (6, 8)" in reasons["scene_flat.npy"]
    assert scan(manifest).unreadable == reasons


def test_no_pair_that_fits_is_an_error_that_names_one(tmp_path: Path) -> None:
    write_pair(tmp_path, 1, np.zeros((2, 3)), frames=4)
    with pytest.raises(ManifestError, match=r"none of 1 can be used: scene_1.npy: expected category_1.npy"):
        load(tmp_path)


def test_tables_beside_films(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 1, 2, 2), dtype=np.uint8))
    (tmp_path / "a.csv").write_text("label,start,end\nrain,0.5,2\nwind,1,\nwind,1,\n,3,4\n")
    (tmp_path / "b.csv").write_text("0;1;rain\n1;2;wind\n")
    (tmp_path / "c.csv").write_text("")
    manifest = load(tmp_path)
    rain, wind = "rain", "wind"
    assert [example.segments for example in manifest.examples] == [
        (Segment(0.5, 2, rain), Segment(1, math.inf, wind), Segment(3, 4, "")),
        (Segment(0, 1, rain), Segment(1, 2, wind)),
        (),
    ]
    assert manifest.heads == ()
    assert manifest.broken == {"d.npy": "expected its labels in d.csv beside it, there is none"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("start,end,label\n0,1,rain\n3,2,rain\n", "a.csv, line 3: end must be greater than start"),
        ("0,1,rain\n1,x,rain\n", "a.csv, line 2: end must be seconds"),
        ("start,stop,label\n0,1,rain\n", "a.csv, line 2: expected start, end, label, there is no end"),
        ("0,1,rain\n0,1,\n", "expected rain or nothing from 0.0 s, found both"),
    ],
)
def test_a_table_that_says_nonsense_breaks_its_film_alone(tmp_path: Path, text: str, reason: str) -> None:
    for name, table in (("a", text), ("b", "0,1,rain\n")):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 1, 2, 2), dtype=np.uint8))
        (tmp_path / f"{name}.csv").write_text(table)
    (tmp_path / "nobody.csv").write_text("0,1,rain\n")
    manifest = load(tmp_path)
    assert [example.path for example in manifest.examples] == ["b.npy"]
    assert reason in manifest.broken["a.npy"]
    assert "a film of the same name" in manifest.broken["nobody.csv"]


def test_labels_at_once_are_told_with_their_film() -> None:
    one_by_one = Example("a", (), (Segment(0, 1, "x"), Segment(1, 2, "y"), Segment(0.5, 1, "x"), Segment(0, 9, "")))
    assert at_once([one_by_one]) == ""
    # the overlap is with a long segment that began before the one in between
    nested = Example("b", (), (Segment(8, 9, "y"), Segment(0, 10, "x"), Segment(1, 2, "x")))
    assert at_once([one_by_one, nested]) == "b: x and y at 8 s"


def test_times_of_a_part_and_of_a_file_that_is_gone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 1, 2, 2), dtype=np.uint8))
    assert frame_times(tmp_path / "a.npy", Example("a.npy", start=1, end=3)).tolist() == [1, 2]
    assert torch.equal(frame_times(tmp_path / "b.npy", Example("b.npy")), torch.zeros(0, dtype=torch.float64))


def test_films_are_split_four_to_one_and_none_in_two(tmp_path: Path) -> None:
    for name in range(20):
        write_pair(tmp_path, name, np.random.default_rng(name).integers(0, 2, (3, 12)))
    splits = split(load(tmp_path), SplitConfig(seed=3))
    assert [len(side) for side in splits] == [13, 3, 4]
    assert len({example.path for example in splits.examples}) == 20
    clips = [Example(f"{index}", ("x",)) for index in range(20)]
    assert len(split(Manifest(Path("/nowhere"), tuple(clips))).test) == 3


def test_outer_folders_named_like_sides_are_the_split(tmp_path: Path) -> None:
    for number, side in enumerate(("train", "train", "Validation", "test")):
        write_pair(tmp_path / side, number, np.eye(2, 6))
    (tmp_path / "heads.txt").write_text("rain\nwind\n")
    manifest = load(tmp_path)
    assert manifest.heads == ("rain", "wind")
    splits = split(manifest)
    assert [[example.path for example in side] for side in splits] == [
        ["train/scene_0.npy", "train/scene_1.npy"],
        ["Validation/scene_2.npy"],
        ["test/scene_3.npy"],
    ]
    write_pair(tmp_path / "more", 4, np.eye(2, 6))  # then they are folders like others
    assert {example.split for example in load(tmp_path).examples} == {None}


def test_films_with_tables_have_sides_too(tmp_path: Path) -> None:
    for side in ("train", "val", "test"):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "a.npy", np.full((4, 1, 2, 2), len(side), dtype=np.uint8))
        (tmp_path / side / "a.csv").write_text("0,2,rain\n")
    assert [example.split for example in load(tmp_path).examples] == ["test", "train", "val"]
