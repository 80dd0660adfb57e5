"""Reconstructions: films with the error of each frame over time, and frames above what the model made of them.

Anomalies, where they are known, are shaded. Pictures are made when a run is measured, and lie in its folder; without
them the curves stand alone. What this file is not: it runs no model.

Shape letters: T frames, n of them shown, C channels, H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from unreel.reports.figures import BAD, GRID, INK, LIGHT, MODEL, MUTED, PAGE, panels, plain, png, svg
from unreel.reports.results import Results

FOLDER = "reconstructions"
"""In the run's folder; its pictures are called by their place in `chosen`: 0.png, 1.png ..."""
FRAMES = 10
_MOST, _LEAST = 4, 2  # films with the highest and with the lowest errors
_HEIGHT, _GAP, _WIDTH = 72, 3, 9.6  # pixels, pixels, inches


@dataclass(frozen=True)
class Reconstruction:
    """One film.

    Args:
        file: where it is.
        caption: its mean and highest error.
        plot: errors over time.
        picture: address of the picture; empty where there is none.
    """

    file: str
    caption: str
    plot: Markup
    picture: str


def chosen(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The films to show, by their highest error: the first few, then the last few. No film twice."""
    ranked = sorted((row for row in rows if row.get("errors")), key=lambda row: -max(row["errors"]))
    return [*ranked[:_MOST], *ranked[_MOST:][-_LEAST:]]


def shown(row: Mapping[str, Any]) -> list[int]:
    """Places of the frames to show: evenly spread, but the nearest to it gives way to the one of the highest error."""
    errors = row["errors"]
    places = np.unique(np.linspace(0, len(errors) - 1, FRAMES).round().astype(int))
    highest = int(np.argmax(errors))
    places[np.argmin(np.abs(places - highest))] = highest
    return np.unique(places).tolist()


def picture(frames: NDArray[np.float32], made: NDArray[np.float32]) -> bytes:
    """A PNG of three rows: frames, what was made of them, and where they differ, brighter for more.

    Args:
        frames: (n, C, H, W), from 0 to 1; other numbers are stretched to that, those of both alike.
        made: the same.
    """
    low, high = min(0.0, float(frames.min())), max(1.0, float(frames.max()))
    difference = np.abs(made - frames).mean(1)
    heat = mpl.colormaps["inferno"](difference / max(float(difference.max()), 1e-12))[..., :3]
    rows = [*(_pixels((pixels - low) / (high - low)) for pixels in (frames, made)), (255 * heat).astype(np.uint8)]
    tiles = [[_tile(pixels) for pixels in row] for row in rows]
    height, width = tiles[0][0].shape[:2]
    whole = np.full((3 * (height + _GAP) - _GAP, len(frames) * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for down, row in enumerate(tiles):
        for along, tile in enumerate(row):
            top, left = down * (height + _GAP), along * (width + _GAP)
            whole[top : top + height, left : left + width] = tile
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def reconstructions(results: Results) -> list[Reconstruction]:
    """Films of the test side; none where the task is another one."""
    if results.task != "reconstruct":
        return []
    films = []
    for place, row in enumerate(chosen(results.predictions)):
        file, errors = str(row.get("file", "")), row["errors"]
        caption = f"error {np.mean(errors):.3g} on average, {max(errors):.3g} at most"
        plot = svg(_curve(row), f"{place}: errors of {file}")
        films.append(Reconstruction(file, caption, plot, _address(results.folder / FOLDER / f"{place}.png")))
    return films


def errors_png(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The errors of one film over time as a PNG file, from its row of `predict`, or one for each of several windows.

    A frame that stands in two windows is taken from the first.
    """
    series = {name: np.concatenate([row[name] for row in rows]) for name in ("times", "errors")}
    times, first = np.unique(series["times"], return_index=True)
    figure = _curve({"times": times, "errors": series["errors"][first]}, LIGHT)
    figure.suptitle(plain(str(rows[0].get("file", ""))), fontsize=9, color=LIGHT[INK], x=0.01, ha="left")
    return png(figure)


def _curve(row: Mapping[str, Any], colors: Mapping[str, str] = PAGE) -> Figure:
    figure, [axes] = panels([1.5], _WIDTH, colors)
    times, errors = np.asarray(row["times"], dtype=float), np.asarray(row["errors"], dtype=float)
    ends = np.append(times[1:], times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1.0))
    truth = row.get("truth") or [None] * len(times)
    for kind, color, depth in ((1, colors[BAD], 0.2), (None, colors[GRID], 0.4)):
        holds = np.array([label == kind for label in truth])
        if kind is None and holds.all():
            continue  # nothing is known of any frame
        edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(int))).reshape(-1, 2)
        for begin, stop in edges:
            axes.axvspan(float(times[begin]), float(ends[stop - 1]), color=color, alpha=depth, linewidth=0)
    axes.step(
        np.append(times, ends[-1]), np.append(errors, errors[-1]), where="post", color=colors[MODEL], linewidth=1.1
    )
    axes.set_ylim(0, 1.08 * max(float(errors.max()), 1e-12))
    axes.set_xlim(times[0], ends[-1])
    places = shown(row)
    axes.plot((times[places] + ends[places]) / 2, errors[places], "o", markersize=3.2, color=colors[INK])
    axes.set_ylabel("error", color=colors[MUTED])
    axes.set_xlabel("s, or frames", color=colors[MUTED])
    return figure


def _pixels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, C, H, W) from 0 to 1 to (n, H, W, 3): three channels, or the first as grey."""
    values = values if values.shape[1] == 3 else np.repeat(values[:, :1], 3, axis=1)
    return (255 * values.clip(0, 1)).round().astype(np.uint8).transpose(0, 2, 3, 1)


def _tile(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    size = max(1, round(width * _HEIGHT / height)), _HEIGHT
    how = Image.Resampling.LANCZOS if height > _HEIGHT else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _address(path: Path) -> str:
    if not path.is_file():
        return ""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
