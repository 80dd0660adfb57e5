"""Two processes train together on a CPU: every clip is learned from once, and measured once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = ["--size", "[8,8]", "--batch-size", "4", "--model.encoder.channels", "[4]", "--workers", "0"]
HARDWARE = ["--training.accelerator", "cpu", "--training.devices", "2", "--training.strategy", "ddp"]


def test_two_processes_train_together(moving_dots: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unreel", "train", str(moving_dots), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, *SETTINGS, *HARDWARE, "--epochs", "1"],
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


def alive(group: int) -> bool:
    """Whether a process of the group is still there after a while."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def test_a_signal_to_one_process_stops_both_after_the_same_step(moving_dots: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "unreel", "train", str(moving_dots), "--out", str(run)]
    process = subprocess.Popen(
        [*command, *SETTINGS, *HARDWARE, "--epochs", "10000"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "stopped by SIGTERM after step" in " ".join(told.split()), told
    assert "Traceback" not in told, told
    assert process.returncode == 130
    assert told.count("stopped by") == 1, told
    assert not alive(process.pid)
