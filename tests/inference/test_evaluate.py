"""The numbers of an evaluation follow from its rows, whatever batches, workers and verbs they came through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from unreel import experiment, inference
from unreel.data import SamplingConfig
from unreel.errors import ConfigError, ManifestError, RunError
from unreel.inference.evaluate import evaluate_constant, judge
from unreel.models import CNNRNNConfig
from unreel.runs import Run
from unreel.tasks import Classify

from conftest import write_moving_dots  # isort: skip
from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_dots(tmp_path_factory.mktemp("inference") / "dots")


@pytest.fixture(scope="module")
def run(dots: Path) -> Run:
    return experiment.fit(tiny(dots, epochs=2), dots.parent / "run", QUIET)


def with_data(run: Run, **settings: object) -> Run:
    return replace(run, config=replace(run.config, data=replace(run.config.data, **settings)))


def scores_of(rows: Sequence[dict]) -> np.ndarray:
    return np.array([list(row["scores"].values()) for row in rows])


def test_the_numbers_follow_from_the_rows(run: Run, dots: Path) -> None:
    measured = inference.evaluate(run, dots)
    truth, said = ([row[key] for row in measured.rows] for key in ("truth", "label"))
    labels = list(run.labels)
    assert measured.n == len(measured.rows) == 24
    assert 0 < accuracy_score(truth, said) < 1, "a constant or perfect answer would prove little"
    assert measured.measures["accuracy"].value == pytest.approx(accuracy_score(truth, said))
    assert measured.measures["macro_f1"].value == pytest.approx(f1_score(truth, said, average="macro"))
    right = [row["scores"]["right"] for row in measured.rows]
    assert measured.measures["auroc"].value == pytest.approx(roc_auc_score([name == "right" for name in truth], right))
    assert measured.confusion == confusion_matrix(truth, said, labels=labels).tolist()
    columns = precision_recall_fscore_support(truth, said, labels=labels, zero_division=0)
    assert measured.per_class is not None
    for row, label, precision, recall, f1, n in zip(measured.per_class, labels, *columns, strict=True):
        assert (row["label"], row["n"]) == (label, n)
        assert (row["precision"] or {"value": 0})["value"] == pytest.approx(precision)  # None: never said
        assert row["recall"]["value"] == pytest.approx(recall)
        assert row["f1"]["value"] == pytest.approx(f1)
    assert json.loads(json.dumps(measured.to_json()))["n_test"] == 24
    assert str(measured).startswith(f"accuracy {measured.measures['accuracy']}, ")
    assert str(measured).endswith("(n = 24)")


def test_three_classes_of_which_one_is_never_said() -> None:
    truth = torch.tensor([0, 1, 2, 1])
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    task = Classify(torch.nn.Identity(), ("a", "b", "c"))
    measured = judge(task, scores, truth, list("wxyz"), torch.arange(4), [], {})
    assert measured.confusion == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert measured.per_class is not None
    assert [row["precision"] and row["precision"]["value"] for row in measured.per_class] == [0.5, 0.5, None]
    assert [row["recall"]["value"] for row in measured.per_class] == [1.0, 0.5, 0.0]
    assert measured.per_class[2]["f1"] == {"value": 0.0}


def test_the_control_says_what_is_most_frequent(run: Run) -> None:
    measured = inference.evaluate(run)
    splits = run.splits()
    constant = evaluate_constant(run, splits.train, measured)
    counts = {label: sum(example.labels[0] == label for example in splits.train) for label in run.labels}
    assert constant.scores[0].tolist() == pytest.approx([counts[label] / len(splits.train) for label in run.labels])
    majority = max(counts, key=counts.__getitem__)
    truth = [row["truth"] for row in measured.rows]
    assert constant.measures["accuracy"].value == pytest.approx(truth.count(majority) / len(truth))
    assert constant.measures["auroc"].value == 0.5
    assert torch.equal(constant.truth, measured.truth)


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 5}, {"batch_size": 24, "workers": 2}])
def test_batches_and_workers_change_nothing(run: Run, dots: Path, settings: dict[str, int]) -> None:
    reference, other = inference.evaluate(run, dots), inference.evaluate(with_data(run, **settings), dots)
    assert [row["file"] for row in other.rows] == [row["file"] for row in reference.rows]
    np.testing.assert_allclose(scores_of(other.rows), scores_of(reference.rows), rtol=0, atol=1e-6)


def test_predict_says_what_evaluate_says(run: Run, dots: Path) -> None:
    measured = inference.evaluate(run)
    predicted = list(inference.predict(run, [dots / row["file"] for row in measured.rows]))
    assert [row["file"] for row in predicted] == [str(dots / row["file"]) for row in measured.rows]
    assert [row["label"] for row in predicted] == [row["label"] for row in measured.rows]
    np.testing.assert_allclose(scores_of(predicted), scores_of(measured.rows), rtol=0, atol=1e-6)


def test_the_stored_rows_are_those_of_the_test_side(run: Run) -> None:
    stored = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert stored == inference.evaluate(run).rows
    assert {row["file"] for row in stored} == {example.path for example in run.splits().test}


def test_a_part_of_a_file_is_measured_by_itself(run: Run, dots: Path, tmp_path: Path) -> None:
    whole = np.load(dots / "left" / "s00_0.npy")
    np.save(tmp_path / "cut.npy", whole[2:5])
    shutil.copy(dots / "left" / "s00_0.npy", tmp_path / "whole.npy")
    [row] = inference.predict(run, [tmp_path / "whole.npy"])
    times = [2.0, 5.0]
    (tmp_path / "m.csv").write_text("path,label,start,end\nwhole.npy,left,{},{}\ncut.npy,left,,\n".format(*times))
    part, cut = inference.evaluate(run, tmp_path / "m.csv").rows
    assert (part["start"], part["end"], cut["start"], cut["end"]) == (2.0, 5.0, None, None)
    assert list(part["scores"].values()) == pytest.approx(list(cut["scores"].values()), abs=1e-6)
    assert list(part["scores"].values()) != pytest.approx(list(row["scores"].values()), abs=1e-6)


def test_files_that_cannot_be_read_are_told(run: Run, dots: Path, tmp_path: Path) -> None:
    shutil.copytree(dots, tmp_path / "data")
    (tmp_path / "data" / "left" / "s00_0.npy").write_bytes(b"torn")
    measured = inference.evaluate(run, tmp_path / "data")
    assert list(measured.left_out) == ["left/s00_0.npy"]
    assert measured.n == len(measured.rows) == 23
    for path in (tmp_path / "data").rglob("*.npy"):
        path.write_bytes(b"torn")
    with pytest.raises(ConfigError, match="nothing to measure on: 24 clips, 24 of them unreadable"):
        inference.evaluate(run, tmp_path / "data")


def test_labels_that_the_run_does_not_know_are_refused(run: Run, dots: Path, tmp_path: Path) -> None:
    shutil.copytree(dots / "left", tmp_path / "left")
    shutil.copytree(dots / "right", tmp_path / "up")
    with pytest.raises(ManifestError, match=r"labels that the run knows, \['left', 'right'\].*also has \['up'\]"):
        inference.evaluate(run, tmp_path)


def test_a_run_without_weights_says_so(run: Run, dots: Path, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"no weights yet; finish it with `unreel train --resume .*run`"):
        inference.evaluate(Run.load(tmp_path / "run"))
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match="does not hold the weights"):
        next(inference.predict(Run.load(tmp_path / "run"), [dots / "left" / "s00_0.npy"]))


def test_a_run_of_another_model_does_not_fit(run: Run, tmp_path: Path) -> None:
    other = replace(run, config=replace(run.config, model=CNNRNNConfig(hidden_size=16)))
    with pytest.raises(RunError, match="does not hold the weights of this run's model"):
        other.trained_task()


@pytest.mark.parametrize(("length", "frames", "stride"), [(23, 4, 1), (24, 4, 2), (3, 4, 1), (8, 4, 1), (9, 4, 2)])
def test_windows_tile_a_long_file(run: Run, tmp_path: Path, length: int, frames: int, stride: int) -> None:
    np.save(tmp_path / "long.npy", np.zeros((length, 1, 8, 8), dtype=np.uint8))
    windowed = with_data(run, sampling=SamplingConfig("window", frames=frames, stride=stride))
    rows = list(inference.predict(windowed, [tmp_path / "long.npy"]))
    starts, ends = [row["start"] for row in rows], [row["end"] for row in rows]
    assert starts[0] == 0
    assert starts == sorted(set(starts))
    assert all(end is None or end > start for start, end in zip(starts, ends, strict=True))
    assert all(end is None or following <= end for following, end in zip(starts[1:], ends[:-1], strict=True)), (
        "a gap between windows"
    )
    assert ends[-1] is None, "the last window ends with the file"


def test_each_window_is_what_the_cut_file_gives(run: Run, dots: Path, tmp_path: Path) -> None:
    clip = np.concatenate([np.load(path) for path in sorted((dots / "left").glob("*.npy"))[:3]])
    np.save(tmp_path / "long.npy", clip)
    windowed = with_data(run, sampling=SamplingConfig("window", frames=4))
    rows = list(inference.predict(windowed, [tmp_path / "long.npy"]))
    assert len(rows) == -(-len(clip) // 4)
    for index, row in enumerate(rows):
        start = int(row["start"])
        np.save(tmp_path / f"cut{index}.npy", clip[start : start + 4])
        [cut] = inference.predict(windowed, [tmp_path / f"cut{index}.npy"])
        assert list(cut["scores"].values()) == pytest.approx(list(row["scores"].values()), abs=1e-6)


def test_broken_files_among_windows(run: Run, dots: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.npy").write_bytes(b"torn")
    windowed = with_data(run, sampling=SamplingConfig("window", frames=4))
    rows = list(inference.predict(windowed, [tmp_path / "torn.npy", dots / "left" / "s00_0.npy"]))
    assert rows[-1]["file"] == str(tmp_path / "torn.npy")
    assert rows[-1].keys() == {"file", "error"}
    assert {row["file"] for row in rows[:-1]} == {str(dots / "left" / "s00_0.npy")}
