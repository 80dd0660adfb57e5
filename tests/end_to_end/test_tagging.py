"""The road of labels of frames: from each form of labels to numbers, report, rows and timelines."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import average_precision_score

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import RunConfig
from unreel.data import AugmentConfig, PreprocessConfig, SamplingConfig, SplitConfig
from unreel.inference import intervals
from unreel.reports.timeline import read_film
from unreel.runs import Run
from unreel.tasks import MultiTag
from unreel.training import fitting

from conftest import write_moving_dots  # isort: skip
from dotted_films import write_film, write_films  # isort: skip
from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def whole_films(path: Path, epochs: int = 2, **data: object) -> RunConfig:
    """Every frame of a film; nothing is drawn at random but the weights."""
    settings: dict[str, object] = {
        "sampling": SamplingConfig("all"),
        "preprocess": PreprocessConfig(size=(8, 8)),
        "augment": AugmentConfig(),
        "split": SplitConfig(),
        "batch_size": 2,
    }
    config = tiny(path, epochs, **(settings | data))
    return replace(config, task="tag", model=replace(config.model, dropout=0.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Films of which one is broken; the run says `tag`, and the pairs make it `multitag`."""
    folder = write_films(tmp_path_factory.mktemp("tagging") / "films", films=16)
    write_film(folder, "short")
    np.save(folder / "scene_short.npy", np.zeros((23, 3, 8, 8), dtype=np.uint8))
    told = io.StringIO()
    console = Console(file=told, width=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        made = experiment.fit(whole_films(folder, epochs=20, balance="loss"), folder.parent / "run", console)
    assert "task multitag, a sigmoid for each label: each row of the labels is a head (cat_0, cat_1)" in told.getvalue()
    assert "left out: scene_short.npy: expected category_short.npy of (heads, 1, 23, 1)" in told.getvalue()
    return made


def test_pairs_give_a_run_of_heads(run: Run) -> None:
    assert run.config.task == "multitag"
    assert run.labels == ("cat_0", "cat_1")
    assert [len(side) for side in run.splits()] == [10, 3, 3]
    with (run.folder / "left_out.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["scene_short.npy"]
    numbers = run.read_json("metrics.json")
    names = {"macro_ap", "macro_f1", "accuracy", "f1_at_10", "f1_at_25", "f1_at_50"}
    assert numbers["test"].keys() == names
    assert numbers["controls"].keys() == {"rate"}
    assert numbers["n_test"] == 3 * 24
    assert numbers["test"]["macro_ap"]["value"] > numbers["controls"]["rate"]["macro_ap"]["value"] + 0.2
    history = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    assert {"val_macro_ap", "val_ap/cat_0", "val_f1_at_25/cat_1"} <= history[0].keys()


def test_the_numbers_follow_from_the_rows(run: Run) -> None:
    numbers = run.read_json("metrics.json")
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert {row["file"] for row in rows} == {example.path for example in run.splits().test}
    for place, entry in enumerate(numbers["per_class"]):
        truth = np.concatenate(
            [np.load(run.root / row["file"].replace("scene", "category"))[place, 0, :, 0] for row in rows]
        )
        assert truth.tolist() == [entry["label"] in names for row in rows for names in row["truth"]]
        scores = [score for row in rows for score in row["scores"][entry["label"]]]
        assert entry["n"] == truth.sum()
        assert entry["ap"]["value"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
        assert entry["ap"]["low"] <= entry["ap"]["value"] <= entry["ap"]["high"]
        always = numbers["controls_per_class"]["rate"][place]
        assert (always["label"], always["ap"]["value"]) == (entry["label"], pytest.approx(truth.mean()))
        said = np.array([entry["label"] in names for row in rows for names in row["labels"]])
        assert said.tolist() == [score >= 0.5 for score in scores]
        assert entry["f1"]["value"] == pytest.approx(2 * (said * truth).sum() / (said.sum() + truth.sum()))
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert 'id="timelines"' in page
    assert "Segment F1@25" in page


def test_class_weights_are_those_of_the_training_frames(run: Run) -> None:
    task = fitting.build_task(run, run.splits())
    assert isinstance(task, MultiTag)
    files = [run.root / example.path.replace("scene", "category") for example in run.splits().train]
    labels = np.concatenate([np.load(file)[:, 0, :, 0] for file in files], axis=1)
    expected = (1 - labels).sum(1) / labels.sum(1)
    assert task.class_weights is not None
    assert task.class_weights.tolist() == pytest.approx(expected.tolist())
    plain = replace(run, config=replace(run.config, data=replace(run.config.data, balance="none")))
    assert fitting.build_task(plain, run.splits()).class_weights is None


def test_predict_gives_rows_and_timelines(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    assert main(["predict", str(run.folder), str(run.root), "--out", str(rows)]) == 0
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(found) == 17, "scenes only, also the one whose labels do not fit"
    assert found[0].keys() == {"file", "start", "end", "times", "labels", "scores"}
    assert len(list((tmp_path / "rows.timelines").glob("scene_*.npy.png"))) == 17
    assert (
        main(["predict", str(run.folder), str(run.root / "scene_1.npy"), "--timelines", str(tmp_path / "drawn")]) == 0
    )
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["scene_1.npy.png"]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_windows_of_a_film_are_one_timeline(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.zeros((50, 3, 8, 8), dtype=np.uint8))
    data = replace(run.config.data, sampling=SamplingConfig("window", frames=16))
    windowed = replace(run, config=replace(run.config, data=data))
    rows = list(inference.predict(windowed, [tmp_path / "long.npy"]))
    assert len(rows) == 4
    assert read_film(rows, run.labels).times.tolist() == list(range(50))


def test_evaluate_on_other_pairs_lists_what_is_broken(run: Run, tmp_path: Path) -> None:
    write_films(tmp_path / "others", films=3, seed=9)
    (tmp_path / "others" / "category_1.npy").unlink()
    measured = inference.evaluate(run, tmp_path / "others")
    assert measured.n == 48
    assert measured.left_out == {"scene_1.npy": "expected category_1.npy beside it, there is none"}


def test_a_run_goes_on_with_the_task_it_settled_on(run: Run) -> None:
    (run.folder / "report.html").unlink()
    again = experiment.resume(run.folder, QUIET)
    assert again.config.task == "multitag"
    assert (run.folder / "report.html").is_file()


def as_table(films: Path, name: str, rows: dict[str, list[list[object]]]) -> Path:
    path = films / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start", "end", "label"])
        writer.writerows([film, *row] for film, of_film in rows.items() for row in of_film)
    return path


def test_each_form_of_labels_gives_the_same_run(tmp_path: Path) -> None:
    """The same films with pairs, with rows of a manifest, and with tables beside them."""
    heads = {0: "left", 1: "right"}
    rows: dict[str, list[list[object]]] = {}
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "heads.txt").write_text("left\nright\n")
    (tmp_path / "beside").mkdir()
    for number in range(12):
        labels = write_film(tmp_path / "pairs", number)
        spans = [
            [*np.flatnonzero(labels[head])[[0, -1]] + [0, 1], name]
            for head, name in heads.items()
            if labels[head].any()
        ]
        rows[f"scene_{number}.npy"] = spans
        scene = np.load(tmp_path / "pairs" / f"scene_{number}.npy")
        np.save(tmp_path / "beside" / f"scene_{number}.npy", scene)
        (tmp_path / "beside" / f"scene_{number}.csv").write_text("".join(f"{a},{b},{name}\n" for a, b, name in spans))
    found = []
    for kind, path in (
        ("pairs", tmp_path / "pairs"),
        ("rows", as_table(tmp_path / "beside", "rows.csv", rows)),
        ("tables", tmp_path / "beside"),
    ):
        if kind == "tables":
            (tmp_path / "beside" / "rows.csv").unlink()
        made = experiment.fit(whole_films(path), tmp_path / kind, QUIET)
        assert made.config.task == "multitag"
        assert made.labels == ("left", "right")
        found.append({row["file"]: row for row in inference.evaluate(made).rows})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 2


def test_labels_one_at_a_time_stay_a_class_a_frame(tmp_path: Path) -> None:
    rows: dict[str, list[list[object]]] = {}
    for number in range(12):
        write_film(tmp_path, number)
        (tmp_path / f"category_{number}.npy").unlink()
        middle = 6 + number
        rows[f"scene_{number}.npy"] = [[0, middle, "background"], [middle, 23, "dot"], [20, 22, ""]]
    made = experiment.fit(whole_films(as_table(tmp_path, "manifest.csv", rows)), tmp_path / "run", QUIET)
    assert made.config.task == "tag"
    numbers = made.read_json("metrics.json")
    assert numbers["test"].keys() == {"accuracy", "macro_f1", "auroc", "edit", "f1_at_10", "f1_at_25", "f1_at_50"}
    assert numbers["n_test"] == len(made.splits().test) * 21, "two frames are said to be unknown, and the last one is"
    assert 'id="timelines"' in (made.folder / "report.html").read_text(encoding="utf-8")


def test_frames_of_floats(tmp_path: Path) -> None:
    write_films(tmp_path / "films", films=6, dtype="float32", heads=1)
    made = experiment.fit(whole_films(tmp_path / "films", epochs=1), tmp_path / "run", QUIET)
    assert made.labels == ("cat_0",)
    assert made.read_json("metrics.json")["test"]["accuracy"]["value"] >= 0


def test_timelines_are_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = experiment.fit(tiny(write_moving_dots(tmp_path / "dots"), epochs=1), tmp_path / "run", QUIET)
    assert main(["predict", str(made.folder), str(tmp_path / "dots" / "left"), "--timelines", str(tmp_path)]) == 2
    assert "this run has none" in capsys.readouterr().err
