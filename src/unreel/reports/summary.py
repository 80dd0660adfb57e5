"""Summary: several runs of one configuration (seeds, folds) as one page: the mean, every run, the controls.

What this file is not: it computes no mean and no interval; they stand in summary.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from unreel.errors import RunError
from unreel.reports.figures import GRID, INK, MODEL, OTHER, plot, svg
from unreel.reports.headline import bars, compare, read_controls
from unreel.reports.measures import Measure, main_measure, read_measures, title
from unreel.reports.page import NAME, environment, save
from unreel.reports.results import read_json


@dataclass(frozen=True)
class Row:
    """One run in the table.

    Args:
        name: its folder below the parent.
        link: its report, relative to the page; None where it has none yet.
        fold, seed: as text, empty where it has none.
        measures: in the order of the columns.
        controls: the main measure of each control, in the order of the controls.
    """

    name: str
    link: str | None
    fold: str
    seed: str
    measures: tuple[Measure | None, ...]
    controls: tuple[Measure | None, ...]


def write_summary(parent: Path) -> Path:
    """Write `parent/report.html` from `parent/summary.json`; each run's own report is linked.

    Returns:
        The path of the page.

    Raises:
        RunError: there is no summary.json, it is torn, or it holds no measure.
    """
    parent = Path(parent)
    summary = read_json(parent / "summary.json")
    measures = read_measures(summary.get("test"))
    main = main_measure(summary, measures)
    if main is None:
        raise RunError(
            f"{parent}: expected summary.json with measures of the test side, found none: train the runs first"
        )
    controls = read_controls(summary.get("controls"), main.name)
    rows = [_row(parent, run, tuple(measures), tuple(controls), main.name) for run in summary.get("runs", ())]
    html = (
        environment()
        .get_template("summary.html.j2")
        .render(
            name=parent.resolve().name,
            main=main,
            others=[measure for measure in measures.values() if measure is not main],
            titles=[measure.title for measure in measures.values()],
            controls=[title(name) for name in controls],
            means=(tuple(measures.values()), tuple(controls.values())),
            rows=rows,
            verdict=compare(main, controls),
            chart=bars(main, controls) if controls else None,
            dots=_dots(main, controls, rows, tuple(measures).index(main.name)),
        )
    )
    return save(parent / NAME, html)


def _row(parent: Path, run: Mapping[str, Any], names: tuple[str, ...], controls: tuple[str, ...], main: str) -> Row:
    name = str(run.get("name", ""))
    measures, of_controls = read_measures(run.get("test")), read_controls(run.get("controls"), main)
    fold, seed = ("" if run.get(key) is None else str(run[key]) for key in ("fold", "seed"))
    return Row(
        name=name,
        link=f"{name}/{NAME}" if (parent / name / NAME).is_file() else None,
        fold=fold,
        seed=seed,
        measures=tuple(measures.get(each) for each in names),
        controls=tuple(of_controls.get(control) for control in controls),
    )


def _dots(main: Measure, controls: Mapping[str, Measure], rows: list[Row], column: int) -> Markup | None:
    """A column of dots for the model and for each control, one dot a run, the mean as a line."""
    runs = [[row.measures[column] for row in rows]]
    runs += [[row.controls[place] for row in rows] for place in range(len(controls))]
    lines = [
        (name, measure, dots)
        for (name, measure), dots in zip(
            [("This model", main), *((title(name), control) for name, control in controls.items())], runs, strict=True
        )
    ]
    if len(rows) < 2:
        return None
    figure, axes = plot(height=0.7 + 0.5 * len(lines))
    for place, (_, mean, dots) in enumerate(lines):
        values = [dot.value for dot in dots if dot is not None]
        # Equal values would hide each other, so the dots are spread over the height of their line.
        offsets = [place + 0.28 * ((index * 0.618) % 1 - 0.5) * 2 for index in range(len(values))]
        color = MODEL if place == 0 else OTHER
        axes.plot(values, offsets, "o", color=color, markersize=5.5, alpha=0.75, markeredgewidth=0)
        axes.plot([mean.value] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.8)
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines], color=INK)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for edge in range(1, len(lines)):
        axes.axhline(edge - 0.5, color=GRID, linewidth=0.6)
    if main.is_percent:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return svg(figure, f"{main.title} of every run")
