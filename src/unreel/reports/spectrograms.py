"""Spectrograms, and other clips whose frames are vectors, as one picture: time runs to the right, features upwards.

Of a sound, whose frames are decibels, loud is bright, from their loudest 80 dB down. The picture shows what the model
heard: the frames of the run's own settings, as `unreel.data.readers.spectrogram` makes them. Other numbers are grey.

Shape letters: T frames, M mels, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from unreel.data import Reading
from unreel.data.readers import open_source
from unreel.data.readers.source import Source
from unreel.errors import ReadError

COLUMNS = 600
"""Frames that are shown at most, at equal distances."""
_DECIBELS = 80.0
_COLORS = "magma"


def read_spectrogram(
    path: Path, start: float | None, end: float | None, reading: Reading | None
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The picture of a stretch of sound, (M, at most 600, 3), and the seconds of its first and last frame.

    Args:
        path: the file.
        start, end: seconds, None for the file's own start and end.
        reading: what readers must know besides; None for the settings by default.

    Raises:
        ReadError: the file cannot be read.
    """
    with open_source(path, reading) as source:
        decibels, seconds = read_vectors(source, path, start, end)
    return spectrogram(decibels), seconds


def read_vectors(
    source: Source, path: Path, start: float | None, end: float | None
) -> tuple[NDArray[Any], tuple[float, float]]:
    """Frames (at most 600, F) of a stretch, and the seconds of the first and the last of them.

    Raises:
        ReadError: there is none, or they cannot be read.
    """
    inside = frames_between(source, path, start, end)
    chosen = inside[np.unique(np.linspace(0, len(inside) - 1, COLUMNS).round().astype(int))]
    times = source.times.numpy()[chosen]
    return source.read(chosen.tolist()).numpy(), (float(times[0]), float(times[-1]))


def frames_between(source: Source, path: Path, start: float | None, end: float | None) -> NDArray[np.int64]:
    """Which frames stand between these seconds, both among them; None for the file's own start and end.

    Raises:
        ReadError: none does.
    """
    times = source.times.numpy()
    inside = np.flatnonzero(
        (times >= (-np.inf if start is None else start)) & (times <= (np.inf if end is None else end))
    )
    if not len(inside):
        raise ReadError(path, f"no frame between {start} and {end} s")
    return inside


def spectrogram(decibels: NDArray[Any]) -> NDArray[np.uint8]:
    """(T, M) as a picture (M, T, 3)."""
    shown = 1 + (decibels - decibels.max()).clip(-_DECIBELS, 0) / _DECIBELS
    return np.asarray(matplotlib.colormaps[_COLORS](shown.T[::-1], bytes=True))[..., :3]


def grey_field(vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """(T, F) as a picture (F, T, 3), from the least number, black, to the greatest."""
    field = vectors.astype(np.float64).T[::-1]
    low, high = np.nanmin(field), np.nanmax(field)
    scaled = np.nan_to_num((field - low) / max(high - low, 1e-12))
    return np.asarray(matplotlib.colormaps["gray"](scaled, bytes=True))[..., :3]
