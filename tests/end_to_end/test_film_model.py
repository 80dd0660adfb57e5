"""ConvLSTMTagger on the whole road, by flags: summary, training in chunks with its control, evaluation, prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unreel.cli import main
from unreel.inference import intervals
from unreel.models import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.runs import Run

from films import write_films  # isort: skip

MODEL = [
    *("--model.name", "conv_lstm_tagger", "--model.channels", "3", "2", "--model.pools", "2", "2"),
    *("--model.head_channels", "2", "--model.dense", "4", "3", "--model.norm_frames", "4", "--model.dropout", "0.1"),
]
SETTINGS = [
    *("--task", "tag", "--epochs", "1", "--batch-size", "1", "--data.sampling.policy", "all", "--workers", "0"),
    *("--training.chunk", "8", "--data.preprocess.size", "8", "8"),
    *("--data.preprocess.channels", "grey", "--training.accelerator", "cpu"),
]


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = main(arguments)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


@pytest.mark.parametrize("way", ["recompute", "truncated"])
def test_from_a_table_to_rows(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 5)
    films = str(write_films(tmp_path / "films"))
    settings = [*MODEL, *SETTINGS, "--training.through_time", way]
    assert "BlockNorm" in command(capsys, "summary", films, *settings)
    command(capsys, "train", films, "--out", str(tmp_path / "run"), *settings)

    run = Run.load(tmp_path / "run")
    assert run.config.model == ConvLSTMTaggerConfig(
        channels=(3, 2), pools=(2, 2), head_channels=2, dense=(4, 3), norm_frames=4, dropout=0.1
    )
    model = run.trained_task().model
    assert isinstance(model, ConvLSTMTagger)
    assert model.frame_shape == (1, 8, 8)
    assert int(model.blocks[0].norm.num_batches_tracked) > 0  # type: ignore[union-attr, arg-type]
    assert Run.load(tmp_path / "run" / "control").config.model == run.config.model.control()
    assert "per_frame_cnn" in run.read_json("metrics.json")["controls"]

    assert json.loads(command(capsys, "evaluate", str(run.folder)))
    (row,) = command(capsys, "predict", str(run.folder), str(tmp_path / "films" / "0.npy")).splitlines()
    said = json.loads(row)
    assert len(said["times"]) == len(said["labels"]) == 9
    frames = torch.zeros(1, 9, 1, 8, 8)
    assert model(frames)[0].shape == (1, 9, 2)
