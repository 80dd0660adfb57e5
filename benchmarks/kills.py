"""Kill -9 at random moments of `unreel train`, then `--resume`: the end must equal an undisturbed run bit for bit.

    python benchmarks/kills.py [--kills 10] [--seed 0] [--keep FOLDER]

The run has all that draws at random (dropout, augmentation, frames of a segment, order), two workers,
a control without recurrence, saves several times an epoch, and a clip whose damage only some draws meet.

A moment is a phase of the run and a random delay within it, as long as the phase took undisturbed: start-up (from the
first instruction to the first step), training (of the model, then of its control), evaluation, report. Every second
kill hits the main process alone, as a person or the kernel does it; its workers must then end by themselves within 15
seconds. The others hit all processes at once, as a container that goes down does.

Compared are weights of model and control, predictions and left-out files as bytes, metrics and histories without their
seconds (and without `train_loss`, which of an interrupted epoch is the mean of the steps since the resume). Where the
kill comes before there is anything to resume, `--resume` must say so in one line and the same command must work again.

The exit status is 1 if anything differs, is left over or is left running.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unreel.config import DataConfig, RunConfig, TrainingConfig, to_yaml
from unreel.data import AugmentConfig, PreprocessConfig, SamplingConfig
from unreel.demo_data import make_moving_digits
from unreel.models import CNNRNNConfig, EncoderConfig
from unreel.tasks import OptimConfig

EPOCHS = 6
SAME_BYTES = (
    *("weights.safetensors", "control/weights.safetensors", "predictions.jsonl", "left_out.csv", "manifest.csv"),
    *("labels.json", "frame.json", "config.yaml", "control/config.yaml", "model.txt"),
)
HISTORIES = ("history.csv", "control/history.csv")
PATIENCE = 15
"""Seconds in which workers must notice that their parent is gone; PyTorch's look every five."""


@dataclass(frozen=True)
class Phase:
    """A part of a run, and how one sees from outside that it has begun."""

    name: str
    begun: Callable[[Path], bool]


def epochs_done(history: Path) -> int:
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


PHASES = (
    Phase("start-up", lambda run: True),
    Phase("training", lambda run: (run / "checkpoint.safetensors").is_file()),
    Phase("control", lambda run: (run / "control/checkpoint.safetensors").is_file()),
    Phase("evaluation", lambda run: epochs_done(run / "control/history.csv") == EPOCHS),
    Phase("report", lambda run: (run / "metrics.json").is_file()),
)
ORDER = (0, 1, 2, 3, 4, 1, 0, 1, 2, 1)
"""Phases of ten kills."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder for clips, runs and outputs, not removed afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return bench(options.keep or Path(temporary), options.kills, random.Random(options.seed))


def bench(place: Path, kills: int, rng: random.Random) -> int:
    console = Console(width=150)
    place.mkdir(parents=True, exist_ok=True)
    prepare(place)
    undisturbed = place / "undisturbed"
    begins = watch(place, undisturbed)
    durations = [end - begin for begin, end in pairwise(begins)]
    spoken = ", ".join(f"{phase.name} {seconds:.1f} s" for phase, seconds in zip(PHASES, durations, strict=True))
    console.print(f"undisturbed: {spoken}")
    table = Table("#", "phase", "killed after", "who", "reached", "resume", "left running", "left over", "equal")
    failed = False
    for number in range(kills):
        phase = ORDER[number % len(ORDER)]
        run = place / f"killed{number}"
        whole = number % 2 == 0
        after, reached, running = kill(place, run, phase, rng.uniform(0, durations[phase]), whole)
        said = resume(place, run)
        different = compare(undisturbed, run)
        over = leftovers(run)
        failed |= bool(different or over or running) or said.startswith("FAILED")
        who = "all" if whole else "main"
        row = (number, PHASES[phase].name, f"{after:.2f} s", who, reached, said, running, ", ".join(over) or "nothing")
        table.add_row(*map(str, row), ", ".join(different) or "yes")
        console.print(
            f"{number}: {PHASES[phase].name} {after:.2f} s {reached} {said} {different or 'equal'}", markup=False
        )
    console.print(table)
    return int(failed)


def prepare(place: Path) -> None:
    """Clips, one of them damaged where `scan` does not look, and the configuration."""
    clips = place / "clips"
    make_moving_digits(clips, clips=80)
    with (clips / "manifest.csv").open(newline="", encoding="utf-8") as file:
        victim = next(clips / row["path"] for row in csv.DictReader(file) if row["split"] == "train")
    data = bytearray(victim.read_bytes())
    begin = data.index(b"mdat") + 4
    at = begin + (data.index(b"moov") - begin) * 6 // 16  # about frame 6 of 16; scan decodes 0, 4, 8, 12 and 15
    data[at : at + 40] = bytes(40)
    victim.write_bytes(data)
    config = RunConfig(
        data=DataConfig(
            path=str(clips),
            sampling=SamplingConfig("segment", frames=6),
            preprocess=PreprocessConfig(size=(24, 24), channels="grey"),
            augment=AugmentConfig(crop=0.8, brightness=0.2),
            batch_size=4,
            workers=2,
        ),
        model=CNNRNNConfig(encoder=EncoderConfig(channels=(4, 8), features=16), hidden_size=16, dropout=0.3),
        optim=OptimConfig(lr=5e-3),
        training=TrainingConfig(epochs=EPOCHS, accelerator="cpu", checkpoint_minutes=0.1 / 60),
    )
    (place / "config.yaml").write_text(to_yaml(config), encoding="utf-8")


def start(place: Path, *arguments: object) -> subprocess.Popen[bytes]:
    log = (place / "log.txt").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "unreel", "train", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def anew(place: Path, run: Path) -> subprocess.Popen[bytes]:
    return start(place, "--config", place / "config.yaml", "--out", run)


def watch(place: Path, run: Path) -> list[float]:
    """Let a run alone; seconds at which each phase began, and at which all was over."""
    started = time.monotonic()
    process = anew(place, run)
    begins: list[float] = []
    while process.poll() is None:
        while len(begins) < len(PHASES) and PHASES[len(begins)].begun(run):
            begins.append(time.monotonic() - started)
        time.sleep(0.01)
    assert process.returncode == 0, (place / "log.txt").read_text()
    assert len(begins) == len(PHASES), begins
    return [*begins, time.monotonic() - started]


def kill(place: Path, run: Path, phase: int, delay: float, whole: bool) -> tuple[float, str, int]:
    """Start a run and kill it; seconds since its start, how far it was, and processes that stayed."""
    process = anew(place, run)
    started = time.monotonic()
    while not PHASES[phase].begun(run):
        assert process.poll() is None, (place / "log.txt").read_text()
        time.sleep(0.002)
    try:
        process.wait(delay)
        reached = "its end"
    except subprocess.TimeoutExpired:
        reached = ""
    after = time.monotonic() - started
    if whole:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    reached = reached or progress(run)
    deadline = time.monotonic() + (1 if whole else PATIENCE)
    while session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    running = session(process.pid)
    for left in running:
        os.kill(left, signal.SIGKILL)
    return after, reached, len(running)


def progress(run: Path) -> str:
    """How far a run has come, as its folder tells."""
    if not (run / "config.yaml").is_file():
        return "no config.yaml" if run.is_dir() else "no folder"
    for folder, name in ((run / "control", "control "), (run, "")):
        if (folder / "checkpoint.safetensors").is_file():
            return name + saved_step(folder / "checkpoint.safetensors")
    return "no checkpoint"


def saved_step(checkpoint: Path) -> str:
    from safetensors import safe_open

    with safe_open(checkpoint, framework="pt") as file:
        state = json.loads(file.metadata()["unreel.checkpoint"])
    return f"epoch {state['epoch']} step {state['global_step']}"


def resume(place: Path, run: Path) -> str:
    """Do what a user would do next; what that was."""
    before = (place / "log.txt").stat().st_size
    process = start(place, "--resume", run)
    if process.wait() == 0:
        return "went on"
    said = (place / "log.txt").read_bytes()[before:].decode()
    if "Traceback" in said or (run / "config.yaml").exists():
        return f"FAILED: {said}"
    if anew(place, run).wait() == 0:
        return "said: begin anew; did"
    return f"FAILED: {said} {(place / 'log.txt').read_text()[-2000:]}"


def compare(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs."""
    different = [name for name in SAME_BYTES if contents(one / name, one) != contents(other / name, other)]
    different += [name for name in HISTORIES if history(one / name) != history(other / name)]
    different += [name for name in ("metrics.json",) if metrics(one / name) != metrics(other / name)]
    return different + [name for name in ("report.html", "data.json") if not (other / name).is_file()]


def contents(path: Path, run: Path) -> bytes | None:
    return path.read_bytes().replace(str(run).encode(), b"RUN") if path.is_file() else None


def history(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "train_loss")} for row in csv.DictReader(file)]


def metrics(path: Path) -> dict[str, Any] | None:
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"} if path.is_file() else None


def leftovers(run: Path) -> Sequence[str]:
    """Unfinished files that nobody has cleaned up."""
    return [
        path.name for path in run.rglob("*") if path.suffix in (".partial", ".tmp", ".part") or ".partial" in path.name
    ]


def session(number: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(its_session) == number and state != "Z":
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
