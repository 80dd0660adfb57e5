"""Captions: how good written captions are beside the controls, how much they differ, and how they are spread.

A captioner that says one thing of all pictures has a fair BLEU: nothing but the captions themselves tells. Whether they
are too much alike is judged when they are measured (`tasks.Caption.caution`). What this file is not: it shows no clip
(`gallery.py`), and computes no measure but counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator, PercentFormatter

from unreel.reports.figures import INK, MODEL, MUTED, OTHER, plot, svg
from unreel.reports.measures import Measure, read_measures, title
from unreel.reports.results import Results
from unreel.tasks.captioning.measures import PROTOCOL
from unreel.tokens import tokenise

COMMON = 8


@dataclass(frozen=True)
class Sameness:
    """How much written captions differ, beside one reference of each clip.

    Args:
        clips: how many were written of.
        written, references: how many of them are distinct.
        words, words_of_references: how many words they use; of the references all of each clip.
        common: (caption, clips) that are written most often.
    """

    clips: int
    written: int
    references: int
    words: int
    words_of_references: int
    common: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Captions:
    """The section.

    Args:
        controls: names of the columns beside the model's.
        rows: (measure's name, the model's, those of the controls); None where one is missing.
        caution: what evaluation warned of; empty where captions are not almost all the same.
        sameness: how much captions differ.
        plots: how CIDEr-D and lengths are spread.
    """

    controls: tuple[str, ...]
    rows: tuple[tuple[str, Measure | None, tuple[Measure | None, ...]], ...]
    caution: str
    sameness: Sameness
    plots: tuple[Markup, ...]


def captions(results: Results) -> Captions | None:
    """The captions of the test side, None where the task is another one or nothing was written."""
    rows = written(results)
    if not rows:
        return None
    controls, table = _beside_controls(results.metrics)
    return Captions(controls, table, str(results.metrics.get("caution", "")), sameness(rows), _plots(rows))


def written(results: Results) -> list[Mapping[str, Any]]:
    """Rows of clips that have a caption; none of other tasks."""
    return [row for row in results.predictions if isinstance(row.get("caption"), str) and results.task == "caption"]


def sameness(rows: Sequence[Mapping[str, Any]]) -> Sameness:
    """Compare the captions of clips among themselves."""
    said = Counter(tuple(words_of(row["caption"])) for row in rows)
    references = {tuple(words_of(row["truth"][0])) for row in rows if row.get("truth")}
    of_references = {word for row in rows for text in row.get("truth") or () for word in words_of(text)}
    return Sameness(
        clips=len(rows),
        written=len(said),
        references=len(references),
        words=len({word for words in said for word in words}),
        words_of_references=len(of_references),
        common=tuple((" ".join(words), times) for words, times in said.most_common(COMMON)),
    )


def counted(number: int) -> str:
    """A count for a reader: `12 345`."""
    return f"{number:,}".replace(",", " ")


def words_of(text: str) -> list[str]:
    """The words that measures count: two captions of the same words are one."""
    return tokenise(text, PROTOCOL)


def cider_d_of(row: Mapping[str, Any]) -> float | None:
    """CIDEr-D of a clip; None where it has no reference."""
    mark = row.get("cider_d")
    return mark if mark is not None and math.isfinite(mark) else None


def _beside_controls(
    metrics: Mapping[str, Any],
) -> tuple[tuple[str, ...], tuple[tuple[str, Measure | None, tuple[Measure | None, ...]], ...]]:
    """All measures of the test side, a row each, with a column for each control."""
    measures = read_measures(metrics.get("test"))
    controls = {name: read_measures(raw) for name, raw in (metrics.get("controls") or {}).items()}
    rows = tuple(
        (measure.title, measure, tuple(control.get(name) for control in controls.values()))
        for name, measure in measures.items()
    )
    return tuple(map(title, controls)), rows


def _plots(rows: Sequence[Mapping[str, Any]]) -> tuple[Markup, ...]:
    scores = [mark for row in rows if (mark := cider_d_of(row)) is not None]
    plots = [_spread(scores)] if scores else []
    return (*plots, _lengths(rows))


def _spread(scores: Sequence[float]) -> Markup:
    """CIDEr-D of single clips: many have none at all, however good the mean."""
    figure, axes = plot(height=2.5)
    axes.hist(scores, bins=30, range=(0, max(0.1, *scores)), color=MODEL)
    mean = fmean(scores)
    axes.axvline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"mean {mean:.3f}",
        (mean, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -9),
        textcoords="offset points",
        color=INK,
        fontsize=8,
    )
    axes.set_xlabel("CIDEr-D", color=MUTED)
    axes.set_ylabel("clips", color=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_title("CIDEr-D of each clip", loc="left")
    return svg(figure, "CIDEr-D of each clip")


def _lengths(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Words of a caption, as shares, since there are several references of a clip."""
    said = [len(words_of(row["caption"])) for row in rows]
    true = [len(words_of(text)) for row in rows for text in row.get("truth") or ()]
    figure, axes = plot(height=2.5)
    edges = np.arange(min(said + true), max(said + true) + 2) - 0.5
    for lengths, color, label in ((true, OTHER, "references"), (said, MODEL, "written")):
        if lengths:
            share = np.histogram(lengths, edges)[0] / len(lengths)
            axes.stairs(share, edges, color=color, fill=color == OTHER, linewidth=1.8, label=label)
    axes.set_xlabel("words", color=MUTED)
    axes.set_ylabel("captions", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(labelcolor=INK, frameon=False, fontsize=8.5)
    axes.set_title("Lengths of captions", loc="left")
    return svg(figure, "Lengths of captions")
