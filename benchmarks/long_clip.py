"""The trailer model on one long film that is read from disk: an exact training step, and an epoch of truncated steps.

    python benchmarks/long_clip.py [--frames 1000] [--chunk 16] [--size 400] [--heads 6] [--threads 2]
        [--dtype float32|uint8] [--limit-gib 8] [--folder FOLDER] [--out benchmarks/results/DATE_long_clip.json]

A film (T, 3, H, W) is written to one .npy. Then, each in a process of its own, so that each has its own peak of memory:

- recompute: one exact step. All frames forward; the loss over all of them; backward, chunk by chunk, with every chunk
  read and computed a second time; AdamW.
- truncated: an epoch. For each chunk forward, loss, backward, AdamW; the state goes on, the gradient does not.
- gradient: with a few small frames, the gradient of the whole clip in one tensor against that of recompute.

Reading is that of training, `unreel.data.Film`, chunk by chunk with one ahead. Peak memory is VmHWM: the highest
resident memory of the process, with the interpreter and all libraries. Before the clock starts, each process does one
step on two chunks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from peers.reports import machine, write_report
from unreel.data import Film
from unreel.data.readers import open_source
from unreel.models import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.nn import recompute

GIB = 2**30
HERE = Path(__file__).parent
CHECK_FRAMES, CHECK_SIZE, CHECK_CHUNK = 40, 48, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="T")
    parser.add_argument("--chunk", type=int, default=16, help="frames in a chunk; also what BatchNorm takes together")
    parser.add_argument("--size", type=int, default=400, help="H = W")
    parser.add_argument("--heads", type=int, default=6, help="K")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "uint8"), default="float32", help="of the frames on disk")
    parser.add_argument("--limit-gib", type=float, default=8.0, help="what the peak of memory is compared with")
    parser.add_argument(
        "--folder", type=Path, help="where the film is written; the system's folder for such by default"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_long_clip.json")
    parser.add_argument("--job", choices=(*JOBS, ""), default="", help=argparse.SUPPRESS)
    parser.add_argument("--film", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        torch.set_num_threads(options.threads)
        print(json.dumps(JOBS[options.job](options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        film = Path(folder) / "film.npy"
        record = machine(options.threads) | {"torch": torch.__version__}
        record |= {name: getattr(options, name) for name in ("frames", "chunk", "size", "heads", "dtype")}
        write_film(film, options)
        record["GiB on disk"] = film.stat().st_size / GIB
        for job in JOBS:
            record[job] = run(job, film, options)
            print(f"{job}: {record[job]}", flush=True)
    write_report(options.out, record, told(record, options.limit_gib))
    print(told(record, options.limit_gib))


def run(job: str, film: Path, options: argparse.Namespace) -> dict[str, float]:
    """What a job found, in a process of its own."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("frames", "chunk", "size", "heads", "threads", "dtype")]
    command = [sys.executable, __file__, *flags, f"--job={job}", f"--film={film}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_film(path: Path, options: argparse.Namespace) -> None:
    """Frames of noise behind a bright square that moves; frame by frame, since they need not fit into memory."""
    shape = (options.frames, 3, options.size, options.size)
    film = np.lib.format.open_memmap(path, mode="w+", dtype=options.dtype, shape=shape)
    scale = 255 if options.dtype == "uint8" else 1
    side = max(1, options.size // 8)
    for index in range(options.frames):
        frame = np.random.default_rng(index).random(shape[1:], np.float32) / 2
        place = index * 3 % (options.size - side + 1)
        frame[:, place : place + side, place : place + side] = 1
        film[index] = (frame * scale).astype(options.dtype)
    film.flush()


def build(options: argparse.Namespace, size: int) -> ConvLSTMTagger:
    torch.manual_seed(0)
    config = ConvLSTMTaggerConfig(norm_frames=options.chunk)
    return ConvLSTMTagger(config, (3, size, size), options.heads, "frame")


def labels(frames: int, heads: int) -> Tensor:
    """(1, T, K), 0 or 1."""
    return torch.randint(0, 2, (1, frames, heads), generator=torch.Generator().manual_seed(1)).float()


def opened(path: Path, chosen: Tensor, options: argparse.Namespace) -> Film:
    source = open_source(path)
    targets = {"labels": labels(len(chosen), options.heads)[0]}
    return Film(path.name, source, chosen, options.chunk, prepare=same, change=same, targets=targets)


def same(frames: Tensor) -> Tensor:
    return frames


def exact_step(model: ConvLSTMTagger, optimizer: torch.optim.Optimizer, film: Film) -> None:
    optimizer.zero_grad()
    outputs = recompute(model, film.clip.read, film.clip.chunks)
    binary_cross_entropy_with_logits(outputs, film.clip.whole.targets["labels"]).backward()
    optimizer.step()


def truncated_steps(model: ConvLSTMTagger, optimizer: torch.optim.Optimizer, film: Film) -> None:
    targets = film.clip.whole.targets["labels"].split(film.clip.chunk, 1)
    state = None
    for index in range(film.clip.chunks):
        outputs, after = model(film.clip.read(index), None, state)
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(outputs, targets[index]).backward()
        optimizer.step()
        state = tuple(tuple(member.detach() for member in part) for part in after)


def timed(options: argparse.Namespace, steps: Any) -> dict[str, float]:
    """Seconds of one pass over the film, after a short one to warm up."""
    model = build(options, options.size)
    optimizer = torch.optim.AdamW(model.parameters())
    with opened(options.film, torch.arange(min(2 * options.chunk, options.frames)), options) as start:
        steps(model, optimizer, start)
    with opened(options.film, torch.arange(options.frames), options) as film:
        started = time.perf_counter()
        steps(model, optimizer, film)
        seconds = time.perf_counter() - started
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    return {
        "seconds": seconds,
        "frames/s": options.frames / seconds,
        "peak GiB": peak() / GIB,
        "finite": finite,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def compared(options: argparse.Namespace) -> dict[str, float]:
    """Gradients of recompute against those of the whole clip, in float32 and float64: the largest difference as a
    share of the largest gradient, over all parameters."""
    frames = torch.rand(1, CHECK_FRAMES, 3, CHECK_SIZE, CHECK_SIZE, generator=torch.Generator().manual_seed(2))
    truth = labels(CHECK_FRAMES, options.heads)
    found: dict[str, float] = {"frames": CHECK_FRAMES, "size": CHECK_SIZE, "chunk": CHECK_CHUNK}
    options.chunk = CHECK_CHUNK
    for dtype in (torch.float32, torch.float64):
        model = build(options, CHECK_SIZE).to(dtype)
        pieces = frames.to(dtype).split(CHECK_CHUNK, 1)
        gradients = []
        for outputs in (model(frames.to(dtype))[0], recompute(model, pieces.__getitem__, len(pieces))):
            loss = binary_cross_entropy_with_logits(outputs, truth.to(dtype))
            gradients.append(torch.autograd.grad(loss, list(model.parameters())))
        whole, again = gradients
        largest = max(float(gradient.abs().max()) for gradient in whole)
        apart = max(float((one - two).abs().max()) for one, two in zip(whole, again, strict=True))
        found[f"{str(dtype).removeprefix('torch.')} apart"] = apart / largest
    return found


def peak() -> int:
    """Highest resident bytes of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


JOBS = {
    "recompute": lambda options: timed(options, exact_step),
    "truncated": lambda options: timed(options, truncated_steps),
    "gradient": compared,
}


def told(record: dict[str, Any], limit: float) -> str:
    """The record for readers."""
    about = {name: value for name, value in record.items() if name not in JOBS}
    lines = [
        "# The trailer model on one long film",
        "",
        ", ".join(
            f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}" for name, value in about.items()
        ),
        "",
        f"| | seconds | frames/s | peak of resident memory, GiB | goal: at most {limit:g} GiB |",
        "|---|---:|---:|---:|---|",
    ]
    for job, title in (("recompute", "one exact step (recompute)"), ("truncated", "one epoch of truncated steps")):
        found = record[job]
        verdict = "met" if found["peak GiB"] <= limit else "MISSED"
        lines.append(
            f"| {title} | {found['seconds']:.1f} | {found['frames/s']:.2f} | {found['peak GiB']:.2f} | {verdict} |"
        )
    check = record["gradient"]
    lines += [
        "",
        f"Gradient of recompute against the whole clip at (1, {check['frames']}, 3, {check['size']}, {check['size']}), "
        f"chunks of {check['chunk']}: at most {check['float32 apart']:.1e} of the largest gradient apart in float32, "
        f"{check['float64 apart']:.1e} in float64.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
