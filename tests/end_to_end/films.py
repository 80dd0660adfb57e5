"""Films of moving columns with a label for each frame, and a configuration that learns from them in seconds."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from unreel.config import RunConfig
from unreel.data import SamplingConfig

from tiny import tiny  # isort: skip

CHUNK = 4


def write_films(folder: Path, films: int = 8, size: int = 8, seed: int = 0) -> Path:
    """.npy films (T, 1, H, W) of 9 to 16 frames in which a bright column moves left, then right; and their table."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for index in range(films):
        length, turn = 9 + index % 8, 3 + index % 5
        film = generator.integers(0, 60, (length, 1, size, size), dtype=np.uint8)
        place = 0
        for time in range(length):
            place += -1 if time < turn else 1
            film[time, 0, :, place % size] = 250
        np.save(folder / f"{index}.npy", film)
        rows += [(f"{index}.npy", 0, turn, "left"), (f"{index}.npy", turn, length, "right")]
    with (folder / "films.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "start", "end", "label"), *rows])
    return folder / "films.csv"


def tiny_films(table: Path, way: Literal["whole", "recompute", "truncated"], epochs: int = 2) -> RunConfig:
    """Dropout and augmentation are on, as in `tiny`."""
    config = tiny(table, epochs, sampling=SamplingConfig("all"), batch_size=1)
    return replace(config, task="tag", training=replace(config.training, through_time=way, chunk=CHUNK))
