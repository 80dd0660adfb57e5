"""From an .npz of labelled images to a measured run, at the command line: official sides, memory, the control."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from unreel.cli import main
from unreel.runs import Run

SETTINGS = [
    *("--model.name", "image_rnn", "--model.channels", "4", "--model.hidden_size", "8", "--size", "[8,8]"),
    *("--data.preprocess.channels", "grey", "--data.augment.shift", "0.125", "--batch-size", "16", "--epochs", "12"),
    *("--optim.lr", "0.02", "--training.accelerator", "cpu"),
]


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of lying and of standing stripes."""
    generator = np.random.default_rng(0)
    images = {}
    for side, count in (("train", 80), ("test", 24)):
        labels = np.arange(count) % 2
        lying = np.where(np.arange(8) % 4 < 2, 220, 30)[None, :, None].repeat(8, 2)
        clean = np.where(labels[:, None, None] == 0, lying, lying.transpose(0, 2, 1))
        images[f"x_{side}"] = (clean + generator.integers(-25, 25, clean.shape)).astype(np.uint8)
        images[f"y_{side}"] = labels
    path = tmp_path_factory.mktemp("images") / "stripes.npz"
    np.savez_compressed(path, **images)
    return path


@pytest.fixture(scope="module")
def run(stripes: Path) -> Path:
    out = stripes.parent / "run"
    assert main(["train", str(stripes), "--out", str(out), *SETTINGS, "--data.cache", "memory"]) == 0
    return out


def test_it_learns_and_is_measured_on_the_official_side(run: Path, stripes: Path) -> None:
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["test"]["accuracy"]["value"] > 0.9
    assert numbers["controls"].keys() == {"majority", "plain_cnn"}
    splits = Run.load(run).splits()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (68, 12, 24)
    assert {example.path.split("/")[0] for example in splits.test} == {"stripes.npz!x_test"}
    assert Run.load(run / "control").config.model == Run.load(run).config.model.control()


def test_frames_in_memory_change_nothing(run: Path, stripes: Path, tmp_path: Path) -> None:
    more = ["--data.workers", "1", "--training.control", "false"]
    assert main(["train", str(stripes), "--out", str(tmp_path / "other"), *SETTINGS, *more]) == 0
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (run, tmp_path / "other"))
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_one_image_of_many_is_predicted(run: Path, stripes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["predict", str(run), f"{stripes}!x_test/3", f"{stripes}!x_test/99"]) == 0
    row, failed = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (row["file"], row["label"]) == (f"{stripes}!x_test/3", "1")
    assert failed["error"] == "expected a number from 0 to 23, there is no 99"
