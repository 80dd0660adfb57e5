"""Spectrograms: sound as a picture inside the page. Time runs to the right, frequency upwards, loud is bright.

The picture shows what the model heard: the frames of the run's own settings, as `unreel.data.readers.spectrogram` makes
them, from their loudest 80 dB down.

Shape letters: T frames, M mels.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from unreel.data import Reading
from unreel.data.readers import open_source
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
        times = source.times.numpy()
        inside = np.flatnonzero(
            (times >= (-np.inf if start is None else start)) & (times <= (np.inf if end is None else end))
        )
        if not len(inside):
            raise ReadError(path, f"no frame between {start} and {end} s")
        chosen = inside[np.unique(np.linspace(0, len(inside) - 1, COLUMNS).round().astype(int))]
        decibels = source.read(chosen.tolist()).numpy()
    shown = 1 + (decibels - decibels.max()).clip(-_DECIBELS, 0) / _DECIBELS
    colored = np.asarray(matplotlib.colormaps[_COLORS](shown.T[::-1], bytes=True))
    return colored[..., :3], (float(times[chosen[0]]), float(times[chosen[-1]]))
