"""Numbers over time in cells and in tables of their own."""

import math
from pathlib import Path

import numpy as np
import pytest

from unreel.data import Example, Manifest, Segment, load, values_of_frames, values_of_steps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.csv").write_text("time,a\n0,1\n0.5,2\n2,3\n")
    (tmp_path / "y.csv").write_text("time,u,v\n0,1,0.1\n0.5,nan,2\n2,3,4\n")
    np.save(tmp_path / "y.npy", np.array([[1.0], [0.5], [0.25]]))
    (tmp_path / "short.csv").write_text("1\n2\n")
    return tmp_path


def one(folder: Path, *labels: str) -> Manifest:
    return Manifest(folder, (Example("x.csv", labels=labels),))


def test_a_row_for_each_frame(folder: Path) -> None:
    [example] = values_of_frames(one(folder, "y.csv")).examples
    assert example.labels == ()
    assert example.segments == (
        Segment(0.0, 0.5, "1.0 0.1"),
        Segment(0.5, 2.0, "nan 2.0"),
        Segment(2.0, math.inf, "3.0 4.0"),
    )
    [example] = values_of_frames(one(folder, "y.npy")).examples
    assert [segment.label for segment in example.segments] == ["1.0", "0.5", "0.25"]
    [example] = values_of_frames(one(folder, "1", ".5", "2e-1")).examples
    assert [segment.label for segment in example.segments] == ["1", ".5", "2e-1"]


def test_one_number_holds_for_the_whole_clip(folder: Path) -> None:
    for labels in ((), ("3 4",)):
        manifest = one(folder, *labels)
        assert values_of_frames(manifest) == manifest


def test_a_row_for_each_step(folder: Path) -> None:
    assert values_of_steps(one(folder, "y.csv"), 3).examples[0].labels == ("1.0 0.1", "nan 2.0", "3.0 4.0")
    assert values_of_steps(one(folder, "1", "2"), 3).examples[0].labels == ("1", "2")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("short.csv",), "each of 3 frames, got 2 rows"),
        (("1", "2"), "each of 3 frames, got 2 rows"),
        (("absent.csv",), "absent.csv"),
        (("1", "two", "3"), "two"),
    ],
)
def test_what_does_not_fit_is_left_out_with_the_reason(folder: Path, labels: tuple[str, ...], reason: str) -> None:
    found = values_of_frames(one(folder, *labels))
    assert found.examples == ()
    assert reason in found.broken["x.csv"]


def test_steps_that_the_model_does_not_answer(folder: Path) -> None:
    assert "at most 2 steps, got 3" in values_of_steps(one(folder, "y.csv"), 2).broken["x.csv"]
    assert "expected the numbers" in values_of_steps(one(folder), 2).broken["x.csv"]


def test_tables_of_numbers_are_no_labels_of_films(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.csv").write_text("1,2\n")
    manifest = load(tmp_path)
    assert [(example.path, example.labels) for example in manifest.examples] == [
        ("a/1.csv", ("a",)),
        ("b/1.csv", ("b",)),
    ]
