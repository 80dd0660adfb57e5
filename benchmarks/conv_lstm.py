"""Unreel's ConvLSTM2d beside its peers and beside the bare convolutions, inference and training step, in one run.

    python3.11 -m venv PEERS && PEERS/bin/pip install -r benchmarks/requirements-peers.txt
    python benchmarks/conv_lstm.py PEERS/bin/python [--shapes 0,1] [--rounds 5] [--contestants unreel,keras-tf]
        [--threads 2] [--limit 300] [--out benchmarks/results/DATE_conv_lstm.json]

The training step is the output of every frame, forward, and from a random cotangent of it the gradients of all
weights; none of the input. All have the same weights and data, each in its own layout, ready before the clock starts.
Who deviates in the output or a gradient from the plain loop in double precision by more than `TOLERANCE` is not timed.

Peers: the plain PyTorch loop (`torch-first`, `torch-last`: layouts; with its cell compiled), Keras 3 on TensorFlow
(graph and XLA), on JAX and on torch (both layouts). How turns and memory work is told in `peers/contest.py`, what the
bare convolutions are in `peers/bare.py`.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from peers.bare import total
from peers.contest import Match, compete
from peers.reports import failures, machine, table, verdict, write_report
from peers.serve import Arrays
from peers.worker import HERE, Contestant, Terms, versions

Shape = tuple[int, int, int, int, int, int]
SHAPES: tuple[Shape, ...] = (
    (1, 16, 3, 20, 3, 200),
    (1, 16, 20, 10, 3, 100),
    (4, 20, 1, 64, 5, 64),
    (4, 10, 16, 128, 5, 16),
    (1, 32, 10, 5, 3, 67),
    (16, 12, 8, 32, 3, 28),
)
CALLS = ("inference", "step")
TOLERANCE = 1e-4
SPEED, SHARE = 1.5, 1.15

CONTESTANTS = (
    Contestant("unreel", "peers.torch_jobs", "unreel", ours=True),
    Contestant("torch-first", "peers.torch_jobs", "channels-first"),
    Contestant("torch-last", "peers.torch_jobs", "channels-last"),
    Contestant("torch-first-compile", "peers.torch_jobs", "channels-first-compile"),
    Contestant("torch-last-compile", "peers.torch_jobs", "channels-last-compile"),
    Contestant("keras-tf", "peers.keras_jobs", "graph", "tensorflow"),
    Contestant("keras-tf-xla", "peers.keras_jobs", "xla", "tensorflow"),
    Contestant("keras-jax", "peers.keras_jobs", "jit", "jax"),
    Contestant("keras-torch", "peers.keras_jobs", "channels-last", "torch"),
    Contestant("keras-torch-first", "peers.keras_jobs", "channels-first", "torch"),
)
BARE = Contestant("bare", "peers.bare")
REFERENCE = Contestant("reference", "peers.torch_jobs", "float64")


def make(shape: Shape) -> Arrays:
    """Data and weights of one shape; weights as large as Keras and Unreel draw them."""
    n, frames, channels, features, size, side = shape
    rng = np.random.default_rng(0)

    def draw(*of: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(of)).astype(np.float32)

    return {
        "x": draw(n, frames, channels, side, side),
        "cotangent": draw(n, frames, features, side, side),
        "kernel": draw(4 * features, channels, size, size, scale=math.sqrt(2 / (size**2 * (channels + 4 * features)))),
        "recurrent_kernel": draw(4 * features, features, size, size, scale=1 / math.sqrt(4 * features * size**2)),
        "bias": np.repeat(np.float32([0, 1, 0, 0]), features),
    }


def flops(shape: Shape) -> dict[str, float]:
    """Operations of the convolutions, two a product; the first of T steps has no state to convolve."""
    n, frames, channels, features, size, side = shape
    one = 2 * n * side**2 * size**2 * 4 * features
    forward = one * (frames * channels + (frames - 1) * features)
    return {"inference": forward, "step": 2 * forward + one * (frames - 1) * features}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--shapes", default=",".join(map(str, range(len(SHAPES)))))
    parser.add_argument("--contestants", default=",".join(contestant.name for contestant in CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds that one request may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_conv_lstm.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    wanted = options.contestants.split(",")
    if unknown := set(wanted) - {contestant.name for contestant in CONTESTANTS}:
        raise SystemExit(f"no contestant is called {', '.join(sorted(unknown))}")
    contestants = [contestant for contestant in CONTESTANTS if contestant.name in wanted]
    record = machine(options.threads) | {"rounds": options.rounds, "tolerance": TOLERANCE}
    text = [
        "# ConvLSTM2d: inference and training step",
        "",
        ", ".join(f"{name}: {value}" for name, value in record.items()),
        "",
        "Medians over the turns. How it was measured is told at the head of `benchmarks/conv_lstm.py`.",
    ]
    record["shapes"] = []
    with tempfile.TemporaryDirectory() as folder:
        terms = Terms(options.peers, Path(folder), options.threads, options.limit)
        record["versions"] = versions(contestants, terms)
        text += ["", ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))]
        for shape in (SHAPES[int(index)] for index in options.shapes.split(",")):
            print(f"(N, T, C, F, K, H=W) = {shape}", flush=True)
            started = time.monotonic()
            match = Match("conv_lstm", make(shape), make((shape[0], 2, *shape[2:5], 8)), CALLS, TOLERANCE)
            entries, bare = compete(match, contestants, REFERENCE, BARE, terms, options.rounds)
            limit, needed = total(bare, shape[1]), flops(shape)
            rows = ["", f"## (N, T, C, F, K, H=W) = {shape}"]
            for call in CALLS:
                rows += ["", *table(entries, call, needed[call], limit[call])]
            rows += [""] + [line for call in CALLS for line in verdict(entries, call, limit[call], SPEED, SHARE)]
            rows += failures(entries)
            rows += ["- bare convolutions, ms: " + ", ".join(f"{part} {s * 1e3:.1f}" for part, s in limit.items())]
            print("\n".join(rows), f"\n({time.monotonic() - started:.0f} s)", flush=True)
            text += rows
            measured = {name: entry.record() for name, entry in entries.items()}
            record["shapes"].append({"shape": shape, "flops": needed, "bare": limit, "contestants": measured})
            write_report(options.out, record, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
