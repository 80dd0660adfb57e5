"""Films of moving dots that are there for some time: each head is a colour whose dot is seen in some frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_film(
    folder: Path, name: object, heads: int = 2, frames: int = 24, size: int = 8, seed: int = 0, dtype: str = "uint8"
) -> NDArray[np.int64]:
    """`scene_NAME.npy` (T, 3, H, W) and `category_NAME.npy` (K, 1, T, 1), and the labels (K, T).

    Head k holds where a dot of colour k moves; it comes and goes, whatever the others do.
    """
    generator = np.random.default_rng([seed, *str(name).encode()])
    labels = np.zeros((heads, frames), dtype=np.int64)
    pixels = generator.random((frames, 3, size, size)) * 0.2
    for head in range(heads):
        begin, end = sorted(generator.choice(frames + 1, 2, replace=False))
        labels[head, begin:end] = 1
        row, column = generator.integers(size, size=2)
        for frame in range(begin, end):
            pixels[frame, head, row, (column + frame) % size] = 1.0
            pixels[frame, head, (row + 1) % size, (column + frame) % size] = 1.0
    folder.mkdir(parents=True, exist_ok=True)
    scene = (255 * pixels).astype(np.uint8) if dtype == "uint8" else pixels.astype(dtype)
    np.save(folder / f"scene_{name}.npy", scene)
    np.save(folder / f"category_{name}.npy", labels[:, None, :, None].astype(np.float64))
    return labels


def write_films(folder: Path, films: int = 12, **settings: int | str) -> Path:
    """Pairs of `films` films."""
    for name in range(films):
        write_film(folder, name, **settings)  # type: ignore[arg-type]
    return folder
