"""Heat strips: one explained clip as a picture. What the model saw, the heat over it, and how much each frame counted.

Each kind of frame has one small function that makes layers of it; they are put together in one way. Bars are the shares
of the heat; the line is what the score lost when the frame was covered, so that heat which means nothing is seen. What
this file is not: it chooses no clips and writes no file.

Shape letters: T frames, C channels, H W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from unreel.inference import Explanation
from unreel.reports.figures import BAD, GOOD, GRID, INK, LIGHT, MODEL, MUTED, plain, png
from unreel.reports.pictures import as_bytes

COLUMNS = 16
"""Frames that are shown at most; of more, that of each stretch which counted most."""
VIEWS = ("axial", "sagittal", "coronal")
"""Names of views, by number."""
_WIDTH, _TALLEST, _CELL = 9.2, 2.4, 1.5  # inches: of a row, of a picture at most, of the picture of a single frame
_BARS, _MARGIN, _GAP, _BELOW, _TITLE = 0.62, 0.5, 0.06, 0.24, 0.3
_COLORS = "inferno"
_KEY = "bars: share of the heat   line: what the score loses without the frame"


@dataclass(frozen=True, eq=False)
class Layer:
    """Frames of one view, side by side, and how they counted.

    Args:
        name: of the view; empty where there is one.
        seen: (H, W, 3) uint8, what the model saw.
        heated: the same with the heat over it; None where the heat has no places.
        columns: how many frames stand side by side; 0 where the picture is one whole.
        bars: (T,) importance.
        lost: (T,) what the score lost without the frame; None where it was not asked.
        attention: (T,) or None.
    """

    name: str
    seen: NDArray[np.uint8]
    heated: NDArray[np.uint8] | None
    columns: int
    bars: NDArray[np.float64]
    lost: NDArray[np.float64] | None
    attention: NDArray[np.float64] | None


def heat_strip(explanation: Explanation) -> bytes:
    """The picture as a PNG file."""
    kinds: Mapping[int, Callable[[Explanation], Figure]] = {4: _pictures, 2: _field}
    return png(kinds[explanation.frames.ndim](explanation))


def _pictures(explanation: Explanation) -> Figure:
    """Images (T, C, H, W), those of each view in a row of their own."""
    count = len(explanation.frames)
    views = np.zeros(count, dtype=int) if explanation.views is None else explanation.views.numpy()
    bars, lost, attention = _numbers(explanation)
    pixels = as_bytes(explanation.frames.numpy())
    layers = []
    for view in np.unique(views):
        inside = np.flatnonzero(views == view)
        stretches = np.array_split(inside, min(COLUMNS, len(inside)))
        shown = [int(stretch[bars[stretch].argmax()]) for stretch in stretches]
        frames = [np.broadcast_to(pixels[at], (*pixels[at].shape[:2], 3)) for at in shown]
        heated = None
        if explanation.heat is not None:
            heated = _side_by_side(
                [_heated(frame, explanation.heat[at]) for frame, at in zip(frames, shown, strict=True)]
            )
        name = "" if explanation.views is None else VIEWS[view] if view < len(VIEWS) else f"view {view}"
        layers.append(
            Layer(
                name,
                _side_by_side(frames),
                heated,
                len(shown),
                bars[inside],
                None if lost is None else lost[inside],
                None if attention is None else attention[inside],
            )
        )
    return _figure(explanation, layers)


def _field(explanation: Explanation) -> Figure:
    """Vectors (T, F), such as frames of a spectrogram, as one picture: time to the right, features upwards."""
    field = explanation.frames.double().numpy().T[::-1]
    low, high = np.nanmin(field), np.nanmax(field)
    scaled = np.nan_to_num((field - low) / max(high - low, 1e-12))
    seen = np.asarray(mpl.colormaps["gray"](scaled, bytes=True))[..., :3]
    heated = None if explanation.heat is None else _heated(seen, explanation.heat.T.flip(0))
    return _figure(explanation, [Layer("", seen, heated, 0, *_numbers(explanation))])


def _numbers(
    explanation: Explanation,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Importance, loss and attention of every frame."""
    covered, attention = explanation.occlusion.frames, explanation.attention
    return (
        explanation.importance.double().numpy(),
        None if covered is None else covered[explanation.occlusion.parts].double().numpy(),
        None if attention is None else attention.double().numpy(),
    )


def _heated(pixels: NDArray[np.uint8], heat: Tensor) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) as dim grey, with heat (H, W) in colour over it."""
    share = heat.double().numpy()[..., None]
    grey = pixels.mean(-1, keepdims=True) * 0.75
    color = np.asarray(mpl.colormaps[_COLORS](0.25 + 0.7 * share[..., 0]))[..., :3] * 255
    cover = 0.85 * np.sqrt(share)
    return np.rint(grey * (1 - cover) + color * cover).astype(np.uint8)


def _side_by_side(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Frames (H, W, 3) in one row, a white line between them."""
    width = max(1, round(frames[0].shape[1] * 0.03))
    line = np.full((frames[0].shape[0], width, 3), 255, dtype=np.uint8)
    return np.concatenate([part for frame in frames for part in (frame, line)][:-1], axis=1)


def _figure(explanation: Explanation, layers: Sequence[Layer]) -> Figure:
    """All layers, one below the other, each with its bars."""
    width = min(_WIDTH, max(2 * _CELL, max(_CELL * (layer.columns or COLUMNS) for layer in layers)))
    heights = [min(_TALLEST, width * layer.seen.shape[0] / layer.seen.shape[1]) for layer in layers]
    total = sum(
        height * (1 if layer.heated is None else 2) + _BARS + 3 * _GAP + _BELOW
        for height, layer in zip(heights, layers, strict=True)
    )
    page_width, page_height = width + 2 * _MARGIN, total + _TITLE
    figure = Figure(figsize=(page_width, page_height))
    top = page_height - _TITLE

    def place(height: float, left: float = _MARGIN, across: float = width) -> Axes:
        nonlocal top
        top -= height
        axes = figure.add_axes((left / page_width, top / page_height, across / page_width, height / page_height))
        top -= _GAP
        return axes

    line = 1 - 0.2 / page_height
    figure.text(_MARGIN / page_width, line, plain(_title(explanation)), size=9, color=LIGHT[INK])
    if width == _WIDTH:
        figure.text(1 - _MARGIN / page_width, line, _KEY, size=7, color=LIGHT[MUTED], ha="right")
    for layer, height in zip(layers, heights, strict=True):
        across = min(width, height * layer.seen.shape[1] / layer.seen.shape[0]) if layer.columns else width
        for picture in (layer.seen, layer.heated):
            if picture is not None:
                axes = place(height, across=across)
                axes.imshow(picture, aspect="auto", interpolation="nearest")
                axes.set_axis_off()
                if picture is layer.seen and layer.name:
                    axes.set_title(layer.name, size=8, loc="left", pad=2)
        _draw_bars(place(_BARS, across=across), layer, max(1, len(explanation.importance)))
        top -= _BELOW
    return figure


def _title(explanation: Explanation) -> str:
    found = explanation.agreement["frames"]
    agreement = "" if found is None else f"   ·   rank correlation with covering frames {found:.2f}"
    return f"why {explanation.target}   ·   output {explanation.score:.2f}{agreement}"


def _draw_bars(axes: Axes, layer: Layer, frames: int) -> None:
    """A bar a frame in the page's blue, the loss as a line, attention as dots; each as a share of its own largest."""
    count = len(layer.bars)
    places = np.arange(count) + 0.5
    axes.bar(places, layer.bars, width=0.8 if count <= 64 else 1.0, color=LIGHT[MODEL], label="share of the heat")
    axes.set_xlim(0, count)
    axes.set_ylim(0, max(layer.bars.max() * 1.12, 1.5 / frames))
    axes.set_xticks(places if count <= COLUMNS else places[:: -(-count // COLUMNS)])
    axes.set_xticklabels([str(int(place)) for place in axes.get_xticks()])
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(2))
    axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    if layer.attention is not None:
        axes.plot(places, layer.attention, "o", ms=3, color=LIGHT[GOOD], label="attention")
    if layer.lost is not None:
        beside = axes.twinx()
        beside.plot(places, layer.lost, color=LIGHT[BAD], lw=1, marker=".", ms=3)
        beside.axhline(0, color=LIGHT[GRID], lw=0.6)
        beside.yaxis.set_major_locator(mpl.ticker.MaxNLocator(2))
        beside.tick_params(labelsize=6.5, length=2, labelcolor=LIGHT[BAD])
        for side in ("top", "left", "right", "bottom"):
            beside.spines[side].set_visible(False)
    axes.tick_params(labelsize=6.5, length=2, labelcolor=LIGHT[MUTED])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
