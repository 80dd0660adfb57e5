"""Small data that several rooms test on, and nothing random that leaks from one test into the next."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The number of threads changes the last bits of sums, and several test processes share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_randomness() -> Iterator[None]:
    """Each test draws the same numbers, alone or after others; so does a shared fixture made between two."""
    torch.manual_seed(0)
    yield
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def signals_given_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def write_moving_dots(folder: Path, clips: int = 24, frames: int = 6, size: int = 8, seed: int = 0) -> Path:
    """Class folders `left` and `right` of .npy clips (T, 1, H, W): a bright column moves. Groups of two clips."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(clips):
        label = ("left", "right")[index % 2]
        start, length = int(generator.integers(size)), frames - index % 3
        clip = generator.integers(0, 60, (length, 1, size, size), dtype=np.uint8)
        for time in range(length):
            clip[time, 0, :, (start + (time if label == "right" else -time)) % size] = 250
        path = folder / label / f"s{index // 4:02d}_{index}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, clip)
        rows.append({"path": path.relative_to(folder).as_posix(), "label": label, "group": f"s{index // 4:02d}"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "group"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def moving_dots(tmp_path: Path) -> Path:
    return write_moving_dots(tmp_path / "dots")
