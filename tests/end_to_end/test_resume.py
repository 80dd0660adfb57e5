"""A run that was stopped or killed, and went on, equals an undisturbed one bit for bit."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from rich.console import Console
from safetensors.torch import load_file

from unreel import experiment
from unreel.config import RunConfig, to_yaml
from unreel.errors import RunError
from unreel.runs import Run
from unreel.training import StoppedError, checkpoints, fitting

from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


class StopAfter(Callback):
    """Sends this process a SIGINT in the middle of the given step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step + 1 == self.step:
            os.kill(os.getpid(), signal.SIGINT)


class Terminate(Checkpoint):
    """Sends this process a SIGTERM between steps, once so many are done. As a Checkpoint it is called last."""

    def __init__(self, where: str, done: int) -> None:
        self.where, self.done = where, done

    def _at(self, where: str, trainer: Trainer) -> None:
        if (where, trainer.global_step) == (self.where, self.done):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_fit_start(self, trainer, pl_module) -> None:
        self._at("before", trainer)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        if batch_idx == 0:
            self._at("validation", trainer)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self._at("behind the epoch", trainer)


def fit_with(callback: Callback, config: RunConfig, folder: Path, patch: pytest.MonkeyPatch) -> None:
    build = fitting.build_trainer

    def build_stopping(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.append(callback)
        return trainer

    with patch.context() as patched:
        patched.setattr(fitting, "build_trainer", build_stopping)
        experiment.fit(config, folder, QUIET)


def assert_same_run(one: Path, two: Path) -> None:
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        first, second = load_file(one / name), load_file(two / name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), f"{name}: {key}"
    kept = ("epoch", "step", "lr", "val_loss", "val_accuracy")
    first, second = (list(csv.DictReader((folder / "history.csv").read_text().splitlines())) for folder in (one, two))
    assert [[row[key] for key in kept] for row in first] == [[row[key] for key in kept] for row in second]
    assert (one / "predictions.jsonl").read_text() == (two / "predictions.jsonl").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    from conftest import write_moving_dots

    folder = tmp_path_factory.mktemp("undisturbed")
    config = tiny(write_moving_dots(folder / "dots"), epochs=2)
    experiment.fit(config, folder / "run", QUIET)
    return config, folder / "run"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 3, 4, 5])
def test_stopping_and_resuming_changes_no_bit(
    undisturbed: tuple[RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, workers: int
) -> None:
    config, reference = undisturbed
    config = replace(config, data=replace(config.data, workers=workers))
    with pytest.raises(StoppedError, match=f"stopped by SIGINT after step {step}"):
        fit_with(StopAfter(step), config, tmp_path / "run", monkeypatch)
    experiment.resume(tmp_path / "run", QUIET)
    assert_same_run(reference, tmp_path / "run")


@pytest.mark.parametrize(
    ("where", "done", "told"),
    [
        ("before", 0, "before its first step; nothing is lost"),
        ("validation", 3, "after step 3; the state is saved"),
        ("behind the epoch", 3, "after step 4; the state is saved"),
        ("behind the epoch", 6, "after step 6; the state is saved"),
    ],
)
def test_a_signal_between_steps_loses_nothing_either(
    undisturbed: tuple[RunConfig, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    done: int,
    told: str,
) -> None:
    """Lightning answers SIGTERM there by ending the process with exit code 0, in silence."""
    config, reference = undisturbed
    with pytest.raises(StoppedError, match=f"stopped by SIGTERM {told}"):
        fit_with(Terminate(where, done), config, tmp_path / "run", monkeypatch)
    experiment.resume(tmp_path / "run", QUIET)
    assert_same_run(reference, tmp_path / "run")


def begin(config: RunConfig, folder: Path, **how: Any) -> subprocess.Popen[str]:
    """A process that trains in folder/run, and has saved its first checkpoint."""
    (folder / "config.yaml").write_text(to_yaml(config))
    command = [sys.executable, "-m", "unreel", "train", "--config", str(folder / "config.yaml"), "--out"]
    process = subprocess.Popen(
        [*command, str(folder / "run")],
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **how,
    )
    deadline = time.monotonic() + 120
    while not (folder / "run" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_a_killed_process_goes_on(undisturbed: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, reference = undisturbed
    process = begin(config, tmp_path, stderr=subprocess.DEVNULL)
    process.kill()
    process.wait()
    experiment.resume(tmp_path / "run", QUIET)
    assert_same_run(reference, tmp_path / "run")


def test_a_signal_to_the_whole_group_stops_as_one_to_the_process(
    undisturbed: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    """As `timeout`, Ctrl-C and job schedulers send it."""
    config = tiny(Path(undisturbed[0].data.path), epochs=10_000, workers=2)
    process = begin(config, tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        told = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert "stopped by SIGTERM after step" in " ".join(told.split()), told
    assert process.returncode == 130


def test_workers_change_nothing(undisturbed: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, reference = undisturbed
    experiment.fit(replace(config, data=replace(config.data, workers=2)), tmp_path / "run", QUIET)
    first, second = (load_file(Run.load(folder).weights) for folder in (reference, tmp_path / "run"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_of_another_version_is_refused_before_it_is_touched(
    undisturbed: tuple[RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = undisturbed
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "FORMAT", "1")
        with pytest.raises(StoppedError):
            fit_with(StopAfter(4), config, tmp_path / "run", patched)
    monkeypatch.setattr(fitting, "build_dataset", None)  # nothing is read
    with pytest.raises(RunError, match="of format 2, got 1"):
        experiment.resume(tmp_path / "run", QUIET)
