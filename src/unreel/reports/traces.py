"""Traces: numbers over time, true and said, of the clips that were met worst and best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unreel.reports.figures import INK, MODEL, MUTED, PAGE, panels, plain, svg
from unreel.reports.results import Results

TRACE_TASKS = ("trace", "sequence")
_SHOWN, _MOST_OUTPUTS, _WIDTH = 3, 4, 9.6


@dataclass(frozen=True)
class Trace:
    """One clip.

    Args:
        file: where it is.
        caption: how far off it is.
        plot: what is true and what was said, over time.
    """

    file: str
    caption: str
    plot: Markup


@dataclass(frozen=True)
class Traces:
    """The chosen clips; none is in both."""

    worst: tuple[Trace, ...]
    best: tuple[Trace, ...]


def traces(results: Results) -> Traces | None:
    """Clips of the test side, None where there are none, or the task is another one."""
    rows = [row for row in results.predictions if results.task in TRACE_TASKS and row.get("truth")]
    ranked = sorted((row for row in rows if np.isfinite(_off(row))), key=_off, reverse=True)
    if not ranked:
        return None
    half = (len(ranked) + 1) // 2
    worst, best = ranked[: min(_SHOWN, half)], ranked[half:][::-1][:_SHOWN]
    return Traces(tuple(_trace(results, row) for row in worst), tuple(_trace(results, row) for row in best))


def _numbers(row: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Truth, nan where it is not known, and what was said, each (steps, K)."""
    said = np.array(row["values"], dtype=float)
    nothing = [np.nan] * said.shape[1]
    return np.array([nothing if step is None else step for step in row["truth"]], dtype=float), said


def _off(row: Mapping[str, Any]) -> float:
    truth, said = _numbers(row)
    known = np.isfinite(truth)
    return float(np.abs(truth - said)[known].mean()) if known.any() else np.nan


def _trace(results: Results, row: Mapping[str, Any]) -> Trace:
    file = str(row.get("file", ""))
    where = f"{file} {row.get('start')} {row.get('end')}"
    return Trace(file, f"off by {_off(row):.3g} on average", svg(_draw(results, row), f"numbers of {where}"))


def _draw(results: Results, row: Mapping[str, Any]) -> Figure:
    truth, said = _numbers(row)
    times = np.array(row.get("times") or range(len(said)), dtype=float)
    labels = results.labels[:_MOST_OUTPUTS]
    figure, all_axes = panels([1.3] * len(labels), _WIDTH, PAGE)
    marker = "." if len(times) <= 60 else ""
    for index, (label, axes) in enumerate(zip(labels, all_axes, strict=True)):
        axes.plot(times, truth[:, index], color=INK, linewidth=1.1, linestyle=(0, (4, 2)), marker=marker)
        axes.plot(times, said[:, index], color=MODEL, linewidth=1.3, marker=marker)
        axes.set_ylabel(plain(label), color=MUTED)
    more = f"; {len(results.labels) - len(labels)} more numbers not shown" if len(results.labels) > len(labels) else ""
    unit = "s, or frames" if results.task == "trace" else "steps"
    all_axes[-1].set_xlabel(f"{unit}    (dashed: truth; line: model{more})", color=MUTED)
    return figure
