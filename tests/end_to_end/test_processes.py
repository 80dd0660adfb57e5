"""Two processes train together on a CPU: every clip is learned from once, and measured once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_two_processes_train_together(moving_dots: Path, tmp_path: Path) -> None:
    settings = ["--size", "[8,8]", "--epochs", "1", "--batch-size", "4", "--model.encoder.channels", "[4]"]
    hardware = ["--training.accelerator", "cpu", "--training.devices", "2", "--training.strategy", "ddp"]
    command = [sys.executable, "-m", "unreel", "train", str(moving_dots), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *settings, *hardware, "--workers", "0"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report.html") == 1
    rows = (tmp_path / "run" / "manifest.csv").read_text().splitlines()
    tested = [row for row in rows if row.endswith(",test")]
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == len(tested)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["n_test"] == len(tested)
    assert "per_frame_cnn" in metrics["controls"]
