"""From tables of numbers to answers: of each frame, of steps of their own, of the whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from unreel import experiment, inference
from unreel.config import RunConfig
from unreel.data import SamplingConfig
from unreel.errors import ConfigError
from unreel.inference import intervals
from unreel.models import SequenceRNNConfig
from unreel.tasks import OptimConfig

from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def write(folder: Path, answers: str, count: int = 24) -> Path:
    """Tables of two columns, 6 to 9 rows; the answer of a frame is the sum so far of the first column."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        frames = generator.choice([-1.0, 1.0], (6 + index % 4, 2))
        np.savetxt(folder / f"{index}.csv", frames, delimiter=",", header="x,noise", comments="")
        sums = frames[:, 0].cumsum()
        if answers == "table":
            np.savetxt(folder / f"{index}-y.csv", np.stack([sums, -sums], 1), delimiter=",", header="u,v", comments="")
            rows.append(f"{index}-y.csv")
        elif answers == "steps":
            rows.append(";".join(str(sums[-1] * step) for step in (1, 2, 3)))
        else:
            rows.append("up" if sums[-1] > 0 else "down")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label" if answers != "steps" else "labels"])
        writer.writerows([f"{index}.csv", row] for index, row in enumerate(rows))
    return folder


def sequences(path: Path, task: str, epochs: int, **model: object) -> RunConfig:
    config = tiny(path, epochs, sampling=SamplingConfig("all"))
    config = replace(config, task=task, model=SequenceRNNConfig(hidden_size=16, **model))  # type: ignore[arg-type]
    training = replace(config.training, control=True)
    return replace(config, optim=OptimConfig(lr=0.02), training=training)


def stored(folder: Path) -> list[dict[str, Sequence[float]]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_numbers_of_each_frame(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "table")
    (data / "7-y.csv").write_text("1,2\n")  # one row for several frames
    run = experiment.fit(sequences(data, "trace", epochs=25), tmp_path / "run", QUIET)
    numbers = run.read_json("metrics.json")
    assert run.labels == ("value_0", "value_1")
    assert numbers["controls"].keys() == {"mean", "perceptron"}
    assert numbers["test"]["mae"]["value"] < 0.6 * numbers["controls"]["perceptron"]["mae"]["value"]
    assert "7.csv,expected numbers for each of 9 frames" in (run.folder / "left_out.csv").read_text().replace('"', "")
    truth = np.concatenate([row["truth"] for row in stored(run.folder)])
    np.testing.assert_array_equal(truth[:, 0], -truth[:, 1])
    assert numbers["n_test"] == len(truth)
    [row] = inference.predict(run, [data / "0.csv"])
    frames = np.loadtxt(data / "0.csv", delimiter=",", skiprows=1)
    assert row["times"] == list(range(len(frames)))
    assert np.shape(row["values"]) == (len(frames), 2)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Numbers over time" in page
    again = inference.evaluate(run, data)
    assert again.n > numbers["n_test"]


def test_steps_of_their_own(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "steps")
    config = sequences(data, "sequence", epochs=25, recurrence="gru", output_length=3)
    run = experiment.fit(config, tmp_path / "run", QUIET)
    numbers = run.read_json("metrics.json")
    assert numbers["n_test"] == 3 * len(run.splits().test)
    assert numbers["test"]["mae"]["value"] < numbers["controls"]["mean"]["mae"]["value"]
    [row] = inference.predict(run, [data / "0.csv"])
    assert np.shape(row["values"]) == (3, 1)
    assert "Numbers over time" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_one_answer_a_sequence(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "classes")
    run = experiment.fit(sequences(data, "classify", epochs=20, bidirectional=True), tmp_path / "run", QUIET)
    assert run.labels == ("down", "up")
    assert run.read_json("metrics.json")["controls"].keys() == {"majority", "perceptron"}
    # the manifest is no clip
    assert len(list(inference.predict(run, [data]))) == 24


def test_the_task_sequence_needs_a_decoder(tmp_path: Path) -> None:
    for wrong in ({"task": "trace", "output_length": 3}, {"task": "sequence"}):
        with pytest.raises(ConfigError, match="output_length"):
            sequences(tmp_path, epochs=1, **wrong)  # type: ignore[arg-type]
