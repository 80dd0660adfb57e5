"""The longest clip on which each contestant can train the trailer model in 24 GiB, the whole clip in one step.

    python benchmarks/longest_clip.py PEERS/bin/python [--frames 4,8,16] [--size 400] [--contestants torch-last]
        [--threads 2] [--limit 900] [--out benchmarks/results/DATE_longest_clip.json]

The model: two ConvLSTM blocks (20 filters, BatchNorm, halved; 10 filters, BatchNorm, a third), then six heads, each a
ConvLSTM of 5 filters, halved, and dense layers 512, 32, 1 for every frame; one clip of 3 x 400 x 400. A step is
forward, binary cross-entropy, and the gradients of all weights.

Nothing here fills 24 GiB: two steps at each of a few lengths, each in a fresh process, give its highest resident
memory, framework and data included. A line through these points, whose fit is printed, says where 24 GiB are reached.
All have the same number of weights (checked); their values do not matter here.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from peers.contest import read_results, write_arrays
from peers.reports import machine, write_report
from peers.worker import HERE, Contestant, FailedError, Terms, Worker, versions

GIB = 2**30
ROOM = 24 * GIB
HEADS = 6

CONTESTANTS = (
    Contestant("unreel", "peers.torch_jobs", "unreel", ours=True),
    Contestant("torch-first", "peers.torch_jobs", "channels-first"),
    Contestant("torch-last", "peers.torch_jobs", "channels-last"),
    Contestant("torch-last-compile", "peers.torch_jobs", "channels-last-compile"),
    Contestant("keras-tf", "peers.keras_jobs", "graph", "tensorflow"),
    Contestant("keras-jax", "peers.keras_jobs", "jit", "jax"),
    Contestant("keras-torch", "peers.keras_jobs", "channels-last", "torch"),
)


def line(lengths: list[int], peaks: list[float]) -> tuple[float, float, float]:
    """Bytes without frames, bytes a frame, and the largest miss of the least-squares line as a share of the peak."""
    slope, base = np.polyfit(lengths, peaks, 1)
    fitted = base + slope * np.asarray(lengths)
    return float(base), float(slope), float(np.max(np.abs(fitted - peaks) / peaks))


def longest(base: float, slope: float, room: float = ROOM) -> int:
    """Frames that fit into `room` bytes."""
    return max(0, int((room - base) // slope))


def measure(contestant: Contestant, frames: int, size: int, terms: Terms) -> dict[str, float]:
    """Highest resident bytes and seconds of a warm step on one clip."""
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.random((1, frames, 3, size, size), np.float32),
        "labels": rng.integers(0, 2, (1, frames, HEADS)).astype(np.float32),
    }
    path = write_arrays(terms.folder / "clip.npz", arrays)
    with Worker(contestant, terms) as worker:
        worker.ask(do="build", job="trailer", arrays=str(path), mode=contestant.mode)
        worker.ask(do="time", call="step", seconds=0)
        started = time.perf_counter()
        peak = worker.ask(do="memory", call="step", free=True)["peak"]
        return {"peak": peak, "seconds": time.perf_counter() - started}


def parameters(contestant: Contestant, size: int, terms: Terms) -> int:
    arrays = {"x": np.zeros((1, 2, 3, size, size), np.float32), "labels": np.zeros((1, 2, HEADS), np.float32)}
    path = write_arrays(terms.folder / "clip.npz", arrays)
    with Worker(contestant, terms) as worker:
        worker.ask(do="build", job="trailer", arrays=str(path), mode=contestant.mode)
        return int(read_results(worker, terms.folder / "results.npz")["parameters"])


def row(contestant: Contestant, lengths: list[int], size: int, terms: Terms) -> dict[str, Any]:
    """All that is measured of one contestant; with fewer than two lengths done there is no line."""
    found: dict[str, Any] = {"peaks": {}}
    try:
        found["parameters"] = parameters(contestant, size, terms)
        for frames in lengths:
            measured = measure(contestant, frames, size, terms)
            found["peaks"][frames] = measured["peak"]
            found["seconds a frame"] = measured["seconds"] / frames
            print(f"  {contestant.name} {frames} frames: {measured['peak'] / GIB:.2f} GiB", flush=True)
    except FailedError as failure:
        found["failed"] = str(failure)
        print(f"  {contestant.name}: {failure}", flush=True)
    if len(found["peaks"]) > 1:
        base, slope, miss = line(list(found["peaks"]), list(found["peaks"].values()))
        found |= {"base": base, "slope": slope, "miss": miss, "longest": longest(base, slope)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--contestants", default=",".join(contestant.name for contestant in CONTESTANTS))
    parser.add_argument("--frames", default="4,8,16")
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds that one request may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_longest_clip.json")
    options = parser.parse_args()
    contestants = [c for c in CONTESTANTS if c.name in options.contestants.split(",")]
    lengths = [int(frames) for frames in options.frames.split(",")]
    record = machine(options.threads) | {"size": options.size, "frames": lengths}
    text = [
        "# The longest clip in 24 GiB",
        "",
        ", ".join(f"{name}: {value}" for name, value in record.items()),
        "",
        "Extrapolated from the highest resident memory at the lengths measured; nothing was run at the longest.",
        "",
        "| | longest clip, frames | GiB a frame | GiB without frames | miss of the line | s a frame | weights |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        terms = Terms(options.peers, Path(folder), options.threads, options.limit)
        record["versions"] = versions(contestants, terms)
        record["contestants"] = {}
        for contestant in contestants:
            found = record["contestants"][contestant.name] = row(contestant, lengths, options.size, terms)
            if "longest" in found:
                base, slope = (found[name] / GIB for name in ("base", "slope"))
                text.append(
                    f"| {contestant.name} | {found['longest']} | {slope:.3f} | {base:.2f} "
                    f"| {found['miss']:.1%} | {found['seconds a frame']:.2f} | {found['parameters']} |"
                )
            if "failed" in found:
                text.append(f"| {contestant.name} | failed: {found['failed']} | | | | | |")
            write_report(options.out, record, "\n".join(text) + "\n")
    print("\n".join(text))
    weights = {found["parameters"] for found in record["contestants"].values() if "parameters" in found}
    if len(weights) > 1:
        raise SystemExit(f"the contestants do not train the same model: {sorted(weights)} weights")


if __name__ == "__main__":
    main()
