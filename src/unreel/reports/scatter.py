"""Scatter: predicted numbers against true ones, and what remains between them."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from unreel.reports.figures import INK, MODEL, MUTED, plain, plot, svg
from unreel.reports.results import Results
from unreel.reports.traces import TRACE_TASKS

MOST_OUTPUTS = 6
MOST_STEPS = 2000


def scatter(results: Results) -> list[Markup]:
    """Two plots for each of the first six numbers of a regression: truth and prediction, and residuals."""
    if results.task not in ("regress", *TRACE_TASKS):
        return []
    rows = [row for row in results.predictions if row.get("truth") is not None]
    pairs = [(row["truth"], row["values"]) for row in rows]
    if results.task in TRACE_TASKS:
        steps = [pair for truth, said in pairs for pair in zip(truth, said, strict=True) if pair[0] is not None]
        pairs = steps[:: -(-len(steps) // MOST_STEPS) or 1]
    if not pairs:
        return []
    plots = []
    for output, label in enumerate(results.labels[:MOST_OUTPUTS]):
        truth = [numbers[output] for numbers, _ in pairs]
        said = [numbers[output] for _, numbers in pairs]
        plots += [_against(label, truth, said), _residuals(label, truth, said)]
    return plots


def _against(label: str, truth: list[float], said: list[float]) -> Markup:
    figure, axes = plot(height=3.2)
    low, high = min(*truth, *said), max(*truth, *said)
    axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(truth, said, "o", markersize=4, color=MODEL, alpha=0.6, markeredgewidth=0)
    axes.set_xlabel("truth", color=MUTED)
    axes.set_ylabel("prediction", color=MUTED)
    axes.set_title(plain(label), loc="left")
    return svg(figure, f"{label}: prediction against truth")


def _residuals(label: str, truth: list[float], said: list[float]) -> Markup:
    figure, axes = plot(height=3.2)
    residuals = [value - true for value, true in zip(said, truth, strict=True)]
    axes.hist(residuals, bins=min(30, max(5, len(residuals) // 5)), color=MODEL)
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlabel("prediction − truth", color=MUTED)
    axes.set_ylabel("clips", color=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{plain(label)}: residuals", loc="left")
    return svg(figure, f"{label}: residuals")
