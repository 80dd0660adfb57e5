"""Timeline: one film over time. A lane for each label: what is true above what was said, and the score below them.

Where the truth is known, what was said wrongly is red. Frames of the film stand above the lanes, at their times; above
those of sound its spectrogram.

What this file is not: it chooses no films (`timelines.py`), and it computes no score.

Shape letters: T frames, K labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from unreel.data import Reading
from unreel.data.readers.audio import is_sound_name
from unreel.errors import ReadError
from unreel.reports.figures import BAD, GRID, INK, LIGHT, MODEL, MUTED, OTHER, PAGE, panels, plain, png
from unreel.reports.pictures import read_pictures
from unreel.reports.spectrograms import read_spectrogram

MOST_LANES = 12
MOST_POINTS = 600
THUMBNAILS = 10
_THUMBNAIL = 72  # pixels high
_WIDTH = 9.6  # inches
_LONGEST_NAME = 22
# From the top of a lane, which is 1 high: the bar of what is true, that of what was said, and the curve.
_TRUTH, _SAID, _BAR, _CURVE = 0.08, 0.27, 0.15, (0.94, 0.5)


@dataclass(frozen=True)
class Film:
    """What was said of a film, frame by frame.

    Args:
        file: as it stands in the rows.
        times: (T,) seconds, or positions.
        labels: the K names.
        said: (T, K) bool.
        truth: (T, K) bool; None where nothing is known of the film.
        known: (T,) bool, of which frames the truth is known.
        scores: (T, K).
    """

    file: str
    times: NDArray[np.float64]
    labels: tuple[str, ...]
    said: NDArray[np.bool_]
    truth: NDArray[np.bool_] | None
    known: NDArray[np.bool_]
    scores: NDArray[np.float64]

    @property
    def ends(self) -> NDArray[np.float64]:
        """(T,) when each frame ends: when the next one begins; the last one lasts as long as the one before it."""
        last = self.times[-1] - self.times[-2] if len(self.times) > 1 else 1.0
        return np.append(self.times[1:], self.times[-1] + last)


def read_film(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Film:
    """A film from the rows that `Task.rows` gave of it: one, or one for each of several windows.

    A frame that stands in two windows is taken from the first. Each `labels` entry is one name (tag) or a list of
    names (multitag), and so is `truth`, where it is there and not None.
    """
    times = np.concatenate([np.asarray(row["times"], dtype=np.float64) for row in rows])
    scores = np.concatenate([np.array([row["scores"][label] for label in labels], dtype=np.float64).T for row in rows])
    said = [names for row in rows for names in row["labels"]]
    truth = [names for row in rows for names in row.get("truth") or [None] * len(row["times"])]
    known = np.array([names is not None for names in truth])
    times, first = np.unique(times, return_index=True)
    return Film(
        file=str(rows[0].get("file", "")),
        times=times,
        labels=tuple(labels),
        said=_holds(said, labels)[first],
        truth=_holds(truth, labels)[first] if known.any() else None,
        known=known[first],
        scores=scores[first],
    )


def timeline_png(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], root: Path | None, reading: Reading | None = None
) -> bytes:
    """The timeline of a film as a PNG file.

    Args:
        rows: what was said of the film: one row, or one for each window.
        labels: the K names.
        root: the folder that the film's `file` starts from; None draws no frames.
        reading: what readers must know besides; None for the settings by default.
    """
    film = read_film(rows, labels)
    figure = draw(film, root, LIGHT, reading)
    figure.suptitle(plain(film.file), fontsize=9, color=LIGHT[INK], x=0.01, ha="left")
    return png(figure)


def draw(film: Film, root: Path | None, colors: Mapping[str, str] = PAGE, reading: Reading | None = None) -> Figure:
    """The timeline as a figure; without frames where they cannot be read or are no pictures."""
    lanes = _chosen(film)
    try:
        shown = [] if root is None else _pictures(film, root, reading)
    except (ReadError, OSError):
        shown = []
    figure, [*above, axes] = panels([0.62] * bool(shown) + [0.75 + 0.5 * len(lanes)], _WIDTH, colors)
    if above:
        _show(above[0], shown)
    for place, index in enumerate(lanes):
        _lane(axes, film, index, place, colors)
    axes.set_xlim(film.times[0], film.ends[-1])
    axes.set_ylim(len(lanes), -0.02)
    axes.set_yticks([place + 0.5 for place in range(len(lanes))], [_short(film.labels[index]) for index in lanes])
    axes.tick_params(axis="y", length=0, labelcolor=colors[INK])
    axes.grid(axis="y", visible=False)
    for edge in range(1, len(lanes)):
        axes.axhline(edge, color=colors[GRID], linewidth=0.8)
    unit, form = _clock(film)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 3, 6, 10] if unit == "min:s" else None))
    axes.xaxis.set_major_formatter(FuncFormatter(form))
    more = len(film.labels) - len(lanes)
    bars = "truth above model" if film.truth is not None else "model"
    wrong = ", red where it is wrong" if film.truth is not None else ""
    rest = f"; {more} more labels not shown" if more else ""
    axes.set_xlabel(f"{unit}    ({bars}{wrong}; curve: score{rest})", color=colors[MUTED], fontsize=8)
    return figure


def _holds(frames: Sequence[str | Sequence[str] | None], labels: Sequence[str]) -> NDArray[np.bool_]:
    place = {label: index for index, label in enumerate(labels)}
    holds = np.zeros((len(frames), len(labels)), dtype=bool)
    for time, names in enumerate(frames):
        for name in [names] if isinstance(names, str) else names or ():
            if name in place:
                holds[time, place[name]] = True
    return holds


def _chosen(film: Film) -> list[int]:
    """The labels that are shown: all, or the most frequent ones of this film."""
    if len(film.labels) <= MOST_LANES:
        return list(range(len(film.labels)))
    frames = film.said.sum(0) + (0 if film.truth is None else film.truth.sum(0))
    return sorted(np.argsort(-frames, kind="stable")[:MOST_LANES].tolist())


def _lane(axes: Axes, film: Film, index: int, place: int, colors: Mapping[str, str]) -> None:
    said = film.said[:, index]
    right = said
    if film.truth is not None:
        truth = film.truth[:, index]
        _bars(axes, film, ~film.known, place + _TRUTH, colors[GRID])
        _bars(axes, film, truth & film.known, place + _TRUTH, colors[INK])
        right = said & (truth | ~film.known)
        _bars(axes, film, said & ~right, place + _SAID, colors[BAD])
    _bars(axes, film, right, place + _SAID, colors[MODEL])
    low, top = place + _CURVE[0], place + _CURVE[1]
    times, scores = _thinned(film, film.scores[:, index])
    axes.axhline(low, color=colors[GRID], linewidth=0.6)
    axes.axhline((low + top) / 2, color=colors[GRID], linewidth=0.6, linestyle=(0, (2, 3)))
    curve = low + (top - low) * scores
    axes.step(times, curve, where="post", color=colors[MODEL], linewidth=0.9)
    axes.fill_between(times, low, curve, step="post", color=colors[OTHER], alpha=0.35, linewidth=0)


def _bars(axes: Axes, film: Film, holds: NDArray[np.bool_], top: float, color: str) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(int)))
    ends = film.ends
    spans = [
        (float(film.times[begin]), float(ends[stop - 1] - film.times[begin])) for begin, stop in edges.reshape(-1, 2)
    ]
    if spans:
        axes.broken_barh(spans, (top, _BAR), facecolors=color, linewidth=0)


def _thinned(film: Film, scores: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The beginnings of at most `MOST_POINTS` equal parts and their mean scores, and once more the last at the end."""
    frames = len(scores)
    edges = np.linspace(0, frames, min(frames, MOST_POINTS) + 1).astype(int)
    means = np.add.reduceat(scores, edges[:-1]) / np.diff(edges)
    return np.append(film.times[edges[:-1]], film.ends[-1]), np.append(means, means[-1])


def _clock(film: Film) -> tuple[str, Any]:
    """The unit of the axis, and how a number on it is written: arrays tell positions, not seconds."""
    if Path(film.file).suffix.lower() == ".npy":
        return "frame", lambda value, _: f"{value:.0f}"
    if film.times[-1] < 180:
        return "s", lambda value, _: f"{value:g}"
    return "min:s", lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}"


def _pictures(film: Film, root: Path, reading: Reading | None) -> list[tuple[float, float, NDArray[np.uint8]]]:
    """Pictures, and from when to when each of them stands above the lanes."""
    if is_sound_name(film.file):
        pixels, _ = read_spectrogram(root / film.file, film.times[0], film.times[-1], reading)
        return [(float(film.times[0]), float(film.ends[-1]), pixels)]
    pixels, _, _ = read_pictures(root / film.file, film.times[0], film.times[-1], THUMBNAILS, reading)
    return _in_a_row(film, list(map(_small, pixels)))


def _in_a_row(film: Film, thumbnails: Sequence[NDArray[np.uint8]]) -> list[tuple[float, float, NDArray[np.uint8]]]:
    """Each frame in the tenth of the film that it stands for, at its own width or less."""
    whole = float(film.ends[-1] - film.times[0])
    room = whole / len(thumbnails)
    row = []
    for place, pixels in enumerate(thumbnails):
        # an inch of the axis is whole / width seconds; the row is 0.62 inches high
        width = min(0.96 * room, 0.58 * pixels.shape[1] / pixels.shape[0] * whole / (0.88 * _WIDTH))
        centre = float(film.times[0]) + (place + 0.5) * room
        row.append((centre - width / 2, centre + width / 2, pixels))
    return row


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    width = max(1, round(image.width * _THUMBNAIL / image.height))
    how = Image.Resampling.LANCZOS if image.height > _THUMBNAIL else Image.Resampling.NEAREST
    return np.asarray(image.resize((width, _THUMBNAIL), how))


def _show(axes: Axes, shown: Iterable[tuple[float, float, NDArray[np.uint8]]]) -> None:
    for left, right, pixels in shown:
        axes.imshow(pixels, extent=(left, right, 0, 1), aspect="auto", zorder=2)
    axes.set_ylim(0, 1)
    axes.axis("off")


def _short(name: str) -> str:
    return plain(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")
