"""A contest: memory, correctness, and then interleaved rounds of all contestants at one job.

Every contestant has its turn before any has its next, so that a machine that slows down slows all of them. What is
slower than `HOPELESS` times the fastest sits out after the first round.

Memory is the highest resident memory of one warm call, less what the process had with framework and data loaded and a
small job of the same kind done; both after malloc gave its reserve back. So code, compilers and caches do not count,
what a call allocates and what a warm contestant keeps between calls does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers.reports import Entry
from peers.serve import Arrays
from peers.worker import Contestant, FailedError, Terms, Worker

TURN = 0.6
REST = 0.3
HOPELESS = 5.0


@dataclass(frozen=True)
class Match:
    """The job that all do, with its data; the small one is of the same kind, done once before memory is looked at."""

    job: str
    full: Arrays
    small: Arrays
    calls: tuple[str, ...]
    tolerance: float


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def read_results(worker: Worker, path: Path) -> Arrays:
    worker.ask(do="results", path=str(path))
    with np.load(path) as arrays:
        results = dict(arrays)
    path.unlink()
    return results


def errors(results: Arrays, reference: Arrays) -> dict[str, float]:
    """Largest deviation of each result, as a share of the reference's largest value."""
    wrong = {}
    for name, value in results.items():
        expected = reference[name]
        if value.shape != expected.shape:
            raise FailedError(f"{name} has the shape {value.shape} where the reference has {expected.shape}")
        scale = float(np.abs(expected).max())
        wrong[name] = float(np.abs(value - expected).max()) / max(scale, 1e-12)
    return wrong


def check(results: Arrays, reference: Arrays, tolerance: float) -> dict[str, float]:
    """The deviations, all within the tolerance.

    Raises:
        FailedError: one is not, so that nothing of this contestant may be timed.
    """
    found = errors(results, reference)
    worst = max(found, key=lambda name: found[name] if found[name] == found[name] else np.inf)
    if not found[worst] <= tolerance:
        raise FailedError(f"wrong: {worst} deviates by {found[worst]:.1e} of its scale, allowed is {tolerance:.0e}")
    return found


def qualify(worker: Worker, match: Match, full: Path, small: Path, right: Arrays) -> Entry:
    """Errors and MiB of each call, in a process that has done nothing yet; the job stays built.

    Raises:
        FailedError: the contestant cannot do the job, or does it wrong, so that nothing of it may be timed.
    """
    mode = worker.contestant.mode
    worker.ask(do="build", job=match.job, arrays=str(small), mode=mode)
    for call in match.calls:
        worker.ask(do="time", call=call, seconds=0)
    worker.ask(do="build", job=match.job, arrays=str(full), mode=mode)
    base = worker.ask(do="memory", call=None, free=True)["resident"]
    entry = Entry(errors=check(read_results(worker, full.with_name("results.npz")), right, match.tolerance))
    for call in match.calls:
        entry.memory[call] = (worker.ask(do="memory", call=call, free=True)["peak"] - base) / 2**20
    return entry


def race(
    workers: Mapping[str, Worker], calls: Mapping[str, Sequence[str]], rounds: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Seconds of each contestant's calls, the median of each of its turns; and why contestants fell out."""
    spent: dict[str, dict[str, list[float]]] = {name: {call: [] for call in calls[name]} for name in workers}
    failures: dict[str, str] = {}
    started = time.monotonic()
    for turn in range(rounds):
        for name, worker in workers.items():
            for call in calls[name] if name in spent else ():
                rivals = [other[call][0] for other in spent.values() if other.get(call)]
                if turn and spent[name][call][0] > HOPELESS * min(rivals):
                    continue
                time.sleep(REST)
                try:
                    answer = worker.ask(do="time", call=call, seconds=TURN)
                except FailedError as failure:
                    failures[name] = str(failure)
                    del spent[name]
                    break
                spent[name][call].append(statistics.median(answer["seconds"]))
        print(f"  round {turn + 1} of {rounds} ({time.monotonic() - started:.0f} s)", flush=True)
    return spent, failures


def compete(
    match: Match,
    contestants: list[Contestant],
    reference: Contestant,
    bare: Contestant | None,
    terms: Terms,
    rounds: int,
) -> tuple[dict[str, Entry], dict[str, float]]:
    """Entries of all contestants, and the median seconds of every call of the bare operations."""
    full, small = (
        write_arrays(terms.folder / f"{n}.npz", a) for n, a in (("full", match.full), ("small", match.small))
    )
    with Worker(reference, terms) as worker:
        worker.ask(do="build", job=match.job, arrays=str(full), mode=reference.mode)
        right = read_results(worker, terms.folder / "reference.npz")
    entries: dict[str, Entry] = {}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for contestant in contestants:
            started = time.monotonic()
            worker = stack.enter_context(Worker(contestant, terms))
            try:
                entry = qualify(worker, match, full, small, right)
                workers[contestant.name] = worker
            except FailedError as failure:
                entry = Entry(failed=str(failure))
                worker.close()
            entries[contestant.name] = entry
            print(f"  {contestant.name}: {entry.failed or 'ready'} ({time.monotonic() - started:.0f} s)", flush=True)
        calls = dict.fromkeys(workers, match.calls)
        if bare is not None:
            workers[bare.name] = stack.enter_context(Worker(bare, terms))
            calls[bare.name] = tuple(
                workers[bare.name].ask(do="build", job=match.job, arrays=str(full), mode="")["calls"]
            )
        spent, failures = race(workers, calls, rounds)
    bare_seconds = spent.pop(bare.name) if bare is not None else {}
    for name, why in failures.items():
        entries[name].failed = why
    for name, seconds in spent.items():
        entries[name].seconds = seconds
    return entries, {call: statistics.median(turns) for call, turns in bare_seconds.items()}
