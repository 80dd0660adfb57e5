"""A training step of the sequential CIFAR network with Unreel's LSTM beside its peers, in one run.

    python benchmarks/lstm.py PEERS/bin/python [--rounds 5] [--contestants unreel,torch] [--batch 100]
        [--threads 2] [--limit 300] [--out benchmarks/results/DATE_lstm.json]

The network: a 3 x 3 convolution of 3 x 32 x 32 images to 50 channels, ReLU, halved, the grid of 16 x 16 read row by row
as 256 steps of 50 features, LSTM(50), its last output, a linear layer to 10 classes. The step: cross-entropy, forward,
and the gradients of all weights. The optimiser's own step is the same for all and left out. PEERS is made as
`conv_lstm.py` tells, and all that is said there of weights, checks and turns holds here.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from peers.contest import Match, compete
from peers.reports import failures, machine, table, verdict, write_report
from peers.serve import Arrays
from peers.worker import HERE, Contestant, Terms, versions

CALLS = ("inference", "step")
TOLERANCE = 1e-4
SPEED = 1.3

CONTESTANTS = (
    Contestant("unreel", "peers.torch_jobs", "unreel", ours=True),
    Contestant("unreel-last", "peers.torch_jobs", "unreel-channels-last", ours=True),
    Contestant("torch-first", "peers.torch_jobs", "channels-first"),
    Contestant("torch-last", "peers.torch_jobs", "channels-last"),
    Contestant("torch-last-compile", "peers.torch_jobs", "channels-last-compile"),
    Contestant("keras-tf", "peers.keras_jobs", "graph", "tensorflow"),
    Contestant("keras-tf-xla", "peers.keras_jobs", "xla", "tensorflow"),
    Contestant("keras-jax", "peers.keras_jobs", "jit", "jax"),
    Contestant("keras-torch", "peers.keras_jobs", "channels-last", "torch"),
)
REFERENCE = Contestant("reference", "peers.torch_jobs", "float64")


def make(batch: int) -> Arrays:
    rng = np.random.default_rng(0)

    def draw(*of: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(of)).astype(np.float32)

    return {
        "x": draw(batch, 3, 32, 32),
        "labels": rng.integers(0, 10, batch),
        "conv.weight": draw(50, 3, 3, 3, scale=math.sqrt(2 / 27)),
        "conv.bias": np.zeros(50, np.float32),
        "lstm.kernel": draw(200, 50, scale=math.sqrt(2 / 250)),
        "lstm.recurrent_kernel": draw(200, 50, scale=math.sqrt(1 / 200)),
        "lstm.bias": np.repeat(np.float32([0, 1, 0, 0]), 50),
        "linear.weight": draw(10, 50, scale=math.sqrt(2 / 60)),
        "linear.bias": np.zeros(10, np.float32),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--contestants", default=",".join(contestant.name for contestant in CONTESTANTS))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds that one request may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_lstm.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    wanted = options.contestants.split(",")
    if unknown := set(wanted) - {contestant.name for contestant in CONTESTANTS}:
        raise SystemExit(f"no contestant is called {', '.join(sorted(unknown))}")
    contestants = [contestant for contestant in CONTESTANTS if contestant.name in wanted]
    record = machine(options.threads) | {"rounds": options.rounds, "batch": options.batch, "tolerance": TOLERANCE}
    text = ["# Sequential CIFAR with an LSTM: training step", "", ", ".join(f"{k}: {v}" for k, v in record.items()), ""]
    with tempfile.TemporaryDirectory() as folder:
        terms = Terms(options.peers, Path(folder), options.threads, options.limit)
        record["versions"] = versions(contestants, terms)
        text += [", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))]
        match = Match("lstm", make(options.batch), make(2), CALLS, TOLERANCE)
        entries, _ = compete(match, contestants, REFERENCE, None, terms, options.rounds)
    for call in CALLS:
        text += ["", *table(entries, call)]
    text += ["", *verdict(entries, "step", None, SPEED, None), *failures(entries)]
    record["contestants"] = {name: entry.record() for name, entry in entries.items()}
    print("\n".join(text))
    write_report(options.out, record, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
