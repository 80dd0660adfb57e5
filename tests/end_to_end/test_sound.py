"""The road of sound: from class folders, tables and labels in time to numbers, report, rows and timelines."""

from __future__ import annotations

import csv
import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import (
    AugmentConfig,
    ManifestConfig,
    SamplingConfig,
    SoundAugmentConfig,
    SoundConfig,
    SplitConfig,
    load,
    split,
)
from unreel.data.readers import open_source
from unreel.inference import intervals
from unreel.models import CRDNNConfig
from unreel.runs import Run
from unreel.tasks import OptimConfig

from sounds import RATE, chirp, write_chirps, write_events, write_sound  # isort: skip

QUIET = Console(quiet=True)
STRONG = AugmentConfig(
    sound=SoundAugmentConfig(
        frequency_masks=1, frequency_width=3, time_masks=1, time_width=0.05, shift=0.03, noise=(15.0, 40.0)
    )
)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def heard(path: Path, epochs: int = 8, model: CRDNNConfig | None = None, **data: object) -> RunConfig:
    settings = DataConfig(
        path=str(path),
        split=SplitConfig(val=0.25, test=0.25),
        sampling=SamplingConfig("all"),
        sound=SoundConfig(sample_rate=RATE, window=32.0, hop=16.0, mels=20),
        batch_size=4,
        workers=0,
    )
    small = CRDNNConfig(channels=(6, 8), pools=(2, 3), hidden_size=10, dense=(), dropout=0.1)
    return RunConfig(
        data=replace(settings, **data),
        model=model or small,
        optim=OptimConfig(lr=1e-2),
        training=TrainingConfig(epochs=epochs, accelerator="cpu", control=False),
    )


@pytest.fixture(scope="module")
def chirps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_chirps(tmp_path_factory.mktemp("sound") / "chirps")
    (folder / "rising" / "broken.mp3").write_bytes(b"no sound")
    with wave.open(str(folder / "falling" / "empty.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    return folder


@pytest.fixture(scope="module")
def run(chirps: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = heard(chirps, augment=STRONG, cache="memory", manifest=ManifestConfig(group_from=r"(s\d\d)_"))
    config = replace(config, training=replace(config.training, control=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        return experiment.fit(config, tmp_path_factory.mktemp("run") / "run", QUIET)


def test_chirps_are_told_apart(run: Run) -> None:
    numbers = run.read_json("metrics.json")
    assert run.frame_shape == (20,)
    assert numbers["test"]["accuracy"]["value"] >= 0.75
    assert numbers["controls"].keys() == {"majority", "per_frame_cnn"}
    assert Run.load(run.folder / "control").config.model == run.config.model.control()
    with (run.folder / "left_out.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {"rising/broken.mp3", "falling/empty.wav"}
    assert "expected" in reasons["falling/empty.wav"]


def test_the_report_shows_spectrograms(run: Run) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert '<div class="frames wide' in page
    assert "No picture" not in page


def test_the_four_verbs(chirps: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(chirps)]) == 0
    assert "rising" in capsys.readouterr().out
    others = write_chirps(tmp_path / "others", clips=8, seed=5)
    assert main(["evaluate", str(run.folder), str(others)]) == 0
    assert json.loads(capsys.readouterr().out)["n_test"] == 8
    (others / "torn.wav").write_bytes(next(others.glob("rising/*.wav")).read_bytes()[:300])
    assert main(["predict", str(run.folder), str(others)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 9
    [torn] = [row["error"] for row in rows if "error" in row]
    assert "cut off" in torn
    right = [row["label"] in row["file"] for row in rows if "label" in row]
    assert sum(right) >= 6


def test_training_does_not_depend_on_where_frames_are_kept(chirps: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("none", "disk", "memory"):
        config = heard(chirps, epochs=1, augment=STRONG, cache=name)
        weights.append(load_file(experiment.fit(config, tmp_path / name, QUIET).weights))
    for other in weights[1:]:
        assert all(torch.equal(other[name], tensor) for name, tensor in weights[0].items())


def test_parts_of_a_recording_from_a_table(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = []
    for tape in range(6):
        parts = [chirp(bool(index % 2), 0.3, generator) for index in range(4)]
        write_sound(tmp_path / f"{tape}.flac", np.concatenate(parts), RATE)
        rows += [f"{tape}.flac,{('falling', 'rising')[i % 2]},{0.3 * i:.1f},{0.3 * (i + 1):.1f}" for i in range(4)]
    (tmp_path / "parts.csv").write_text("path,label,start,end\n" + "\n".join(rows) + "\n")
    run = experiment.fit(heard(tmp_path / "parts.csv", epochs=2), tmp_path / "run", QUIET)
    stored = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert all(row["end"] - row["start"] == pytest.approx(0.3) for row in stored)
    windows = replace(run.config.data, sampling=SamplingConfig("window", frames=10))
    windowed = replace(run, config=replace(run.config, data=windows))
    found = list(inference.predict(windowed, [tmp_path / "0.flac"]))
    assert len(found) == 8
    assert found[1]["start"] == pytest.approx(0.16)


def test_labels_in_the_names_of_files(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(24):
        rising = bool(index % 2)
        name = f"{('falling', 'rising')[rising]}_{('anna', 'ben', 'cleo')[index % 3]}_{index // 6}.wav"
        write_sound(tmp_path / name, chirp(rising, 0.2, generator), RATE)
    by_speaker = ManifestConfig(pattern=r"(?P<label>[a-z]+)_(?P<group>[a-z]+)_")
    tested = [
        {example.group for example in split(load(tmp_path, by_speaker), SplitConfig(val=0.0, folds=3, fold=fold)).test}
        for fold in range(3)
    ]
    assert sorted(tested, key=min) == [{"anna"}, {"ben"}, {"cleo"}]
    by_take = ManifestConfig(pattern=r"(?P<label>[a-z]+)_[a-z]+_(?:(?P<test>[0])|\d)\.wav$")
    run = experiment.fit(heard(tmp_path, epochs=1, manifest=by_take), tmp_path / "takes", QUIET)
    assert {example.path[-5] for example in run.splits().test} == {"0"}


def test_events_in_time(tmp_path: Path) -> None:
    """Tables of start, end, label beside the sounds; both tones may sound at once."""
    folder = write_events(tmp_path / "events")
    model = CRDNNConfig(channels=(6, 8), pools=(2, 3), hidden_size=10, dense=(), dropout=0.0)
    config = replace(heard(folder, 20, model, augment=STRONG, batch_size=2), task="tag")
    run = experiment.fit(config, tmp_path / "run", QUIET)
    assert run.config.task == "multitag"
    assert run.labels == ("high", "low")
    numbers = run.read_json("metrics.json")
    assert numbers["test"]["macro_ap"]["value"] > 0.9
    assert numbers["test"]["macro_f1"]["value"] > 0.8
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert 'id="timelines"' in page
    assert "<image" in page, "the spectrogram above the lanes"
    [row] = inference.predict(run, [folder / "0.wav"])
    assert row["times"] == pytest.approx([0.016 * t for t in range(94)])
    assert main(["predict", str(run.folder), str(folder / "0.wav"), "--out", str(tmp_path / "rows.jsonl")]) == 0
    assert (tmp_path / "rows.timelines" / "0.wav.png").stat().st_size > 5000


def test_a_causal_model_hears_a_long_sound_chunk_by_chunk(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "events", films=6)
    model = CRDNNConfig(channels=(4,), pools=(4,), hidden_size=6, dense=(), dropout=0.0, causal=True)
    config = replace(heard(folder, 1, model, batch_size=2), task="multitag")
    run = experiment.fit(config, tmp_path / "run", QUIET)
    write_sound(tmp_path / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(8 * RATE), RATE)
    [row] = inference.predict(run, [tmp_path / "long.wav"])
    assert len(row["times"]) == 501
    with open_source(tmp_path / "long.wav", run.reading) as source:
        frames = source.read(range(501))
    with torch.inference_mode():
        whole, _ = run.trained_task().model(frames.unsqueeze(0))
    torch.testing.assert_close(
        torch.tensor([row["scores"][label] for label in run.labels]).T, whole[0].sigmoid(), atol=1e-5, rtol=0
    )


def test_long_sounds_are_learnt_chunk_by_chunk(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "events", films=6)
    model = CRDNNConfig(channels=(4,), pools=(4,), hidden_size=6, dense=(), dropout=0.0, causal=True, norm_frames=16)
    config = replace(heard(folder, 1, model, batch_size=1), task="multitag")
    config = replace(config, training=replace(config.training, through_time="recompute", chunk=32))
    numbers = experiment.fit(config, tmp_path / "run", QUIET).read_json("metrics.json")
    assert 0 <= numbers["test"]["macro_ap"]["value"] <= 1
