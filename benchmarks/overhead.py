"""What training costs beside forward, backward and optimiser steps, and where the time goes when clips come from files.

    python benchmarks/overhead.py DATA [--clips 96] [--rounds 7] [--threads 2]

1. Clips decoded in memory: each epoch through Unreel (sampling, collating, Lightning, logging) is followed, in the same
   process, by one bare epoch of a copy of the model on batches that lie ready. Ratio of medians; validation is apart.
2. Clips from files with two workers: seconds of an epoch, and what one process spends a clip on opening, decoding,
   preprocessing and collating.
3. The same with decoded frames cached on disk: first epoch, and the ones after it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Callback
from rich.console import Console

from unreel.clip import Clip, ClipBatch, collate
from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import PreprocessConfig, SamplingConfig, Splits, load, preprocess
from unreel.data.readers import open_source
from unreel.models import CNNRNNConfig, EncoderConfig
from unreel.runs import Run
from unreel.training import fitting

QUIET = Console(quiet=True)


class Stopwatch(Callback):
    """Seconds of the training part of each epoch, and of a bare epoch right after it."""

    def __init__(self, ready: list[ClipBatch] | None) -> None:
        self.ready, self.epochs, self.bare = ready, [], []
        self.started = 0.0

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.is_last_batch:
            self.epochs.append(time.perf_counter() - self.started)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if self.ready is not None:
            self.bare.append(bare_epoch(pl_module, self.ready))


def bare_epoch(task: torch.nn.Module, batches: list[ClipBatch]) -> float:
    model = copy.deepcopy(task.model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for batch in batches:
        outputs, _ = model(batch.frames, batch.lengths)
        loss = torch.nn.functional.cross_entropy(outputs, batch.targets["label"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - started


def measure(config: RunConfig, splits: Splits, root: Path, ready: list[ClipBatch] | None = None) -> Stopwatch:
    """Train once below a temporary folder, with a stopwatch."""
    stopwatch = Stopwatch(ready)
    build = fitting.build_trainer

    def build_watched(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.insert(0, stopwatch)
        return trainer

    fitting.build_trainer = build_watched
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = replace(config, data=replace(config.data, path=str(root)))
            run = Run.create(Path(folder) / "run", config, ("a", "b"), (3, *config.data.preprocess.size))
            fitting.fit(run, splits, QUIET)
    finally:
        fitting.build_trainer = build
    return stopwatch


def stages(splits: Splits, root: Path, config: DataConfig) -> dict[str, float]:
    """Milliseconds a clip of each stage, in one process."""
    seconds = dict.fromkeys(("open", "decode", "preprocess", "collate"), 0.0)
    clips = []
    for example in splits.train:
        t0 = time.perf_counter()
        with open_source(root / example.path) as source:
            indices = torch.linspace(0, len(source) - 1, config.sampling.frames).long().unique().tolist()
            t1 = time.perf_counter()
            frames = source.read(indices)
            t2 = time.perf_counter()
            frames = preprocess(frames, config.preprocess)
            t3 = time.perf_counter()
            clips.append(Clip(frames, source.times[indices], example.key))
        for name, spent in (("open", t1 - t0), ("decode", t2 - t1), ("preprocess", t3 - t2)):
            seconds[name] += spent
    t0 = time.perf_counter()
    for first in range(0, len(clips), config.batch_size):
        collate(clips[first : first + config.batch_size])
    seconds["collate"] = time.perf_counter() - t0
    return {name: 1000 * spent / len(splits.train) for name, spent in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    manifest = load(options.data)
    step = max(1, len(manifest) // options.clips)
    examples = [replace(e, labels=("ab"[i % 2],)) for i, e in enumerate(manifest.examples[::step])][: options.clips]
    splits = Splits(tuple(examples), tuple(examples[:4]), ())
    config = RunConfig(
        data=DataConfig(
            sampling=SamplingConfig("segment", frames=16),
            preprocess=PreprocessConfig(size=(64, 64)),
            batch_size=8,
            cache="memory",
        ),
        model=CNNRNNConfig(encoder=EncoderConfig(channels=(16, 32, 64))),
        training=TrainingConfig(epochs=options.rounds + 1, accelerator="cpu", control=False),
    )
    print(
        f"torch {torch.__version__}, {options.threads} threads, {len(examples)} clips of 16 frames 64x64, batches of 8"
    )

    generator = torch.Generator().manual_seed(0)
    ready = [
        ClipBatch(
            frames=torch.randint(0, 256, (8, 16, 3, 64, 64), dtype=torch.uint8, generator=generator),
            lengths=torch.full((8,), 16),
            times=torch.zeros(8, 16, dtype=torch.float64),
            keys=tuple("abcdefgh"),
            targets={"label": torch.randint(0, 2, (8,), generator=generator)},
        )
        for _ in range(len(examples) // 8)
    ]
    watch = measure(config, splits, manifest.root, ready)
    ours, bare = (statistics.median(seconds[1:]) for seconds in (watch.epochs, watch.bare))
    ratios = sorted(one / other for one, other in zip(watch.epochs[1:], watch.bare[1:], strict=True))
    print(
        f"in memory     epoch {ours:7.3f} s   bare steps {bare:7.3f} s   ratio {ours / bare:.3f}"
        f"   (pairs {ratios[0]:.3f} to {ratios[-1]:.3f}, goal <= 1.10)"
    )

    files = replace(
        config, data=replace(config.data, cache="none", workers=2), training=replace(config.training, epochs=3)
    )
    plain = measure(files, splits, manifest.root).epochs
    print(f"from files    epochs {'  '.join(f'{s:.2f}' for s in plain)} s with two workers")
    torch.set_num_threads(1)
    for name, spent in stages(splits, manifest.root, config.data).items():
        print(f"              {name:<11} {spent:8.2f} ms a clip, one thread")
    torch.set_num_threads(options.threads)
    cached = measure(replace(files, data=replace(files.data, cache="disk")), splits, manifest.root).epochs
    print(
        f"disk cache    epochs {'  '.join(f'{s:.2f}' for s in cached)} s with two workers; from the second on "
        f"{statistics.median(plain[1:]) / statistics.median(cached[1:]):.1f} times faster than from files"
    )


if __name__ == "__main__":
    main()
