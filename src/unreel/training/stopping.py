"""Saving the whole state of a training, and stopping it without losing a step.

What this file is not: how the state becomes a file is in `checkpoints.py`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from unreel.errors import UnreelError


class StoppedError(UnreelError):
    """Training was asked to stop, and nothing is lost: its state is saved, or it has made no step yet."""


class _Asked(NamedTuple):
    received: int
    """Number of the signal that came, 0 for none."""
    due: bool
    """Whether it is time to save within an epoch."""


class KeepLast(Checkpoint):
    """Saves all that a resume needs after each epoch, every few minutes within one, and on Ctrl-C or SIGTERM.

    On the first signal the step or the validation under way is finished, the state is saved and `StoppedError` is
    raised; a second signal ends the process at once. Where several processes train together, a signal to one stops all
    of them after the same step.

    Args:
        path: the checkpoint file; it is replaced at once or not at all.
        minutes: time between two saves within an epoch.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.seconds = path, 60 * minutes
        self.saved_at = time.monotonic()
        self.received = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive signals within, and give them back whatever happens (only the main thread may listen).

        No pair of Lightning's hooks could do it: `teardown` is not called after an error, and Lightning then brings
        back the handlers that it found.
        """
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen in place of Lightning, which has come between and would end the process on SIGTERM with exit code 0:
        in the middle of a validation, or behind the last hook of an epoch, with nothing saved or said.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._receive)
        self._stop_if(self._agreed(trainer).received, "before its first step; nothing is lost")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if a signal came."""
        if trainer.is_last_batch:
            return  # the end of the epoch saves in a moment
        agreed = self._agreed(trainer)
        if agreed.received or agreed.due:
            self._save(trainer)
            self._stop_if(agreed.received, _saved(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after validation."""
        self._save(trainer)
        self._stop_if(self._agreed(trainer).received, _saved(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A signal that came behind the last save."""
        self._stop_if(self._agreed(trainer).received, _saved(trainer))

    def _agreed(self, trainer: Trainer) -> _Asked:
        """What was asked of any of the processes: each must save, and stop, where the others do."""
        asked = _Asked(self.received, time.monotonic() - self.saved_at >= self.seconds)
        if trainer.world_size == 1:
            return asked
        numbers = torch.tensor(asked, device=trainer.strategy.root_device)
        received, due = trainer.strategy.reduce(numbers, reduce_op="max").tolist()
        return _Asked(received, bool(due))

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()

    def _stop_if(self, received: int, where: str) -> None:
        if received:
            raise StoppedError(f"stopped by {signal.Signals(received).name} {where}")


def _saved(trainer: Trainer) -> str:
    return f"after step {trainer.global_step}; the state is saved"
