"""When a training is saved, and how it is stopped: signals without training, a stand-in for Lightning's Trainer."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from lightning.pytorch import LightningModule, Trainer

from unreel.training.stopping import KeepLast, StoppedError


class Saving(SimpleNamespace):
    """A trainer that counts its checkpoints."""

    saved = 0
    global_step = 7
    world_size = 1
    is_last_batch = False

    def save_checkpoint(self, path: Path) -> None:
        self.saved += 1


def step(callback: KeepLast, trainer: Saving) -> None:
    callback.on_train_batch_end(cast(Trainer, trainer), LightningModule(), None, None, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_after_the_step(tmp_path: Path, number: signal.Signals) -> None:
    before, trainer = signal.getsignal(number), Saving()
    callback = KeepLast(tmp_path / "c.safetensors", minutes=60)
    with callback.listening():
        step(callback, trainer)
        assert trainer.saved == 0
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL, "a second signal ends the process"
        trainer.is_last_batch = True
        step(callback, trainer)
        assert trainer.saved == 0, "validation and the end of the epoch come first"
        trainer.is_last_batch = False
        with pytest.raises(StoppedError, match=f"stopped by {number.name} after step 7"):
            step(callback, trainer)
    assert trainer.saved == 1
    assert signal.getsignal(number) == before


def test_signals_are_given_back_after_an_error(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    callback = KeepLast(tmp_path / "c.safetensors", minutes=60)

    def failing() -> None:
        with callback.listening():
            assert signal.getsignal(signal.SIGINT) == callback._receive
            raise MemoryError

    with pytest.raises(MemoryError):
        failing()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_trains_without_signals(tmp_path: Path) -> None:
    heard = []

    def train() -> None:
        with KeepLast(tmp_path / "c.safetensors", minutes=60).listening():
            heard.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert heard == [signal.getsignal(signal.SIGINT)]


def test_a_long_epoch_is_saved_within(tmp_path: Path) -> None:
    trainer, callback = Saving(), KeepLast(tmp_path / "c.safetensors", minutes=0)
    step(callback, trainer)
    step(callback, trainer)
    assert trainer.saved == 2
