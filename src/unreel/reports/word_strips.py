"""Word strips: one explained caption as a picture, a cell for each word: where it looked, what counted, what it lost.

A cell shows the frame that counted most, with the heat over it; above it, where the model attends, the frame it looked
at most. Of clips, bars are the shares of the frames in the heat, dots those in the attention, and the line is what the
word's log-probability lost when the frame was covered; of a single picture that loss is a number. What this file is
not: it chooses no clips and writes no file.

Shape letters: T frames, L words, P parts, h w places of a map, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unreel.inference import CaptionExplanation
from unreel.reports.figures import BAD, GOOD, GRID, INK, LIGHT, MODEL, MUTED, plain, png
from unreel.reports.looks import look_at, side_by_side
from unreel.reports.pictures import as_bytes

COLUMNS, FRAMES = 8, 16
"""Cells in a row, and frames of a clip that are shown whole, at most."""
_CELL, _GAP, _TALLEST, _LETTERS = 1.15, 0.08, 2.0, 13  # inches of a cell, between two, of a tile at most; of a word
_MARGIN, _TITLE, _WORD, _UNDER, _BARS, _BETWEEN = 0.5, 0.34, 0.42, 0.17, 0.5, 0.24  # inches
_LEAST = 0.005  # a loss that is shown
_PICTURE_KEY = "red: what the word's log-probability loses without the picture"
_CLIP_KEY = "bars: share of the heat   dots: of the attention   line: what the word's log-probability loses"
_PLAIN_KEY = "bars: share of the heat   line: what the word's log-probability loses without the frame"


def word_strip(explanation: CaptionExplanation) -> bytes:
    """The picture as a PNG file."""
    frames = as_bytes(explanation.frames.numpy()) if explanation.frames.ndim == 4 else None
    maps = [] if frames is None else _maps(explanation)
    height, width = (0.0, 0.0) if frames is None else _size(frames)
    several = len(explanation.times) > 1
    whole = frames is not None
    cell = _WORD + len(maps) * (height + (_UNDER if several else _GAP)) + (_BARS + _BETWEEN if several else _UNDER)
    first = int(whole and not several)  # a single picture has a cell of its own, before the words
    rows = max(1, math.ceil((len(explanation.words) + first) / COLUMNS))
    shown = _shown(len(explanation.times))
    film = side_by_side(list(frames[shown])) if frames is not None and several else None
    long, tall = (0.0, 0.0) if film is None else _size_of_film(film, len(shown))
    above = 0.0 if film is None else tall + _UNDER + _GAP
    page = _TITLE + above + rows * (cell + _BETWEEN)
    figure = Figure(figsize=(_across() + 2 * _MARGIN, page))
    canvas = _Canvas(figure, page)
    _draw_title(canvas, explanation, several)
    top = _TITLE
    if film is not None:
        _picture(canvas.axes(_MARGIN, top, long, tall), film)
        for place, frame in enumerate(shown):
            middle = _MARGIN + (place + 0.5) * long / len(shown)
            canvas.text(middle, top + tall + 0.12, str(frame), 6.5, MUTED, "center")
        top += above
    highest = _highest(explanation)
    for number in range(len(explanation.words) + first):
        row, column = divmod(number, COLUMNS)
        left, head = _MARGIN + column * (_CELL + _GAP), top + row * (cell + _BETWEEN)
        if column == 0:
            _name_rows(canvas, maps, head, height, several)
        if number < first and frames is not None:
            canvas.text(left + _CELL / 2, head + 0.34, "seen", 7, MUTED, "center")
            _picture(canvas.axes(left + (_CELL - width) / 2, head + _WORD, width, height), frames[0])
            continue
        _draw_word(canvas, explanation, number - first, frames, maps, (left, head, width, height), highest)
    return png(figure)


class _Canvas:
    """A figure in inches from its upper left corner."""

    def __init__(self, figure: Figure, height: float) -> None:
        self.figure, self.height = figure, height
        self.width = float(figure.get_figwidth())

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner lies there."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def text(
        self, x: float, y: float, text: str, size: float, color: str, align: str = "left", bold: bool = False
    ) -> None:
        """A line whose foot stands there."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            plain(text),
            size=size,
            color=LIGHT[color],
            ha=align,
            weight="bold" if bold else "normal",
        )


def _maps(explanation: CaptionExplanation) -> list[tuple[str, NDArray[np.float64]]]:
    """What is laid over the frames: name and (L, T, h, w)."""
    several = (("attention", explanation.attention), ("heat", explanation.heat))
    return [(name, one.double().numpy()) for name, one in several if one is not None]


def _across() -> float:
    return COLUMNS * _CELL + (COLUMNS - 1) * _GAP


def _size(frames: NDArray[np.uint8]) -> tuple[float, float]:
    """Height and width of a tile, inches."""
    high, wide = frames.shape[1:3]
    scale = min(_CELL / wide, _TALLEST / high)
    return scale * high, scale * wide


def _size_of_film(film: NDArray[np.uint8], count: int) -> tuple[float, float]:
    """Width and height of so many frames side by side, none of them wider or higher than a tile; inches."""
    scale = min(min(_across(), count * _CELL) / film.shape[1], _TALLEST / film.shape[0])
    return scale * film.shape[1], scale * film.shape[0]


def _shown(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)).tolist()


def _draw_title(canvas: _Canvas, explanation: CaptionExplanation, several: bool) -> None:
    total = f"log-probability {_signed(float(explanation.log_probs.sum()))} of {len(explanation.words)} words"
    canvas.text(_MARGIN, 0.2, total, 9, INK)
    attends = explanation.attention is not None
    key = (_CLIP_KEY if attends else _PLAIN_KEY) if several else _PICTURE_KEY
    canvas.text(_MARGIN + _across(), 0.2, key, 7, MUTED, "right")


def _name_rows(
    canvas: _Canvas, maps: Sequence[tuple[str, NDArray[np.float64]]], head: float, height: float, several: bool
) -> None:
    for place, (name, _) in enumerate(maps):
        middle = head + _WORD + place * (height + (_UNDER if several else _GAP)) + height / 2
        canvas.figure.text(
            (_MARGIN - 0.1) / canvas.width,
            1 - middle / canvas.height,
            name,
            size=7.5,
            color=LIGHT[MUTED],
            rotation=90,
            ha="right",
            va="center",
        )


def _draw_word(
    canvas: _Canvas,
    explanation: CaptionExplanation,
    number: int,
    frames: NDArray[np.uint8] | None,
    maps: Sequence[tuple[str, NDArray[np.float64]]],
    place: tuple[float, float, float, float],
    highest: tuple[float, float],
) -> None:
    left, head, width, height = place
    several = len(explanation.times) > 1
    middle = left + _CELL / 2
    word = explanation.words[number]
    word = word if len(word) <= _LETTERS else f"{word[: _LETTERS - 1]}…"
    canvas.text(middle, head + 0.18, word, 9.5, INK, "center", bold=True)
    sure = math.exp(float(explanation.log_probs[number]))
    canvas.text(middle, head + 0.34, f"{100 * sure:.0f} %" if sure >= 0.01 else "< 1 %", 7, MUTED, "center")
    top = head + _WORD
    for _, several_places in maps:
        if frames is not None:
            picture, frame = look_at(frames, several_places[number])
            _picture(canvas.axes(left + (_CELL - width) / 2, top, width, height), picture)
            if several:
                canvas.text(middle, top + height + 0.12, f"frame {frame}", 6.5, MUTED, "center")
        top += height + (_UNDER if several else _GAP)
    lost = explanation.occlusion.frames
    if several:
        _draw_frames(canvas.axes(left, top + 0.04, _CELL, _BARS), explanation, number, highest)
    elif lost is not None:
        fall = float(lost[0, number])
        canvas.text(middle, top + 0.1, _signed(-fall), 7.5, BAD if fall >= _LEAST else MUTED, "center")


def _draw_frames(axes: Axes, explanation: CaptionExplanation, number: int, highest: tuple[float, float]) -> None:
    """A bar a frame, dots for the attention, and the loss as a line with an axis of its own, alike for all words."""
    count = len(explanation.times)
    places = np.arange(count)
    axes.bar(places, explanation.importance[number].double().numpy(), width=0.8, color=LIGHT[MODEL])
    if explanation.attention is not None:
        axes.plot(places, explanation.attention[number].double().sum((1, 2)).numpy(), "o", ms=2, color=LIGHT[GOOD])
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_ylim(0, 1.1 * highest[0] or 1)
    axes.set_xticks([0, count - 1])
    axes.set_yticks([])
    axes.tick_params(labelsize=6, length=2, labelcolor=LIGHT[MUTED], color=LIGHT[GRID])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT[GRID])
    lost = explanation.occlusion.frames
    if lost is None:
        return
    beside = axes.twinx()
    beside.plot(places, lost[explanation.occlusion.parts, number].numpy(), color=LIGHT[BAD], lw=1)
    beside.axhline(0, color=LIGHT[BAD], lw=0.3)
    beside.set_ylim(-1.1 * highest[1] or -1, 1.1 * highest[1] or 1)
    beside.set_yticks([])
    beside.spines[:].set_visible(False)


def _highest(explanation: CaptionExplanation) -> tuple[float, float]:
    """The greatest share of a frame, and the greatest loss, of any word."""
    shares = [float(explanation.importance.max())] if explanation.importance.numel() else [0.0]
    if explanation.attention is not None and explanation.attention.numel():
        shares.append(float(explanation.attention.sum((2, 3)).max()))
    lost = explanation.occlusion.frames
    return max(shares), 0.0 if lost is None or not lost.numel() else float(lost.abs().max())


def _picture(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), aspect="auto", interpolation="nearest")
    axes.set_axis_off()


def _signed(number: float) -> str:
    return f"{number:+.2f}".replace("-", "−") if abs(number) >= _LEAST else "0.00"
