"""Captioned films: the captions are of the grammar, the test side is unseen, and one frame does not tell."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unreel.data import load, split

FILE = Path(__file__).parents[2] / "benchmarks" / "captioned_films.py"


@pytest.fixture(scope="module")
def films() -> ModuleType:
    spec = importlib.util.spec_from_file_location("captioned_films", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_what_is_written_is_a_manifest_with_its_split(films: ModuleType, tmp_path: Path) -> None:
    films.write_films(tmp_path, *films.bundled_digits(), (60, 10, 30), 6, 48, 3)
    manifest = load(tmp_path)
    assert manifest.captions
    sides = split(manifest)
    assert [len(side) for side in sides] == [60, 10, 30]
    film = np.load(tmp_path / sides.test[0].path)
    assert (film.shape, film.dtype) == ((6, 1, 48, 48), np.uint8)

    def said(side: int) -> list[set[tuple[str, str]]]:
        phrases = [example.labels[0].split(" and ") for example in sides[side]]
        assert all(len(example.labels) == 1 for example in sides[side])
        return [{(phrase.split()[1], " ".join(phrase.split()[6:])) for phrase in some} for some in phrases]

    held_out = {(films.DIGITS[digit], films.DOINGS[doing]) for digit, doing in films.HELD_OUT}
    assert not any(pairs & held_out for pairs in (*said(0), *said(1)))
    assert all(pairs & held_out for pairs in said(2))
    assert {digit for digit, _ in held_out} == set(films.DIGITS)
    assert all(sum(doing == one for _, one in held_out) <= 2 for doing in films.DOINGS)


def test_the_same_seed_gives_the_same_film_and_no_image_is_on_two_sides(films: ModuleType, tmp_path: Path) -> None:
    for name in "ab":
        films.write_films(tmp_path / name, *films.bundled_digits(), (2, 1, 1), 4, 48, 0)
    for path in sorted((tmp_path / "a").rglob("*.npy")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    images = films.divide(np.arange(200) % 10, np.random.default_rng(0))
    sides = [{image for some in images[side].values() for image in some} for side in films.SIDES]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 200


def test_digits_of_a_file_are_ink_from_0_to_1(films: ModuleType, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(200, 28, 28), dtype=np.uint8)
    kinds = np.arange(200) % 10
    np.savez(tmp_path / "m.npz", x_train=images[:160], y_train=kinds[:160], x_test=images[160:], y_test=kinds[160:])
    glyphs, found = films.digits_of(tmp_path / "m.npz")
    np.testing.assert_array_equal(np.rint(glyphs * 255), images)
    np.testing.assert_array_equal(found, kinds)
    films.write_films(tmp_path / "films", glyphs, found, (2, 1, 1), 4, 40, 0)
    assert len(load(tmp_path / "films")) == 4


@pytest.mark.parametrize(
    ("one", "other"), [("moves left", "moves right"), ("moves up", "moves down"), ("grows", "shrinks")]
)
def test_opposites_are_the_same_frames_run_backwards(films: ModuleType, one: str, other: str) -> None:
    glyph = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    first, second = (
        films.perform(films.DOINGS.index(doing), glyph, 12, 28, np.random.default_rng(1)) for doing in (one, other)
    )
    np.testing.assert_array_equal(first, second[::-1])
    assert np.abs(first[0] - first[-1]).max() > 0.1


def test_shares_of_what_is_right(films: ModuleType) -> None:
    """Zero never stands in training, two does."""
    both = "a zero at the top left stands and a two at the top right stands"
    told = films.shares(
        [
            (both, both),
            ("a zero at the top left stands", "a zero at the top left moves up"),
            ("a two at the top right stands", "a six at the top right stands"),
            ("a two at the top right stands", "a two at the top right stands and a two"),
        ]
    )
    for one in (
        "1 digit 0.000",
        "2 digits 1.000",
        "all 0.250",
        "doings in new pairs 0.500",
        "digits in new pairs 1.000",
    ):
        assert one in told
    assert "digits in known pairs 0.333" in told
    assert "doings in known pairs 0.667" in told
