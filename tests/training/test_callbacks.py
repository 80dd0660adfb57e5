"""What stands beside the training steps, without training: values come from a stand-in for Lightning's Trainer."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from safetensors.torch import load_file

from unreel.clip import ClipBatch, LongClip
from unreel.training.callbacks import (
    History,
    KeepWeights,
    ListLeftOut,
    ProgressBar,
    SeedEveryStep,
)


class Weight(LightningModule):
    """Remembers in its weight which epoch it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))


def trainer_at(epoch: int, **values: float) -> Trainer:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1 / (1 + epoch)}])
    state: dict[str, Any] = {
        "callback_metrics": {name: torch.tensor(value) for name, value in values.items()},
        "current_epoch": epoch,
        "global_step": 10 * epoch,
        "global_rank": 0,
        "is_global_zero": True,
        "is_last_batch": False,
        "optimizers": [optimizer],
    }
    return cast(Trainer, SimpleNamespace(**state))


def kept(
    path: Path, values: list[float], mode: Literal["min", "max"] = "max", keep: Literal["best", "last"] = "best"
) -> tuple[KeepWeights, int]:
    """The callback after such values of validation, and the epoch whose weights lie in the file."""
    callback, module = KeepWeights(path, keep, "val_x", mode), Weight()
    for epoch, value in enumerate(values):
        with torch.no_grad():
            module.weight.fill_(epoch)
        callback.on_train_epoch_end(trainer_at(epoch, val_x=value), module)
    return callback, int(load_file(path)["weight"])


@pytest.mark.parametrize(
    ("values", "mode", "epoch"),
    [
        ([0.1, 0.3, 0.2], "max", 1),
        ([0.1, 0.3, 0.2], "min", 0),
        ([0.5, 0.7, 0.7, 0.6], "max", 2),
        ([0.7, 0.5, 0.5, 0.6], "min", 2),
        ([0.0, 0.0, 0.0], "max", 2),
        ([math.nan, 0.2, 0.1], "max", 1),
        ([math.nan, 0.2, 0.1], "min", 2),
        ([0.2, math.nan, 0.1], "max", 0),
        ([math.nan, math.nan], "max", 0),
        ([0.0, -1.0], "max", 0),
    ],
)
def test_the_last_of_the_best_is_kept(
    tmp_path: Path, values: list[float], mode: Literal["min", "max"], epoch: int
) -> None:
    callback, written = kept(tmp_path / "w.safetensors", values, mode)
    assert callback.epoch == written == epoch
    assert callback.best == (None if math.isnan(values[epoch]) else pytest.approx(values[epoch]))


def test_the_last_is_kept_where_asked_for(tmp_path: Path) -> None:
    callback, written = kept(tmp_path / "w.safetensors", [0.9, 0.1, 0.5], keep="last")
    assert callback.epoch == written == 2


def test_the_last_is_kept_without_any_validation(tmp_path: Path) -> None:
    callback = KeepWeights(tmp_path / "w.safetensors", "last", "val_x", "max")
    callback.on_train_epoch_end(trainer_at(0), Weight())
    assert (callback.epoch, callback.best) == (0, None)
    assert (tmp_path / "w.safetensors").is_file()


def test_the_best_so_far_outlives_a_resume(tmp_path: Path) -> None:
    first, _ = kept(tmp_path / "w.safetensors", [0.1, 0.8])
    second = KeepWeights(tmp_path / "w.safetensors", "best", "val_x", "max")
    second.load_state_dict(first.state_dict())
    second.on_train_epoch_end(trainer_at(2, val_x=0.7), Weight())
    assert second.epoch == 1
    assert int(load_file(tmp_path / "w.safetensors")["weight"]) == 1
    second.on_train_epoch_end(trainer_at(3, val_x=0.9), Weight())
    assert second.epoch == 3


def test_history_is_whole_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    first = History(path)
    first.on_train_epoch_start(trainer_at(0), Weight())
    first.on_train_epoch_end(trainer_at(0, train_loss=0.7, val_loss=0.6), Weight())
    path.unlink()
    second = History(path)
    second.load_state_dict(first.state_dict())
    second.on_train_epoch_end(trainer_at(1, train_loss=0.5, val_loss=math.nan), Weight())
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "step", "lr", "seconds", "train_loss", "val_loss"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["lr"]) for row in rows] == [0.1, 0.05]
    assert [float(row["train_loss"]) for row in rows] == pytest.approx([0.7, 0.5])
    assert math.isnan(float(rows[1]["val_loss"]))
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_draws_of_a_step_depend_on_seed_and_step_alone() -> None:
    def draw(seed: int, step: int, rank: int = 0) -> float:
        torch.rand(3)
        trainer = SimpleNamespace(fit_loop=SimpleNamespace(total_batch_idx=step), global_rank=rank)
        SeedEveryStep(seed).on_train_batch_start(cast(Trainer, trainer), Weight(), None, 0)
        return float(torch.rand(()))

    assert draw(0, 5) == draw(0, 5)
    assert len({draw(0, 5), draw(0, 6), draw(1, 5), draw(0, 5, rank=1)}) == 4


def test_files_left_out_are_listed_before_each_save() -> None:
    written: list[dict[str, str]] = []
    loaders = [SimpleNamespace(left_out={"a.mp4": "torn"}), SimpleNamespace(left_out={})]
    callback = ListLeftOut(lambda left_out: written.append(dict(left_out)), cast(Any, loaders))
    callback.on_save_checkpoint(trainer_at(0), Weight(), {})
    loaders[1].left_out["b.mp4"] = "empty"
    callback.on_save_checkpoint(trainer_at(1), Weight(), {})
    assert written == [{"a.mp4": "torn"}, {"a.mp4": "torn", "b.mp4": "empty"}]


def test_the_bar_follows_the_chunks_of_a_long_clip() -> None:
    bar = ProgressBar(Console(file=io.StringIO(), force_terminal=True), "run", "val_x")
    module = SimpleNamespace(total_steps=20)
    trainer = trainer_at(1)
    trainer.accumulate_grad_batches = 1
    bar.on_train_start(trainer, cast(LightningModule, module))
    assert bar.bar is not None
    shown = bar.bar.tasks[0]
    times = torch.arange(8, dtype=torch.float64)[None]
    whole = ClipBatch(torch.empty(1, 8, 0), torch.tensor([8]), times, ("film [1]",))
    clip = LongClip(whole, 2, lambda index: torch.zeros(2, 1))
    bar.on_train_batch_start(trainer, cast(LightningModule, module), clip, 0)
    seen = []
    for index in (0, 1, 2, 3, 3, 2, 1, 0):
        clip.to("cpu").read(index)
        seen.append((shown.completed, shown.description))
    assert [completed for completed, _ in seen] == [10 + place / 8 for place in range(1, 9)]
    assert seen[5][1] == "run  film [1] 3/4"
    trainer.global_step = 11
    bar.on_train_batch_end(trainer, cast(LightningModule, module), None, clip, 0)
    assert (shown.completed, shown.description) == (11, "run")
    bar.on_validation_batch_start(trainer, cast(LightningModule, module), clip, 0)
    bar.teardown(trainer, cast(LightningModule, module), "fit")
