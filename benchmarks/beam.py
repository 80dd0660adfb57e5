"""Captions per second by beam search beside Hugging Face's `generate` and the loop of the tutorials, in one run.

    python benchmarks/beam.py PEERS/bin/python [--rounds 3] [--contestants unreel,generate] [--batch 64] [--beam 5]
        [--hidden 512] [--words 8000] [--length 20] [--threads 2] [--out benchmarks/results/DATE_beam.json]

The network is that of Show and Tell: a vector of the picture, then the words, through an LSTM, and a linear layer to
all words. All contestants have the same random weights, under which no caption ends before its greatest length: all
of them do the same number of steps. Timed is the way from the vectors of a batch of pictures to its captions. Who finds
other scores than the search in double precision, or other captions for more than one picture in fifty, is not timed.

PEERS is made as `requirements-peers.txt` tells. The limit: the products of matrices alone that the steps consist of.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from peers.contest import REST, TURN, read_results, write_arrays
from peers.reports import machine, write_report
from peers.serve import Arrays
from peers.worker import HERE, Contestant, FailedError, Terms, Worker, versions

TOLERANCE = 1e-4
SAME = 0.98
SPEED = 2.0

CONTESTANTS = (
    Contestant("unreel", "peers.beam_jobs", "unreel", ours=True),
    Contestant("generate", "peers.beam_jobs", "generate"),
    Contestant("tutorial", "peers.beam_jobs", "tutorial"),
)
REFERENCE = Contestant("reference", "peers.beam_jobs", "float64", ours=True)
BARE = Contestant("bare", "peers.beam_jobs", "bare", ours=True)


def make(options: argparse.Namespace) -> Arrays:
    rng = np.random.default_rng(0)
    size = options.hidden

    def draw(*of: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(of)).astype(np.float32)

    bias = np.zeros(options.words, np.float32)
    bias[0] = -50  # no caption ends
    return {
        "images": draw(options.batch, size),
        "picture": draw(size, size, scale=size**-0.5),
        "embedding": draw(options.words, size),
        "kernel": draw(4 * size, size, scale=2 * size**-0.5),
        "recurrent": draw(4 * size, size, scale=2 * size**-0.5),
        "head": draw(options.words, size, scale=6 * size**-0.5),
        "head.bias": bias,
        "beam": np.array(options.beam),
        "length": np.array(options.length),
    }


def qualify(worker: Worker, arrays: Path, right: Arrays) -> tuple[float, float]:
    """Of a contestant's captions: the share that is the reference's, and the largest deviation of a score.

    Raises:
        FailedError: they are not what the search in double precision finds.
    """
    worker.ask(do="build", job="beam", arrays=str(arrays), mode=worker.contestant.mode)
    found = read_results(worker, arrays.with_name("results.npz"))
    if found["words"].shape != right["words"].shape:
        raise FailedError(f"captions are {found['words'].shape}, those of the reference {right['words'].shape}")
    same = float((found["words"] == right["words"]).all(1).mean())
    wrong = float(np.abs(found["scores"] / right["scores"] - 1).max())
    if same < SAME or not wrong <= TOLERANCE:
        raise FailedError(f"wrong: {same:.3f} of the captions are the same, scores deviate by {wrong:.1e}")
    return same, wrong


def take_turns(workers: dict[str, Worker], rounds: int) -> dict[str, list[float]]:
    """Median seconds of each contestant's calls in each round; every one has its turn before any has its next."""
    turns: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name, worker in workers.items():
            time.sleep(REST)
            turns[name].append(statistics.median(worker.ask(do="time", call="write", seconds=TURN)["seconds"]))
        spent = ", ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in turns.items())
        print(f"  round {number + 1} of {rounds}: {spent}", flush=True)
    return turns


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--contestants", default=",".join(contestant.name for contestant in CONTESTANTS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds that one request may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_beam.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    wanted = options.contestants.split(",")
    if unknown := set(wanted) - {contestant.name for contestant in CONTESTANTS}:
        raise SystemExit(f"no contestant is called {', '.join(sorted(unknown))}")
    contestants = [contestant for contestant in CONTESTANTS if contestant.name in wanted]
    sizes = {name: getattr(options, name) for name in ("batch", "beam", "hidden", "words", "length", "rounds")}
    record = machine(options.threads) | sizes | {"tolerance": TOLERANCE}
    found: dict[str, tuple[float, float]] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        terms = Terms(options.peers, Path(folder), options.threads, options.limit)
        record["versions"] = versions(contestants, terms)
        arrays = write_arrays(terms.folder / "arrays.npz", make(options))
        with Worker(REFERENCE, terms) as worker:
            worker.ask(do="build", job="beam", arrays=str(arrays), mode=REFERENCE.mode)
            right = read_results(worker, terms.folder / "reference.npz")
        record["distinct captions"] = len({tuple(words) for words in right["words"].tolist()})
        workers: dict[str, Worker] = {}
        for contestant in contestants:
            worker = stack.enter_context(Worker(contestant, terms))
            try:
                found[contestant.name] = qualify(worker, arrays, right)
                workers[contestant.name] = worker
            except FailedError as failure:
                failed[contestant.name] = str(failure)
            print(f"  {contestant.name}: {failed.get(contestant.name, 'ready')}", flush=True)
        workers[BARE.name] = stack.enter_context(Worker(BARE, terms))
        workers[BARE.name].ask(do="build", job="beam", arrays=str(arrays), mode=BARE.mode)
        turns = take_turns(workers, options.rounds)
    text = ["# Captions by beam search", "", ", ".join(f"{k}: {v}" for k, v in record.items()), ""]
    text += rows(turns, found, options.batch) + [f"- {name} failed: {why}" for name, why in failed.items()]
    record["contestants"] = {
        name: {"seconds": seconds, "same captions, deviation": found.get(name)} for name, seconds in turns.items()
    } | {name: {"failed": why} for name, why in failed.items()}
    print("\n".join(text))
    write_report(options.out, record, "\n".join(text) + "\n")


def rows(turns: dict[str, list[float]], found: dict[str, tuple[float, float]], batch: int) -> list[str]:
    """A table of all, and for each peer the ratio of its turns to ours in the same round."""
    limit = statistics.median(turns["bare"])
    lines = [
        "| | captions per second | ms a batch | least to most (turns) | times the bare products | same captions |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for name, seconds in sorted(turns.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(seconds)
        spread = f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f} ({len(seconds)})"
        same = f"{found[name][0] * batch:.0f} of {batch}" if name in found else ""
        lines.append(
            f"| {name} | {batch / median:.0f} | {median * 1e3:.0f} | {spread} | {median / limit:.2f} | {same} |"
        )
    lines.append("")
    for name, seconds in turns.items():
        if "unreel" in turns and name not in ("unreel", "bare"):
            paired = [peer / ours for peer, ours in zip(seconds, turns["unreel"], strict=False)]
            ratio = statistics.median(paired)
            lines.append(
                f"- unreel against {name}: {ratio:.2f} times, median of {len(paired)} paired rounds, "
                f"{min(paired):.2f} to {max(paired):.2f} (goal: at least {SPEED}): "
                f"{'met' if ratio >= SPEED else 'MISSED'}"
            )
    return lines


if __name__ == "__main__":
    main()
