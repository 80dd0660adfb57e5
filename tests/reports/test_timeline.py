"""The timeline of a film: what its rows become, and that the picture shows what is in it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unreel.reports.figures import BAD, GRID, INK, LIGHT, MODEL
from unreel.reports.results import read_results
from unreel.reports.timeline import MOST_LANES, MOST_POINTS, draw, read_film, timeline_png
from unreel.reports.timelines import timelines

ROW = {
    "file": "gone.mp4",
    "times": [0.0, 0.5, 1.0, 3.0],
    "truth": [["x"], [], None, ["x", "y"]],
    "labels": [["x"], ["x"], ["x"], ["y"]],
    "scores": {"x": [0.9, 0.8, 0.7, 0.1], "y": [0.0, 0.0, 0.0, 1.0]},
}


def bars(row: dict, labels: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
    """Begin and end of the bars of each colour, lane after lane."""
    axes = draw(read_film([row], labels), None).axes[-1]
    found: dict[str, list[tuple[float, float]]] = {}
    for bar in axes.collections:
        paths = [path.get_extents() for path in bar.get_paths()]
        color = "#" + "".join(f"{round(255 * part):02x}" for part in bar.get_facecolor()[0][:3])
        found.setdefault(color, []).extend((round(path.x0, 6), round(path.x1, 6)) for path in paths)
    return found


def test_bars_are_what_is_true_what_was_said_and_what_is_wrong() -> None:
    """The last frame lasts as long as the one before it, two seconds; the third one is unknown."""
    found = bars(ROW, ("x", "y"))
    assert found[INK] == [(0.0, 0.5), (3.0, 5.0), (3.0, 5.0)]
    assert found[MODEL] == [(0.0, 0.5), (1.0, 3.0), (3.0, 5.0)]
    assert found[BAD] == [(0.5, 1.0)]
    assert found[GRID] == [(1.0, 3.0)] * 2


def test_without_truth_nothing_is_wrong() -> None:
    found = bars({name: value for name, value in ROW.items() if name != "truth"}, ("x", "y"))
    assert found[MODEL] == [(0.0, 3.0), (3.0, 5.0)]
    assert not {INK, BAD, GRID} & found.keys()


def test_one_label_a_frame_is_read_alike() -> None:
    row = ROW | {"truth": ["x", "y", None, "x"], "labels": ["x", "x", "y", "y"]}
    film = read_film([row], ("x", "y"))
    assert film.said.tolist() == [[True, False], [True, False], [False, True], [False, True]]
    assert film.truth is not None
    assert film.truth[[0, 1, 3]].tolist() == [[True, False], [False, True], [True, False]]
    assert film.known.tolist() == [True, True, False, True]


def test_windows_of_a_film_join_and_what_they_share_is_taken_once() -> None:
    second = ROW | {"times": [1.0, 3.0, 4.0, 5.0], "labels": [["y"]] * 4}
    film = read_film([ROW, second], ("x", "y"))
    assert film.times.tolist() == [0, 0.5, 1, 3, 4, 5]
    assert film.said[:, 1].tolist() == [False, False, False, True, True, True]


def test_one_frame_and_many_labels() -> None:
    labels = tuple(f"label{index}" for index in range(MOST_LANES + 5))
    row = {"file": "a.npy", "times": [0], "labels": [["label14", "label0"]], "scores": {name: [0.5] for name in labels}}
    axes = draw(read_film([row], labels), None).axes[-1]
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert len(shown) == MOST_LANES
    assert {"label0", "label14"} <= set(shown)
    assert "5 more labels not shown" in axes.get_xlabel()
    assert axes.get_xlabel().startswith("frame")


def test_a_long_film_is_thinned_to_its_means() -> None:
    scores = np.repeat([0.0, 1.0], 5000).tolist()
    row = {"file": "a.mp4", "times": np.arange(10_000) / 25, "labels": [[]] * 10_000, "scores": {"x": scores}}
    axes = draw(read_film([row], ("x",)), None).axes[-1]
    curve = max(axes.get_lines(), key=lambda line: len(line.get_xdata()))
    assert len(curve.get_xdata()) == MOST_POINTS + 1
    assert np.ptp(curve.get_ydata()) == pytest.approx(0.44)
    assert axes.get_xlabel().startswith("min:s")


def test_the_picture_shows_the_frames_of_the_film(tmp_path: Path) -> None:
    frames = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    frames[:, 1] = 200
    np.save(tmp_path / "film.npy", frames)
    green = []
    for root in (tmp_path, None):
        picture = timeline_png([ROW | {"file": "film.npy", "times": [0, 1, 2, 3]}], ("x", "y"), root)
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
        green.append(int((pixels == (0, 200, 0)).all(1).sum()))
        for color in (INK, MODEL, BAD):
            wanted = tuple(bytes.fromhex(LIGHT[color][1:]))
            assert (pixels == wanted).all(1).sum() > 500, color
    assert green[0] > 10_000
    assert green[1] == 0


def test_worst_and_best_films(multitag_run: Path, tag_run: Path) -> None:
    found = timelines(read_results(multitag_run))
    assert found is not None
    assert (found.films, found.wrong) == (7, 6)
    assert len(found.worst) == 4
    assert len(found.best) == 3
    assert found.best[0].score == "F1 of frames 100 %"
    shares = [float(film.score.split()[3]) for film in (*found.worst, *found.best[::-1])]
    assert shares == sorted(shares)
    assert all(film.plot.startswith("<svg") and "#010101" not in film.plot for film in found.worst)
    assert "<script>alert" not in found.worst[0].plot
    tagged = timelines(read_results(tag_run))
    assert tagged is not None
    assert (tagged.films, tagged.wrong) == (9, 6)


def test_other_tasks_have_no_timelines(classify_run: Path) -> None:
    assert timelines(read_results(classify_run)) is None
