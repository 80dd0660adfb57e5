"""Tables of a race: medians, their ratios to the best peer and to the physical limit, and the memory of each call."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = "unreel"


@dataclass
class Entry:
    """Seconds of one contestant by call and turn, MiB by call, deviations; or why there is nothing."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    failed: str = ""

    def median(self, call: str) -> float:
        return statistics.median(self.seconds[call])

    def record(self) -> dict[str, Any]:
        if self.failed:
            return {"failed": self.failed}
        timed = {
            call: {"median": statistics.median(turns), "least": min(turns), "most": max(turns), "turns": len(turns)}
            for call, turns in self.seconds.items()
        }
        return {"seconds": timed, "memory MiB": self.memory, "deviation": self.errors}


def is_ours(name: str) -> bool:
    return name.partition("-")[0] == OURS


def best_peer(entries: dict[str, Entry], call: str) -> tuple[str, float] | None:
    """The fastest that is not ours, with its median seconds."""
    peers = [(e.median(call), name) for name, e in entries.items() if not e.failed and not is_ours(name)]
    return (min(peers)[1], min(peers)[0]) if peers else None


def leanest_peer(entries: dict[str, Entry], call: str) -> tuple[str, float] | None:
    peers = [(e.memory[call], name) for name, e in entries.items() if not e.failed and not is_ours(name)]
    return (min(peers)[1], min(peers)[0]) if peers else None


def table(entries: dict[str, Entry], call: str, flops: float | None = None, limit: float | None = None) -> list[str]:
    """Markdown rows of one call; `limit` are the seconds of the bare convolutions, and `flops` their operations."""
    best = best_peer(entries, call)
    bare = limit is not None and flops is not None

    def row(name: str, seconds: float, turns: str, speed: str, memory: str) -> str:
        share = f" {seconds / limit:.2f} | {flops / seconds / 1e9:.0f} |" if bare else ""
        return f"| {name} | {seconds * 1e3:.1f} | {turns} | {speed} |{share} {memory} |"

    extra = (" times the bare convolutions | GFLOP/s |", "---:|---:|") if bare else ("", "")
    rows = [
        f"| {call} | ms | least to most (turns) | speed, best peer = 1 |{extra[0]} MiB |",
        f"|---|---:|---|---:|{extra[1]}---:|",
    ]
    if limit is not None:
        rows.append(row("*bare convolutions*", limit, "", "", ""))
    timed = {name: entry for name, entry in entries.items() if not entry.failed}
    for name, entry in sorted(timed.items(), key=lambda item: item[1].median(call)):
        seconds, turns = entry.median(call), entry.seconds[call]
        spread = f"{min(turns) * 1e3:.1f} to {max(turns) * 1e3:.1f} ({len(turns)})"
        title = f"**{name}**" if is_ours(name) else name
        speed = f"{best[1] / seconds:.2f}" if best else ""
        rows.append(row(title, seconds, spread, speed, f"{entry.memory[call]:.0f}"))
    return rows


def failures(entries: dict[str, Entry]) -> list[str]:
    return [f"- {name} failed: {entry.failed}" for name, entry in entries.items() if entry.failed]


def verdict(entries: dict[str, Entry], call: str, limit: float | None, speed: float, share: float | None) -> list[str]:
    """For each contestant of ours one line: are the goals met?"""
    lines = []
    best, lean = best_peer(entries, call), leanest_peer(entries, call)
    for name, entry in entries.items():
        if not is_ours(name) or entry.failed or best is None or lean is None:
            continue
        seconds = entry.median(call)
        fast = best[1] / seconds >= speed or (limit is not None and share is not None and seconds / limit <= share)
        against = f", {seconds / limit:.2f} times the bare convolutions" if limit else ""
        goal = f"at least {speed}" + (f", or at most {share} times the limit" if share else "")
        lines.append(
            f"- {call}, {name}: speed {best[1] / seconds:.2f} of {best[0]}{against} (goal: {goal}): "
            f"{'met' if fast else 'MISSED'}; memory {entry.memory[call]:.0f} MiB beside {lean[1]:.0f} of {lean[0]}: "
            f"{'met' if entry.memory[call] <= lean[1] else 'MISSED'}"
        )
    return lines


def machine(threads: int) -> dict[str, Any]:
    """What a reader needs to know of where and when this ran."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load at start": os.getloadavg()[0],
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
    }


def _commit() -> str:
    """The short name of what is checked out, marked where files differ from it."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


def write_report(path: Path, record: dict[str, Any], text: str) -> None:
    """The record as JSON, and beside it the same for readers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    path.with_suffix(".md").write_text(text)
    print(f"{path} and {path.with_suffix('.md').name}")
