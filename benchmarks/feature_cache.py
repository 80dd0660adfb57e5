"""Epoch time with a frozen ResNet-50: the first epoch computes features, later ones read them.

    python benchmarks/feature_cache.py DATA [--clips 48] [--epochs 5]

The first epoch is everything from the start of training to the end of epoch 0, features of training and validation
clips included. The weights are random: no download is needed, and the time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Callback
from rich.console import Console

from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import PreprocessConfig, SamplingConfig, Splits, load
from unreel.models import CNNRNNConfig, EncoderConfig
from unreel.runs import Run
from unreel.training import fitting


class EpochEnds(Callback):
    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.moments.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    manifest = load(options.data)
    step = max(1, len(manifest) // options.clips)
    examples = [replace(e, labels=("ab"[i % 2],)) for i, e in enumerate(manifest.examples[::step])][: options.clips]
    splits = Splits(tuple(examples[8:]), tuple(examples[:8]), ())
    config = RunConfig(
        data=DataConfig(
            str(manifest.root),
            sampling=SamplingConfig(frames=16),
            preprocess=PreprocessConfig(size=(112, 112)),
            batch_size=8,
        ),
        model=CNNRNNConfig(encoder=EncoderConfig("resnet50", frozen=True)),
        training=TrainingConfig(epochs=options.epochs, accelerator="cpu", control=False),
    )
    ends = EpochEnds()
    build = fitting.build_trainer

    def build_watched(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.append(ends)
        return trainer

    fitting.build_trainer = build_watched
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", config, ("a", "b"), (3, 112, 112))
        started = time.perf_counter()
        fitting.fit(run, splits, Console(quiet=True))
        kept = sum(file.stat().st_size for file in run.folder.rglob("*.npy"))
    first = ends.moments[0] - started
    later = [end - begin for begin, end in zip(ends.moments, ends.moments[1:], strict=False)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(examples)} clips of 16 frames 112x112")
    print(
        f"first epoch {first:.2f} s, later {statistics.median(later):.3f} s (median of {len(later)}): "
        f"{first / statistics.median(later):.0f} times faster (goal >= 20); {kept / 1e6:.1f} MB of features"
    )


if __name__ == "__main__":
    main()
