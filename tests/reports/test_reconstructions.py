"""Which films and frames are shown, what a picture of them holds, and curves with what is known."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from unreel.reports.page import write
from unreel.reports.reconstructions import FRAMES, chosen, errors_png, picture, shown
from unreel.reports.results import read_results
from unreel.reports.traces import traces


def row(name: str, errors: list[float], truth: list[int | None] | None = None) -> dict[str, object]:
    return {"file": name, "times": list(range(len(errors))), "errors": errors, "truth": truth or [None] * len(errors)}


def test_the_highest_and_the_lowest_films_are_shown_once() -> None:
    rows = [row(str(number), [0.1, float(number)]) for number in range(9)]
    assert [one["file"] for one in chosen(rows)] == ["8", "7", "6", "5", "1", "0"]
    assert [one["file"] for one in chosen(rows[:5])] == ["4", "3", "2", "1", "0"]
    assert chosen([{"file": "a"}]) == []


def test_the_frame_of_the_highest_error_is_shown() -> None:
    errors = np.zeros(100)
    errors[37] = 1
    places = shown(row("a", errors.tolist()))
    assert 37 in places
    assert places == sorted(set(places))
    assert len(places) == FRAMES
    assert {0, 99} <= set(places)
    assert shown(row("a", [1.0])) == [0]
    assert shown(row("a", [1.0, 2.0, 0.0])) == [0, 1, 2]


def test_a_picture_has_three_rows() -> None:
    frames = np.zeros((2, 1, 36, 18), dtype=np.float32)
    made = frames.copy()
    made[1, :, :18] = 1
    pixels = np.asarray(Image.open(io.BytesIO(picture(frames, made))))
    assert pixels.shape == (3 * 72 + 6, 2 * 36 + 3, 3)
    assert (pixels[:72, :36] == 0).all()
    assert (pixels[75 : 75 + 36, 39:] == 255).all()  # what was made of the second frame
    assert (pixels[75 + 36 : 147, 39:] == 0).all()
    difference = pixels[150:].astype(int).sum(-1)
    assert difference[:36, 39:].min() > difference[36:, 39:].max()
    assert (pixels[72:75] == 255).all()


def test_numbers_of_any_range_make_a_picture() -> None:
    frames = np.linspace(-5, 20, 2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
    pixels = np.asarray(Image.open(io.BytesIO(picture(frames, frames))))
    assert pixels[:72].min() == 0
    assert pixels[:72, :72].max() < 255


def test_the_errors_of_a_film_are_drawn_from_all_of_its_windows() -> None:
    whole = errors_png([row("$a$.mp4", [0.1, 0.5, 0.2, 0.3])])
    first = row("$a$.mp4", [0.1, 0.5, 0.2])
    rest = {**first, "times": [2, 3], "errors": [9.0, 0.3]}  # the frame at 2 stands in both
    assert errors_png([first, rest]) == whole
    assert errors_png([first]) != whole
    with Image.open(io.BytesIO(whole)) as drawn:
        assert drawn.format == "PNG"


def run_folder(folder: Path, task: str, rows: list[dict[str, object]], labels: list[str]) -> Path:
    folder.mkdir()
    measure = {"mse": {"value": 0.01, "low": 0.005, "high": 0.02}, "auc": {"value": 0.9, "low": 0.8, "high": 0.95}}
    metrics = {"task": task, "monitor": "val_mse", "test": measure, "n_test": 12}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


def test_the_page_of_an_autoencoder(tmp_path: Path) -> None:
    rows = [
        row("<b>a</b>.mp4", [0.1, 0.5, 0.2], [0, 1, None]),
        row("b.mp4", [0.1, 0.1], [0, 0]),
        row("one.png", [0.3]),
    ]
    run = run_folder(tmp_path / "run", "reconstruct", rows, ["error"])
    (run / "reconstructions").mkdir()
    Image.new("RGB", (4, 4)).save(run / "reconstructions" / "0.png")
    page = write(run).read_text(encoding="utf-8")
    assert page.count('class="reconstruction"') == 1
    assert "data:image/png;base64," in page
    assert page.count("on average,") == 3
    assert "<b>a</b>" not in page
    assert "AUC of frames on 12 frames" in page
    assert "90.0 %" in page


def test_the_page_of_numbers_over_time(tmp_path: Path) -> None:
    rows = [
        {"file": f"{number}.csv", "times": [0, 1, 2], "values": [[1], [2], [3]], "truth": [[number], None, [3]]}
        for number in range(9)
    ]
    run = run_folder(tmp_path / "run", "trace", rows, ["value"])
    found = traces(read_results(run))
    assert found is not None
    assert [one.file for one in found.worst] == ["8.csv", "7.csv", "6.csv"]
    assert [one.file for one in found.best] == ["1.csv", "2.csv", "0.csv"]
    assert found.worst[0].caption == "off by 3.5 on average"
    page = write(run).read_text(encoding="utf-8")
    assert "Furthest from the truth" in page
    assert page.count("off by") == 6
    for one in rows:
        del one["times"]
    steps = run_folder(tmp_path / "steps", "sequence", rows, ["value"])
    assert "Numbers over time" in write(steps).read_text(encoding="utf-8")
