"""What a training step on the CPU gains when freed memory is kept, as the command line keeps it: `keep_freed_memory`.

    python benchmarks/freed_memory.py [--threads 1] [--rounds 5] [--only CONFIG ...]

Each row is the model of a configuration, in training mode, on one batch of random frames: forward, backward, step of
the optimiser. A process that keeps freed memory and one that does not take turns. Seconds of a step are the median over
the turns; seconds of processor are told too, since they do not grow when other programs run beside it. Memory is the
highest of the process, libraries included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from unreel.config import load_config
from unreel.devices import keep_freed_memory
from unreel.runs import build_model

CASES: Mapping[str, tuple[int, ...]] = {
    "adrenal": (16, 24, 1, 64, 64),
    "fights": (16, 20, 1, 48, 48),
    "films": (8, 32, 3, 48, 48),
    "cifar10_sequential": (128, 1, 3, 32, 32),
    "spoken_digits": (32, 60, 40),
}
"""Configurations and the frames (N, T, *frame) of a batch: bytes of pictures, or a spectrogram."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--one", nargs=2, metavar=("CONFIG", "KEEP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(steps(options.one[0], options.one[1] == "kept", options.threads)))
        return
    print("| configuration | given back, s a step | kept, s | times faster | processor, times less | MiB | kept, MiB |")
    print("|--|--|--|--|--|--|--|")
    for name in options.only:
        turns = [[process(name, keep, options.threads) for keep in ("back", "kept")] for _ in range(options.rounds)]
        (back, kept), (work, less), (memory, more) = (
            [statistics.median(turn[side][what] for turn in turns) for side in (0, 1)] for what in range(3)
        )
        print(
            f"| {name} | {back:.3f} | {kept:.3f} | {back / kept:.2f} | {work / less:.2f} | {memory:.0f} | {more:.0f} |",
            flush=True,
        )


def process(name: str, keep: str, threads: int) -> list[float]:
    """What `steps` says in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--one", name, keep]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def steps(name: str, keep: bool, threads: int) -> list[float]:
    """Seconds of a step, seconds of processor of a step, and the most MiB of this process."""
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()
    config = load_config(Path(__file__).parents[1] / "configs" / f"{name}.yaml")
    shape = CASES[name]
    model = build_model(config, ("no", "yes"), shape[2:]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8) if len(shape) == 5 else torch.randn(shape)

    def step() -> None:
        outputs, _ = model(frames)
        optimizer.zero_grad()
        outputs.square().mean().backward()
        optimizer.step()

    for _ in range(3):
        step()
    seconds, before = [], resource.getrusage(resource.RUSAGE_SELF)
    while sum(seconds) < 4 or len(seconds) < 5:
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_SELF)
    work = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(seconds)
    return [statistics.median(seconds), work, after.ru_maxrss / 1024]


if __name__ == "__main__":
    main()
