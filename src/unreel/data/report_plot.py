"""The figure of a data report: counts of classes, lengths, frame rates and sizes.

What this file is not: pictures of clips; the run's report shows those.
"""

from __future__ import annotations

import io
from collections import Counter

from unreel.data.report import DataReport

_BARS = 30
_COLOUR = "#3b6ea5"
_FEW = "#c8553d"


def scan_plot(report: DataReport) -> bytes:
    """One figure of four plots, PNG.

    Args:
        report: of any number of files, also none that can be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    classes, lengths, rates, sizes = figure.subplots(2, 2).flat
    shown = dict(sorted(report.classes.items(), key=lambda item: -item[1])[:_BARS])
    names = [_short(name) for name in shown]
    colours = [_FEW if name in report.small else _COLOUR for name in shown]
    bars = classes.barh(range(len(names)), list(shown.values()), color=colours)
    classes.bar_label(bars, padding=3)
    classes.set_yticks(range(len(names)), names)
    classes.set_ylim(max(len(names), 6) - 0.5, -0.5)
    classes.margins(x=0.12, y=0)
    more = f", the {_BARS} largest of {len(report.classes)}" if len(report.classes) > _BARS else ""
    few = ", red: too few" if report.small else ""
    classes.set(title=f"Clips of each class{more}{few}", xlabel="clips")

    files = report.readable
    lengths.hist([file.seconds for file in files], bins=30, color=_COLOUR)
    lengths.set(title="Lengths", xlabel="seconds" if report.words is None else "words", ylabel="files")
    rates.hist([file.fps for file in files if file.fps is not None], bins=30, color=_COLOUR)
    rates.set(title="Frame rates", xlabel="frames a second", ylabel="files")

    counts = Counter(file.size for file in files).most_common(_BARS // 2)
    bars = sizes.barh(range(len(counts)), [count for _, count in counts], color=_COLOUR)
    sizes.bar_label(bars, padding=3)
    sizes.set_yticks(range(len(counts)), [_size_name(size) for size, _ in counts])
    sizes.set_ylim(max(len(counts), 6) - 0.5, -0.5)
    sizes.margins(x=0.12, y=0)
    sizes.set(title="Sizes of frames", xlabel="files")
    for axes in (classes, lengths, rates, sizes):
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _short(name: str, most: int = 28) -> str:
    # matplotlib takes dollars for mathematics
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")


def _size_name(size: tuple[int, ...]) -> str:
    if len(size) == 3 and size[0] in (1, 3):
        return f"{size[2]} × {size[1]}{' grey' if size[0] == 1 else ''}"
    return " × ".join(map(str, size))
