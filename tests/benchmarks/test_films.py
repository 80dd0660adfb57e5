"""The films of benchmarks/films.py: what their labels say is what there is to see. On clips and digits made up here."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from unreel.data import frame_times, load, split
from unreel.tasks import MultiTag

ROOT = Path(__file__).resolve().parents[2]
SIZE = 24


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_films", ROOT / "benchmarks" / "films.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


films = imported()
HEAD = {name: place for place, name in enumerate(films.HEADS)}


def blank(level: int = 200, fight: bool = False) -> Iterator[object]:
    """Shots of 30 pictures of one grey."""
    pixels = np.full((30, 3, SIZE, SIZE), level, dtype=np.uint8)
    return repeat(films.Shot(pixels, fight, films.Made("clip", "grey", "nobody")))


def dots(side: int = 6) -> Iterator[object]:
    return repeat(films.Digit(np.ones((side, side), dtype=np.float32), films.Made("digit", "square", "0")))


def made(
    count: int = 20, frames: int = 150, shots: Iterator[object] | None = None
) -> Iterator[tuple[NDArray, NDArray]]:
    for seed in range(count):
        pixels, labels, _ = films.make_film(shots or blank(), dots(), frames, np.random.default_rng(seed))
        assert (pixels.shape, pixels.dtype) == ((frames, 3, SIZE, SIZE), np.uint8)
        assert (labels.shape, labels.dtype) == ((len(HEAD), frames), np.uint8)
        yield pixels.astype(float), labels.astype(bool)


def spans(holds: NDArray[np.bool_]) -> list[slice]:
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    return [slice(begin, end) for begin, end in edges.reshape(-1, 2)]


def light(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) median level of each frame: that of the grey behind the digit."""
    return np.median(pixels[:, 2], axis=(1, 2))


def test_it_gets_dark_and_light_where_the_labels_say_so() -> None:
    seen = 0
    for pixels, labels in made():
        level = light(pixels)
        for head, sign in (("fade_in", 1), ("fade_out", -1)):
            whole = [span for span in spans(labels[HEAD[head]]) if span.stop < len(pixels)]  # none is cut by the end
            seen += len(whole)
            for span in whole:
                assert (sign * np.diff(level[span]) > 5).all()
                low, high = sorted(level[span][[0, -1]])
                assert low < 20
                assert high > 180
        calm = ~labels[[HEAD["fade_in"], HEAD["fade_out"], HEAD["noise"]]].any(0)
        assert (abs(level[calm] - 200) < 4).all()
    assert seen > 40


def test_pictures_stand_still_where_the_labels_say_so_and_nowhere_else() -> None:
    for pixels, labels in made():
        alike = np.array([False, *((pixels[1:] == pixels[:-1]).all((1, 2, 3)))])
        np.testing.assert_array_equal(alike, labels[HEAD["freeze"]])
    assert alike.any()


def test_there_is_snow_where_the_labels_say_so() -> None:
    for pixels, labels in made():
        rough = np.median(abs(np.diff(pixels[:, 0], axis=-1)), axis=(1, 2)) > 15
        np.testing.assert_array_equal(rough, labels[HEAD["noise"]])


def test_digits_are_there_and_go_where_the_labels_say() -> None:
    moved = {"left": 0, "right": 0, "neither": 0}
    for pixels, labels in made(40):
        clear = ~labels[HEAD["noise"]] & (light(pixels) > 60)
        ink = pixels[:, 0] - pixels[:, 2]  # they are yellow before a grey: red without blue
        np.testing.assert_array_equal((ink > 10).any((1, 2))[clear], labels[HEAD["digit"], clear])
        # the centre of a circle's mass turns with the column, so that going round the edge is no jump
        phase = np.angle((ink.clip(0).sum(1) * np.exp(2j * np.pi * np.arange(SIZE) / SIZE)).sum(1))
        steps = np.angle(np.exp(1j * np.diff(phase)))
        for head, sign in (("left", -1), ("right", 1)):
            holds = labels[HEAD[head]]
            assert not (holds & ~labels[HEAD["digit"]]).any()
            for span in spans(holds & clear):
                way = sign * steps[span.start : span.stop - 1]
                assert (way > -1e-6).all()
                moved[head] += int((way > 1e-6).sum())
        still = labels[HEAD["digit"]] & ~labels[HEAD["left"]] & ~labels[HEAD["right"]] & clear
        both = still[1:] & still[:-1]
        assert (abs(steps[both]) < 1e-6).all()
        moved["neither"] += int(both.sum())
    assert min(moved.values()) > 100


def test_a_single_frame_does_not_tell_which_way() -> None:
    """Places of digits that go left and of those that go right, and brightnesses of both fades, are spread alike."""
    places: dict[str, list[int]] = {"left": [], "right": []}
    levels: dict[str, list[float]] = {"fade_in": [], "fade_out": []}
    for pixels, labels in made(60):
        clear = ~labels[HEAD["noise"]] & (light(pixels) > 60)
        for head, found in places.items():
            holds = labels[HEAD[head]] & clear
            found += (pixels[holds, 0] - pixels[holds, 2]).sum(1).argmax(-1).tolist()
        for head, found in levels.items():
            for span in spans(labels[HEAD[head]]):
                if span.stop < len(pixels):
                    found += sorted(light(pixels)[span].tolist())
    quarters = [np.histogram(found, 4, (0, SIZE))[0] / len(found) for found in places.values()]
    np.testing.assert_allclose(quarters[0], quarters[1], atol=0.1)
    tenths = [np.quantile(found, np.arange(0.1, 1, 0.1)) for found in levels.values()]
    np.testing.assert_allclose(tenths[0], tenths[1], atol=12)


def test_shots_of_fights_are_labelled_as_such() -> None:
    def alternating() -> Iterator[object]:
        for kind in zip(blank(120, fight=True), blank(200), strict=False):
            yield from kind

    for pixels, labels in made(10, shots=alternating()):
        bright = light(pixels)
        calm = ~labels[[HEAD["fade_in"], HEAD["fade_out"], HEAD["noise"]]].any(0)
        np.testing.assert_array_equal(bright[calm] < 160, labels[HEAD["fight"], calm])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 12 sources, half of them fights, and ten digits of each kind."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = [("path", "label", "source")]
    for number in range(24):
        (folder / "fights").mkdir(exist_ok=True)
        np.save(folder / "fights" / f"{number}.npy", rng.integers(0, 256, (20, 3, 30, 40), dtype=np.uint8))
        rows.append((f"{number}.npy", ("fight", "no_fight")[number % 2], "" if number < 4 else f"source {number // 2}"))
    with (folder / "fights" / "sources.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    images = rng.integers(0, 256, (100, 28, 28), dtype=np.uint8)
    np.savez(folder / "mnist.npz", x_train=images, y_train=np.arange(100) % 10)
    return folder


def test_a_run_finds_heads_and_sides_and_no_source_on_two_of_them(data: Path, tmp_path: Path) -> None:
    films.write_films(data, tmp_path / "films", (4, 3, 3), frames=150, piece=70, size=SIZE, seed=1)
    manifest = load(tmp_path / "films")
    assert manifest.heads == films.HEADS
    assert not manifest.broken
    splits = split(manifest)
    assert [len(side) for side in splits] == [12, 3, 3]
    assert sorted(len(np.load(tmp_path / "films" / one.path)) for one in splits.train) == [10] * 4 + [70] * 8
    with (tmp_path / "films" / "made_from.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sides: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        sides.setdefault((row["what"], row["source"]), set()).add(row["film"].split("/")[0])
    assert all(len(found) == 1 for found in sides.values())
    assert {what for what, _ in sides} == {"clip", "digit"}
    assert {row["film"] for row in rows} == {example.path for example in splits.examples}
    # what the arrays say is what a run learns from
    example = splits.test[0]
    labels = np.load(tmp_path / "films" / example.path.replace("scene", "category"))[:, 0, :, 0]
    task = MultiTag(nn.Identity(), films.HEADS)
    told = task.encode(example, frame_times(tmp_path / "films" / example.path, example))["labels"]
    np.testing.assert_array_equal(told.numpy(), labels.T)


def test_the_same_seed_gives_the_same_films(data: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        films.write_films(data, tmp_path / name, (1, 1, 1), frames=40, piece=40, size=SIZE, seed=seed)
    one, same, other = (np.load(tmp_path / name / "train" / "scene_0.npy") for name in ("one", "same", "other"))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
