"""Figures: matplotlib plots as SVG inside the page, in the page's own colours and font.

A plot is drawn with marker colours that no plot would use otherwise; they are then replaced by CSS variables, so that
one plot is right in a light and in a dark page. Text stays text and takes the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
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
# Ten hues that stand apart on white and on black, for bars and dots of classes.
CLASS_COLORS = (
    "#3b82f6",
    "#f59e0b",
    "#10b981",
    "#ef4444",
    "#a855f7",
    "#14b8a6",
    "#ec4899",
    "#84cc16",
    "#6366f1",
    "#a16207",
)
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
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def plain(text: str) -> str:
    """A name from outside as it is: matplotlib would take what stands between two dollars for mathematics."""
    return text.replace("$", r"\$")


def class_color(index: int) -> str:
    """Colour of the class at that place in the list of labels."""
    return CLASS_COLORS[index % len(CLASS_COLORS)]


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
