"""From films without labels to errors, anomalies and pictures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import RunConfig
from unreel.data import AugmentConfig, SamplingConfig, SplitConfig
from unreel.errors import ConfigError
from unreel.inference import intervals
from unreel.models import AutoencoderConfig
from unreel.reports.reconstructions import FOLDER

from anomalous_films import SIDE, write_films  # isort: skip
from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def autoencoding(folder: Path, epochs: int, **data: object) -> RunConfig:
    config = tiny(folder, epochs, sampling=SamplingConfig("all"), augment=AugmentConfig(), **data)
    preprocess = replace(config.data.preprocess, size=(SIDE, SIDE))
    model = AutoencoderConfig(channels=(4, 4), hidden=4)
    return replace(config, task="reconstruct", data=replace(config.data, preprocess=preprocess), model=model)


def test_anomalies_are_found_without_having_been_learned(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films")
    config = autoencoding(films, epochs=12)
    config = replace(config, training=replace(config.training, control=True))
    run = experiment.fit(config, tmp_path / "run", QUIET)
    numbers = run.read_json("metrics.json")
    assert numbers["test"].keys() == {"mse", "psnr", "auc", "ap"}
    assert numbers["controls"].keys() == {"mean_frame", "previous_frame", "per_frame_cnn"}
    assert numbers["n_test"] == 4 * 24
    assert numbers["test"]["auc"]["value"] > 0.95
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    errors, truth = (np.concatenate([row[name] for row in rows]) for name in ("errors", "truth"))
    assert numbers["test"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, errors), abs=1e-6)
    assert numbers["test"]["mse"]["value"] == pytest.approx(errors[truth == 0].mean(), rel=1e-5)

    # the frame before, by hand
    normal, first = [], []
    for row in rows:
        pixels = np.load(films / row["file"]).astype(float) / 255
        error = ((pixels[1:] - pixels[:-1]) ** 2).mean((1, 2, 3))
        normal += error[np.array(row["truth"][1:]) == 0].tolist()
        first.append(row)
    # the first frame of each film is held against the mean frame
    count = int((truth == 0).sum())
    rest = numbers["controls"]["previous_frame"]["mse"]["value"] * count - sum(normal)
    mean = numbers["controls"]["mean_frame"]["mse"]["value"]
    assert 0.5 * mean < rest / len(first) < 2 * mean

    [row] = inference.predict(run, [films / "0.npy"])
    assert row.keys() == {"file", "start", "end", "times", "errors"}
    assert len(row["errors"]) == 24
    assert main(["predict", str(run.folder), str(films / "0.npy"), "--timelines", str(tmp_path / "drawn")]) == 0
    with Image.open(tmp_path / "drawn" / "0.npy.png") as drawn:
        assert np.asarray(drawn.convert("L")).std() > 5
    pictures = sorted((run.folder / FOLDER).glob("*.png"))
    assert [path.name for path in pictures] == ["0.png", "1.png", "2.png", "3.png"]
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count('class="reconstruction"') == 4
    assert "AUC of frames" in page
    with Image.open(io.BytesIO(pictures[0].read_bytes())) as picture:
        assert np.asarray(picture).std() > 10


def test_a_folder_of_films_without_any_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = write_films(tmp_path / "films", labels=False)
    config = autoencoding(films, epochs=1)
    run = experiment.fit(config, tmp_path / "run", QUIET)
    numbers = run.read_json("metrics.json")
    assert np.isfinite(numbers["test"]["mse"]["value"])
    assert numbers["test"]["auc"] == {"value": None, "low": None, "high": None}  # JSON knows no nan
    assert "auc" not in experiment.headline(run.folder)
    assert (run.folder / "report.html").is_file()
    with (run.folder / "manifest.csv").open() as file:
        assert "label" not in next(csv.reader(file))
    measured = inference.evaluate(run, write_films(tmp_path / "others"))
    assert np.isfinite(measured.measures["auc"].value)


@pytest.mark.parametrize("way", ["recompute", "truncated"])
def test_films_that_are_read_chunk_by_chunk(tmp_path: Path, way: str) -> None:
    films = write_films(tmp_path / "films", train=4, test=2)
    config = autoencoding(films, epochs=1, batch_size=1)
    config = replace(config, training=replace(config.training, through_time=way, chunk=7))
    run = experiment.fit(config, tmp_path / "run", QUIET)
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    model = run.trained_task().model
    for row in rows:
        with torch.inference_mode():
            whole, _ = model(torch.from_numpy(np.load(films / row["file"])).unsqueeze(0))
        torch.testing.assert_close(torch.tensor(row["errors"]), whole[0, :, 0], rtol=1e-4, atol=1e-6)
    assert len(list((run.folder / FOLDER).glob("*.png"))) == 2


def test_task_and_model_belong_together(tmp_path: Path) -> None:
    config = autoencoding(tmp_path, epochs=1)
    for wrong in ({"task": "tag"}, {"model": tiny(tmp_path).model}):
        with pytest.raises(ConfigError, match="belong together"):
            replace(config, **wrong)
    with pytest.raises(ConfigError, match="no classes to balance"):
        replace(config, data=replace(config.data, balance="loss"))
    assert config.data.split == SplitConfig(val=0.25, test=0.25)
