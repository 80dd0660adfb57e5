"""What happens beside the training steps: randomness, the best weights, files left out, history, progress.

What this file is not: the state of a training is saved by `stopping.py`.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unreel.clip import LongClip
from unreel.data import ClipLoader, FilmLoader
from unreel.training.checkpoints import save_atomically


class SeedEveryStep(Callback):
    """Dropout of a step depends on (seed, step, rank) alone, so that a resumed run draws what the first one drew."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators that this process draws from.

        torch.manual_seed would also note a seed, with a stack trace, for every kind of accelerator that is not there.
        """
        step = trainer.fit_loop.total_batch_idx
        seed = ((self.seed * 1_000_003 + step) * 1_000_003 + trainer.global_rank) % 2**63
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type != "cpu":
            torch.manual_seed(seed)


class KeepWeights(Callback):
    """Writes the module's weights: whenever the monitored value of validation improves, or after every epoch.

    A value of nan is no improvement. Of equal values the last is kept: a model that knows nothing yet may have the same
    value for some epochs, the first of which has learned least.

    Args:
        path: safetensors file.
        keep: "best" or "last".
        monitor: name of a logged value, such as `val_accuracy`.
        mode: whether higher or lower is better.
    """

    def __init__(self, path: Path, keep: Literal["best", "last"], monitor: str, mode: Literal["min", "max"]) -> None:
        self.path, self.keep, self.monitor, self.mode = path, keep, monitor, mode
        self.best: float | None = None
        self.epoch: int | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights if they are to be kept; validation of this epoch is done."""
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        better = self.best is None or (value >= self.best if self.mode == "max" else value <= self.best)
        if self.keep == "last" or self.epoch is None or (better and not math.isnan(value)):
            self.best, self.epoch = (None if math.isnan(value) else value), trainer.current_epoch
            if trainer.is_global_zero:
                save_atomically(pl_module.state_dict(), self.path)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]


class ListLeftOut(Callback):
    """Lists the files that could not be read before each save: a resume may not meet them again.

    Args:
        write: takes path and reason of each.
        loaders: of training and validation.
    """

    def __init__(self, write: Callable[[Mapping[str, str]], None], loaders: Sequence[ClipLoader | FilmLoader]) -> None:
        self.write, self.loaders = write, loaders

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write those that are known by now."""
        left_out = {path: reason for loader in self.loaders for path, reason in loader.left_out.items()}
        if trainer.is_global_zero and left_out:
            self.write(left_out)


class History(Callback):
    """`history.csv`: one row an epoch with every logged value, whole again after a resume.

    Only the `train_loss` of an epoch that was interrupted is the mean over its steps since the resume.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row and write the file."""
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = round(time.monotonic() - self.started, 3)
        epoch = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": rate, "seconds": seconds}
        self.rows.append(epoch | values)
        if trainer.is_global_zero:
            names = dict.fromkeys(name for row in self.rows for name in row)  # some are logged in later epochs alone
            partial = self.path.with_name(f".{self.path.name}.partial")
            with partial.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(names))
                writer.writeheader()
                writer.writerows(self.rows)
            os.replace(partial, self.path)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.rows = state_dict["rows"]


class ProgressBar(Callback):
    """One bar over all epochs with the time left; a line for each finished epoch.

    Args:
        console: where to draw. Without a terminal only the lines appear.
        name: what is being trained.
        monitor: the value of validation that is shown beside the losses. Epochs that have none of these, as those of
            captions' concepts, show all that is logged.
    """

    def __init__(self, console: Console, name: str, monitor: str) -> None:
        self.console, self.name, self.monitor = console, name, monitor
        self.bar: Progress | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar."""
        if not trainer.is_global_zero:
            return
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.bar.add_task(self.name, total=cast(int, pl_module.total_steps), completed=trainer.global_step)
        self.bar.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Follow a long clip, which is read twice in its one step."""
        self._follow(batch, trainer.global_step, 1 / (2 * trainer.accumulate_grad_batches))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, description=self.name)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Follow a long clip; the steps of training stand still meanwhile."""
        self._follow(batch, trainer.global_step, 0.0)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say again what is trained."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], description=self.name)

    def _follow(self, batch: Any, step: int, share: float) -> None:
        """Show each chunk that is read of a long clip; a reading of all of them moves the bar by `share` of a step."""
        bar = self.bar
        if bar is None or not isinstance(batch, LongClip):
            return
        read = count(1)

        def moved(index: int) -> None:
            completed = step + share * next(read) / batch.chunks
            told = f"{self.name}  {batch.key} {index + 1}/{batch.chunks}"
            bar.update(bar.task_ids[0], completed=completed, description=told)

        batch.listeners.append(moved)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line."""
        if trainer.is_global_zero:
            logged = trainer.callback_metrics
            shown = [name for name in ("train_loss", "val_loss", self.monitor) if name in logged] or sorted(logged)
            values = "  ".join(f"{name} {float(logged[name]):.4f}" for name in shown)
            line = f"{self.name}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {values}"
            self.console.print(line, highlight=False, soft_wrap=True)
            if remark := cast(str, pl_module.remark):
                self.console.print(
                    f"{self.name}  {remark}", style="yellow", highlight=False, markup=False, soft_wrap=True
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away, whatever ended the training."""
        if self.bar:
            self.bar.stop()
            self.bar = None
