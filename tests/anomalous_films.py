"""Films of a bright square that goes round; in some of them it jumps, or something else passes by."""

import csv
from pathlib import Path

import numpy as np

SIDE = 16


def film(generator: np.random.Generator, frames: int, anomaly: tuple[int, int] | None) -> np.ndarray:
    """(T, 1, H, W) uint8; from `anomaly`'s first frame to its second a bright bar crosses the picture."""
    pixels = generator.integers(0, 20, (frames, 1, SIDE, SIDE), dtype=np.uint8)
    phase = int(generator.integers(SIDE))
    for time in range(frames):
        left = (phase + time) % (SIDE - 4)
        pixels[time, 0, 4:8, left : left + 4] = 160
        if anomaly is not None and anomaly[0] <= time < anomaly[1]:
            pixels[time, 0, :, 7:9] = 250
    return pixels


def write_films(folder: Path, train: int = 8, test: int = 4, frames: int = 24, labels: bool = True) -> Path:
    """Films and, with labels, manifest.csv: the test side has labels, and its films all but one have an anomaly."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for index in range(train + test):
        side = "test" if index < test else "val" if index < test + 2 else "train"
        begin = int(generator.integers(4, frames - 8))
        anomaly = (begin, begin + 5) if side == "test" and index else None
        np.save(folder / f"{index}.npy", film(generator, frames, anomaly))
        if side == "test":
            rows.append([f"{index}.npy", "", "", "normal", side])
            if anomaly:
                rows.append([f"{index}.npy", *anomaly, "bar", side])
        else:
            rows.append([f"{index}.npy", "", "", "", side])
    if not labels:
        return folder
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start", "end", "label", "split"])
        writer.writerows(rows)
    return folder
