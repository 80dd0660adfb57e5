"""Data summary: what a scan of the data found, and the files that were left out of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from unreel.data import DataReport
from unreel.reports.figures import BAD, INK, MODEL, MUTED, plain, plot, svg
from unreel.reports.results import Results

MOST_BARS = 30
MOST_ROWS = 100
LONGEST_NAME = 24  # letters of a class beside its bar; the tables have the whole name


@dataclass(frozen=True)
class Listing:
    """A list of files to look at.

    Args:
        title: what is wrong with them.
        rows: file names and reasons, cut at `MOST_ROWS`.
        more: how many rows were cut.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]
    more: int


@dataclass(frozen=True)
class DataSummary:
    """The data as it was before the split.

    Args:
        facts: (name, number) of the whole.
        spreads: (what, least, median, most) of a readable file.
        sizes: (shape of a frame, number of files), most frequent first.
        plots: clips of each class, lengths.
        lists: unreadable files, the same files, nearly the same files; only those that there are.
        small: classes of too few clips.
    """

    facts: tuple[tuple[str, str], ...]
    spreads: tuple[tuple[str, str, str, str], ...]
    sizes: tuple[tuple[str, int], ...]
    plots: tuple[Markup, ...]
    lists: tuple[Listing, ...]
    small: tuple[str, ...]


def data_summary(results: Results) -> DataSummary | None:
    """What is known of the data, None where nothing is."""
    report = results.data or DataReport(files=(), classes={})
    broken = {**report.unreadable, **dict(results.left_out)}
    if results.data is None and not broken:
        return None
    files = report.readable
    facts = [("unreadable", str(len(broken)))]
    words = report.words
    if words is not None:
        whole = [("texts", f"{len(report.files):,}"), ("words", f"{words.count:,}")]
        whole += [("different words", f"{words.different:,}"), ("of them once", f"{words.once:,}")]
        facts = [*whole, *facts]
    elif results.data is not None:
        whole = [("files", f"{len(report.files):,}"), ("frames", f"{sum(file.frames for file in files):,}")]
        facts = [*whole, ("in all", _duration(sum(file.seconds for file in files))), *facts]
    captions = report.captions
    if captions is not None:
        facts += captions.facts()
    lists = (
        _listing("Captions of one word", captions.short if captions is not None else ()),
        _listing("Could not be read and were left out", broken.items()),
        _listing("The same content", [(", ".join(alike),) for alike in report.identical]),
        _listing("Nearly the same pictures", report.near),
    )
    sizes = Counter(file.size for file in files if file.size).most_common(8)
    lengths = [file.frames for file in files]
    measured = (
        [("words", lengths, 0)]
        if words is not None
        else [
            ("frames", lengths, 0),
            ("seconds", [file.seconds for file in files], 2),
            ("frames a second", [file.fps for file in files if file.fps is not None], 2),
        ]
    )
    spreads = [_spread(name, values, digits) for name, values, digits in measured if values]
    return DataSummary(
        facts=tuple((name, number.replace(",", " ")) for name, number in facts),
        spreads=(*spreads, *(captions.spreads() if captions is not None else ())),
        sizes=tuple((_size(size), count) for size, count in sizes),
        plots=tuple(_plots(report)),
        lists=tuple(listing for listing in lists if listing.rows),
        small=report.small,
    )


def _listing(title: str, rows: Iterable[Sequence[str]]) -> Listing:
    found = [tuple(row) for row in rows]
    return Listing(f"{title}: {len(found)}", tuple(found[:MOST_ROWS]), max(0, len(found) - MOST_ROWS))


def _spread(name: str, values: Sequence[float], digits: int) -> tuple[str, str, str, str]:
    least, middle, most = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return name, least, middle, most


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(shape: tuple[int, ...]) -> str:
    """Width × height of pictures, as everyone says it; other frames by their shape."""
    if len(shape) == 3 and shape[0] in (1, 3):
        return f"{shape[2]} × {shape[1]}{' grey' if shape[0] == 1 else ''}"
    return " × ".join(map(str, shape))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _words_plot(common: Sequence[tuple[str, int]]) -> Markup:
    figure, axes = plot(height=0.8 + 0.26 * max(3, len(common)))
    bars = axes.barh(range(len(common)), [count for _, count in common], height=0.66, color=MODEL)
    axes.bar_label(bars, padding=4, color=INK)
    axes.set_yticks(range(len(common)), [plain(_short(word)) for word, _ in common], color=INK)
    axes.set_ylim(max(len(common), 3) - 0.5, -0.5)
    axes.margins(x=0.14)
    axes.grid(axis="y", visible=False)
    axes.set_title("Most common words of the captions", loc="left")
    return svg(figure, "Most common words of the captions")


def _plots(report: DataReport) -> list[Markup]:
    plots = []
    if report.classes:
        largest = sorted(report.classes.items(), key=lambda item: -item[1])[:MOST_BARS]
        figure, axes = plot(height=0.8 + 0.26 * max(3, len(largest)))
        colors = [BAD if name in report.small else MODEL for name, _ in largest]
        bars = axes.barh(range(len(largest)), [count for _, count in largest], height=0.66, color=colors)
        axes.bar_label(bars, padding=4, color=INK)
        axes.set_yticks(range(len(largest)), [plain(_short(name)) for name, _ in largest], color=INK)
        axes.set_ylim(max(len(largest), 3) - 0.5, -0.5)
        axes.margins(x=0.14)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        cut = f", the {MOST_BARS} largest of {len(report.classes)}" if len(report.classes) > MOST_BARS else ""
        axes.set_title(f"Clips of each class{cut}", loc="left")
        plots.append(svg(figure, "Clips of each class"))
    if report.captions is not None:
        plots.append(_words_plot(report.captions.common))
    if report.readable:
        figure, axes = plot(height=2.4)
        axes.hist([file.seconds for file in report.readable], bins=24, color=MODEL)
        axes.set_xlabel("seconds" if report.words is None else "words", color=MUTED)
        axes.set_ylabel("files", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_title("Lengths", loc="left")
        plots.append(svg(figure, "Lengths of the files"))
    return plots
