"""Heat strips: one explained clip as a picture. What the model saw, the heat over it, and how much each frame counted.

Each kind of frame has one small function that makes layers of it; they are put together in one way. Bars are the shares
of the heat; the line is what the score lost when the frame was covered, so that heat which means nothing is seen. What
this file is not: it chooses no clips and writes no file.

Shape letters: T frames, C channels, H W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import ImageFont

from unreel.data.readers.geometry import PLANES
from unreel.inference import Explanation
from unreel.reports.figures import BAD, GOOD, GRID, INK, LIGHT, MODEL, MUTED, plain, png
from unreel.reports.looks import heated, side_by_side
from unreel.reports.pictures import as_bytes
from unreel.reports.spectrograms import grey_field

COLUMNS = 16
"""Frames that are shown at most; of more, that of each stretch which counted most."""
_WIDTH, _NARROWEST, _CELL = 9.2, 2.6, 1.5  # inches: of a row, of the page, of a frame at most
_TALLEST, _LOWEST = 2.0, 0.8  # inches: of a picture
_BARS, _MARGIN, _GAP, _BELOW, _TITLE, _NAME = 0.62, 0.5, 0.06, 0.24, 0.3, 0.18
_LETTERS, _LINE, _WORDS = 10, 0.32, 400  # points of a word, inches of a line, words at most
_KEY = "bars: share of the heat   line: what the score loses without the frame"
_WORDS_KEY = "blue: share of the heat   red: what the score loses without the word"


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
    kinds: Mapping[int, Callable[[Explanation], Figure]] = {4: _pictures, 2: _field, 1: _words}
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
        frames = list(pixels[shown])
        hot = None
        if explanation.heat is not None:
            hot = side_by_side(
                [heated(frame, explanation.heat[at].double().numpy()) for frame, at in zip(frames, shown, strict=True)]
            )
        name = "" if explanation.views is None else PLANES[view] if view < len(PLANES) else f"view {view}"
        layers.append(
            Layer(
                name,
                side_by_side(frames),
                hot,
                len(shown),
                bars[inside],
                None if lost is None else lost[inside],
                None if attention is None else attention[inside],
            )
        )
    return _figure(explanation, layers)


def _field(explanation: Explanation) -> Figure:
    """Vectors (T, F), such as frames of a spectrogram, as one picture: time to the right, features upwards."""
    seen = grey_field(explanation.frames.numpy())
    hot = None if explanation.heat is None else heated(seen, explanation.heat.T.flip(0).double().numpy())
    return _figure(explanation, [Layer("", seen, hot, 0, *_numbers(explanation))])


def _words(explanation: Explanation) -> Figure:
    """Words of a text (T,), line after line: the more one counted the bluer, the more it was missed the redder."""
    font = ImageFont.truetype(findfont("DejaVu Sans"), 100)
    words = explanation.where.get("words") or [str(token) for token in explanation.frames.tolist()]
    shown = [str(words[int(time)]) for time in explanation.times.tolist()][:_WORDS]
    bars, lost, _ = _numbers(explanation)
    share = bars / max(bars.max(), 1e-12)
    missed = np.zeros_like(bars) if lost is None else lost.clip(0) / max(lost.max(), 1e-12)
    left, row = 0.0, 0
    places = []
    for word in shown:
        width = font.getlength(word) / 100 * _LETTERS / 72
        if left + width > _WIDTH and left:
            left, row = 0.0, row + 1
        places.append((left, row, width))
        left += width + 0.1
    page, width = _TITLE + (row + 1) * _LINE + 0.15, _WIDTH + 2 * _MARGIN
    figure = Figure(figsize=(width, page))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(page, 0)
    axes.set_axis_off()
    axes.text(_MARGIN, 0.2, plain(_title(explanation, True)), size=9, color=LIGHT[INK])
    axes.text(_MARGIN + _WIDTH, 0.2, _WORDS_KEY, size=7, color=LIGHT[MUTED], ha="right")
    for number, (word, (left, row, across)) in enumerate(zip(shown, places, strict=True)):
        x, y = _MARGIN + left, _TITLE + row * _LINE + 0.05
        axes.add_patch(
            Rectangle((x - 0.03, y), across + 0.06, 0.22, color=LIGHT[MODEL], alpha=0.9 * share[number], lw=0)
        )
        axes.plot([x, x + across], [y + 0.25] * 2, color=LIGHT[BAD], lw=2.5 * missed[number], solid_capstyle="butt")
        axes.text(x, y + 0.16, plain(word), size=_LETTERS, color="white" if share[number] > 0.7 else LIGHT[INK])
    return figure


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


def _figure(explanation: Explanation, layers: Sequence[Layer]) -> Figure:
    """All layers, one below the other, each with its bars."""
    sizes = [_size(layer) for layer in layers]
    with_bars = len(explanation.importance) > 1
    below = _BARS + _GAP + _BELOW if with_bars else 0.0
    named = any(layer.name for layer in layers)
    heights = [
        (height + _GAP) * (1 if layer.heated is None else 2) + below + _NAME * named
        for (_, height), layer in zip(sizes, layers, strict=True)
    ]
    width = max(_NARROWEST, *(across for across, _ in sizes)) + 2 * _MARGIN
    page = sum(heights) + _TITLE
    figure = Figure(figsize=(width, page))
    top = page - _TITLE

    def place(across: float, height: float) -> Axes:
        nonlocal top
        top -= height
        axes = figure.add_axes((_MARGIN / width, top / page, across / width, height / page))
        top -= _GAP
        return axes

    wide = width > _WIDTH
    line = 1 - 0.2 / page
    figure.text(_MARGIN / width, line, plain(_title(explanation, wide)), size=9, color=LIGHT[INK])
    if wide and with_bars:
        figure.text(1 - _MARGIN / width, line, _KEY, size=7, color=LIGHT[MUTED], ha="right")
    for layer, (across, height) in zip(layers, sizes, strict=True):
        top -= _NAME * named
        for picture in (layer.seen, layer.heated):
            if picture is not None:
                axes = place(across, height)
                axes.imshow(picture, aspect="auto", interpolation="nearest")
                axes.set_axis_off()
                if picture is layer.seen:
                    axes.set_title(layer.name, size=8, loc="left", pad=2)
        if with_bars:
            _draw_bars(place(across, _BARS), layer, float(explanation.importance.max()))
            top -= _BELOW
    return figure


def _size(layer: Layer) -> tuple[float, float]:
    """Width and height of a layer's picture, inches: a few frames are not blown up, a whole picture fills the row."""
    height, width = layer.seen.shape[:2]
    across = min(_WIDTH, _CELL * layer.columns) if layer.columns else _WIDTH
    scale = min(across / width, _TALLEST / height)
    return (scale * width, scale * height) if layer.columns else (across, max(_LOWEST, scale * height))


def _title(explanation: Explanation, wide: bool) -> str:
    found = explanation.agreement["frames"]
    agreement = f"   ·   rank correlation with covering frames {found:.2f}" if wide and found is not None else ""
    return f"why {explanation.target}   ·   output {explanation.score:.2f}{agreement}"


def _draw_bars(axes: Axes, layer: Layer, highest: float) -> None:
    """A bar a frame, up to the highest of the clip; the loss as a line with an axis of its own; attention as dots."""
    count = len(layer.bars)
    places = np.arange(count) + 0.5
    axes.bar(places, layer.bars, width=0.8 if count <= 64 else 1.0, color=LIGHT[MODEL])
    dots = 0.0 if layer.attention is None else float(layer.attention.max())
    axes.set_xlim(0, count)
    axes.set_ylim(0, 1.12 * max(highest, dots) or 1)
    axes.set_xticks(places if count <= COLUMNS else places[:: -(-count // COLUMNS)])
    axes.set_xticklabels([str(int(place)) for place in axes.get_xticks()])
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if layer.attention is not None:
        axes.plot(places, layer.attention, "o", ms=3, color=LIGHT[GOOD])
    if layer.lost is not None:
        beside = axes.twinx()
        beside.plot(places, layer.lost, color=LIGHT[BAD], lw=1, marker=".", ms=3)
        beside.axhline(0, color=LIGHT[GRID], lw=0.6)
        beside.yaxis.set_major_locator(MaxNLocator(2))
        beside.tick_params(labelsize=6.5, length=2, labelcolor=LIGHT[BAD])
        beside.spines[:].set_visible(False)
    axes.tick_params(labelsize=6.5, length=2, labelcolor=LIGHT[MUTED])
    axes.spines[["top", "right", "left"]].set_visible(False)
