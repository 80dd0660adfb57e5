"""Curves: losses, measures and learning rate over the epochs, with the epoch whose weights were kept."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator

from unreel.reports.figures import GOOD, INK, MODEL, MUTED, OTHER, plot, svg
from unreel.reports.measures import PLAIN_NUMBERS, title
from unreel.reports.results import Results


def curves(results: Results) -> list[Markup]:
    """One plot of the losses, one of the watched measure, one of the learning rate; none where history is empty.

    Of captions also one of how many of them differ.
    """
    best = results.metrics.get("best_epoch")
    columns = {name for row in results.history for name in row}
    watched = str(results.metrics.get("monitor", "val_loss"))
    if watched == "val_loss" or watched not in columns:
        measured = sorted(c for c in columns if c.startswith("val_") and c != "val_loss")
        watched = measured[0] if measured else ""
    plots = []
    if columns & {"train_loss", "val_loss"}:
        plots.append(_curve(results, "Loss", ["train_loss", "val_loss"], best, percent=False))
    if watched:
        name = watched.removeprefix("val_")
        constant = f"val_constant_{name}"
        both = [constant, watched] if constant in columns else [watched]
        plots.append(_curve(results, f"{title(name)} on validation", both, best, percent=name not in PLAIN_NUMBERS))
    if "val_distinct" in columns:
        plots.append(_curve(results, "Distinct captions on validation", ["val_distinct"], best, True, least=0.0))
    if "lr" in columns:
        plots.append(_curve(results, "Learning rate", ["lr"], best, percent=False))
    return plots


def _curve(
    results: Results, name: str, columns: Sequence[str], best: int | None, percent: bool, least: float | None = None
) -> Markup:
    """The last of one or two columns is the chief one; `least` is where its axis begins, None for anywhere."""
    figure, axes = plot(height=2.5)
    names = {"train_loss": "training", "val_loss": "validation", "val_constant_cider_d": "best single caption"}
    names |= {column: "this model" for column in columns[1:] if column != "val_loss"}
    for column, color in zip(columns, (OTHER, MODEL) if len(columns) > 1 else (MODEL,), strict=True):
        points = [(row["epoch"], row[column]) for row in results.history if {"epoch", column} <= row.keys()]
        if points:
            few = "o" if len(points) <= 20 else ""
            axes.plot(
                *zip(*points, strict=True),
                color=color,
                linewidth=1.8,
                marker=few,
                markersize=3.2,
                label=names.get(column, column),
            )
        kept = [value for epoch, value in points if epoch == best]
        if kept and best is not None and column == columns[-1] and column.startswith("val_"):
            axes.plot([best], kept, marker="o", markersize=8, markerfacecolor="none", color=GOOD, markeredgewidth=1.8)
    if best is not None:
        axes.axvline(best, color=GOOD, linewidth=1, linestyle=(0, (3, 3)), zorder=0.5)
        axes.annotate(
            f"best epoch {best}",
            (best, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            fontsize=8,
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=GOOD,
        )
    if len(columns) > 1:
        axes.legend(labelcolor=INK, frameon=False, fontsize=8.5)
    axes.set_xlabel("epoch", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    if least is not None:
        axes.set_ylim(bottom=least)
    axes.set_title(name, loc="left", pad=16)
    return svg(figure, f"{name} over the epochs")
