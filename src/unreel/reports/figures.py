"""Figures: matplotlib plots as SVG inside the page, in the page's own colours and font.

A plot is drawn with marker colours that no plot would use otherwise; they are then replaced by CSS variables, so that
one plot is right in a light and in a dark page. Text stays text and takes the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, MODEL, OTHER, GOOD, BAD = (f"#0{digit}0{digit}0{digit}" for digit in range(1, 8))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    MODEL: "--model",
    OTHER: "--other",
    GOOD: "--good",
    BAD: "--bad",
}
PAGE: Mapping[str, str] = {color: color for color in _VARIABLES}
"""Colours of a plot inside the page: markers, which `svg` replaces."""
LIGHT: Mapping[str, str] = {
    INK: "#17202c",
    MUTED: "#5d6878",
    GRID: "#dde2e9",
    MODEL: "#2f6fde",
    OTHER: "#a9b4c2",
    GOOD: "#1f8a54",
    BAD: "#c93a3a",
}
"""Colours of a plot that is a picture of its own, on white: those of the light page."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


def plot(height: float, width: float = 4.4) -> tuple[Figure, Axes]:
    """An empty plot of `width` by `height` inches in the page's style; one inch is 72 px of the page or less."""
    figure, [axes] = panels([height], width, PAGE)
    return figure, axes


def panels(heights: Sequence[float], width: float, colors: Mapping[str, str]) -> tuple[Figure, list[Axes]]:
    """Empty plots one above the other, of these heights in inches, that share their horizontal axis."""
    with mpl.rc_context({name: colors.get(value, value) for name, value in _STYLE.items()}):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        found = figure.subplots(len(heights), sharex=True, height_ratios=heights, squeeze=False)
        return figure, found.flatten().tolist()


def plain(text: str) -> str:
    """A name from outside as it is: matplotlib would take what stands between two dollars for mathematics."""
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure, made with the colours `LIGHT`, as a PNG file of 150 pixels an inch."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> Markup:
    """The figure as an inline `<svg>`.

    Args:
        figure: made by `plot`.
        name: what it shows, one line: read aloud by screen readers, and unique in the page, since it seeds the ids.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # the text stays text, drawn by the reader's browser, so a script that matplotlib's font lacks is no trouble
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    # Inside a page `xlink:href` needs no namespace any more; the sizes are left to the style sheet.
    text = text.replace("xlink:href", "href")
    head, body = text.split(">", 1)
    head = re.sub(r'\s+(width|height)="[^"]*"', "", head)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    return Markup(f'{head} role="img" aria-label="{escape(name)}">{body}')
