"""Headline: the one number of a run, what it was measured on, and the controls it must be held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from unreel.reports.figures import INK, MODEL, OTHER, plot, svg
from unreel.reports.measures import Measure, main_measure, read_measures, title
from unreel.reports.results import Results
from unreel.reports.timelines import OF_FRAMES


@dataclass(frozen=True)
class Headline:
    """The top of the page.

    Args:
        main: the number.
        side: `test`, or `validation` where there is no test side.
        counted: what was counted, such as `152 clips`; empty where unknown.
        others: further measures of the same side.
        verdict: one sentence about model and controls; empty without controls.
        chart: bars of model and controls; None without controls.
    """

    main: Measure
    side: str
    counted: str
    others: tuple[Measure, ...]
    verdict: str
    chart: Markup | None


def headline(results: Results) -> Headline | None:
    """The headline of a run, None where nothing was measured."""
    metrics = results.metrics
    side = "test" if metrics.get("test") else "validation"
    measures = read_measures(metrics.get("test") or metrics.get("val"))
    main = main_measure(metrics, measures)
    if main is None:
        return None
    count = metrics.get("n_test") if side == "test" else None
    texts = results.data is not None and results.data.words is not None
    frames, clips = ("words", "texts") if texts else ("frames", "clips")
    unit = frames if results.task in OF_FRAMES else "steps" if results.task == "sequence" else clips
    controls = read_controls(metrics.get("controls"), main.name) if side == "test" else {}
    return Headline(
        main=main,
        side=side,
        counted=f"{count:,} {unit}".replace(",", " ") if count else "",
        others=tuple(measure for measure in measures.values() if measure is not main),
        verdict=compare(main, controls),
        chart=bars(main, controls) if controls else None,
    )


def read_controls(raw: Mapping[str, Mapping[str, object]] | None, name: str) -> dict[str, Measure]:
    """The measure called `name` of every control that has it, by the control's name."""
    found = {control: read_measures(measures).get(name) for control, measures in (raw or {}).items()}
    return {control: measure for control, measure in found.items() if measure is not None}


def compare(main: Measure, controls: Mapping[str, Measure]) -> str:
    """Say whether the model's interval lies clear of every control's."""
    if not controls:
        return ""
    unclear = [title(name) for name, control in controls.items() if not _clear(main, control)]
    if unclear:
        names = " and of ".join(f"“{name}”" for name in unclear)
        return f"The model's interval is not clear of that of {names}: this does not show that the model is better."
    return "The model's interval lies clear of that of every control."


def _clear(main: Measure, control: Measure) -> bool:
    ends = [
        measure.value if end is None else end
        for measure, end in (
            (main, main.high if main.lower_is_better else main.low),
            (control, control.low if main.lower_is_better else control.high),
        )
    ]
    return ends[0] < ends[1] if main.lower_is_better else ends[0] > ends[1]


def bars(main: Measure, controls: Mapping[str, Measure]) -> Markup:
    """Bars of the model and its controls with whiskers for the intervals."""
    rows = [("This model", main), *((title(name), control) for name, control in controls.items())]
    figure, axes = plot(height=0.62 + 0.42 * len(rows))
    highest = 1.0 if main.is_percent else 1.25 * max(max(m.value, m.high or 0.0) for _, m in rows) or 1.0
    lowest = min(0.0, *(min(m.value, m.low or 0.0) for _, m in rows))
    for place, (_, measure) in enumerate(rows):
        color = MODEL if place == 0 else OTHER
        axes.barh(place, measure.value, height=0.62, color=color)
        edge = measure.value
        if measure.low is not None and measure.high is not None:
            axes.plot([measure.low, measure.high], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
            edge = max(edge, measure.high)
        axes.annotate(
            measure.shown,
            (edge, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontweight="bold" if place == 0 else "normal",
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], color=INK)
    axes.set_xlim(lowest, highest * 1.16 if main.is_percent else highest)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if main.is_percent:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return svg(figure, f"{main.title} of the model and of its controls")
