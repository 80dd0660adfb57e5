"""Strips: clips worth looking at, each with a few of its frames, the truth and what the model said.

The errors of which the model was most sure come first: they show wrong labels, bad clips and what the model has really
learned. Hits stand beside them, one class after the other, so that both sides can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unreel.reports.figures import class_color
from unreel.reports.pictures import Pictures, pictures
from unreel.reports.results import Results

SHOWN = 6


@dataclass(frozen=True)
class Band:
    """A coloured bar of a clip in time: one class from one place to another, both in percent of the clip."""

    label: str
    left: float
    width: float
    color: str


@dataclass(frozen=True)
class Strip:
    """One clip.

    Args:
        file, seconds: where it is.
        truth, said: labels or numbers as text.
        score: of what was said, as text; empty where a task has none.
        pictures: its frames.
        truth_bands, said_bands: classes over time; empty but for a label per frame.
    """

    file: str
    seconds: str
    truth: str
    said: str
    score: str
    pictures: Pictures
    truth_bands: tuple[Band, ...] = ()
    said_bands: tuple[Band, ...] = ()


@dataclass(frozen=True)
class Strips:
    """The chosen clips.

    Args:
        errors, hits: the clips (regression and tagging: the worst and the best ones).
        errors_title, hits_title: headings.
        clips: how many test clips there are.
        wrong: how many of them were wrong at all, None for regression.
        legend: class and its colour, for a label per frame.
    """

    errors: tuple[Strip, ...]
    hits: tuple[Strip, ...]
    errors_title: str
    hits_title: str
    clips: int
    wrong: int | None
    legend: tuple[tuple[str, str], ...] = field(default=())


def strips(results: Results) -> Strips | None:
    """Errors and hits of the test side, None where there are no predictions with a truth."""
    rows = [row for row in results.predictions if row.get("truth") is not None]
    if not rows:
        return None
    if results.task == "regress":
        ranked = sorted(rows, key=_distance, reverse=True)
        shown = min(SHOWN, (len(ranked) + 1) // 2)
        errors, hits = ranked[:shown], ranked[shown:][::-1][:SHOWN]
        titles, wrong = ("Furthest from the truth", "Closest to the truth"), None
    elif results.task == "tag":
        ranked = sorted(rows, key=_share_right)
        mistaken = [row for row in ranked if _share_right(row) < 1]
        errors, hits = mistaken[:SHOWN], [row for row in ranked[::-1] if row not in mistaken[:SHOWN]][:SHOWN]
        titles, wrong = ("Most frames wrong", "Most frames right"), len(mistaken)
    else:
        ranked = sorted(rows, key=_sureness, reverse=True)
        mistaken = [row for row in ranked if not _right(row)]
        errors, hits = mistaken[:SHOWN], _one_class_after_the_other([row for row in ranked if _right(row)])[:SHOWN]
        titles, wrong = ("Most confident errors", "Most confident hits"), len(mistaken)
    legend = tuple((label, class_color(i)) for i, label in enumerate(results.labels)) if results.task == "tag" else ()
    return Strips(
        tuple(_strip(results, row) for row in errors),
        tuple(_strip(results, row) for row in hits),
        *titles,
        len(rows),
        wrong,
        legend,
    )


def _right(row: Mapping[str, Any]) -> bool:
    return row["truth"] == row["label"] if "label" in row else set(row["truth"]) == set(row["labels"])


def _sureness(row: Mapping[str, Any]) -> float:
    """Score of what was said; of several labels that of the surest wrong one, or else of the least sure right one."""
    if "label" in row:
        return row["score"]
    margins = {label: score if label in row["labels"] else 1 - score for label, score in row["scores"].items()}
    mistaken = set(row["truth"]) ^ set(row["labels"])
    return max(margins[label] for label in mistaken) if mistaken else min(margins.values(), default=0.0)


def _distance(row: Mapping[str, Any]) -> float:
    return sum(abs(truth - value) for truth, value in zip(row["truth"], row["values"], strict=True))


def _share_right(row: Mapping[str, Any]) -> float:
    known = [truth == said for truth, said in zip(row["truth"], row["labels"], strict=True) if truth is not None]
    return sum(known) / len(known) if known else 1.0


def _one_class_after_the_other(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    seen: dict[str, int] = {}
    places = []
    for row in rows:
        truth = str(row["truth"])
        places.append(seen.get(truth, 0))
        seen[truth] = places[-1] + 1
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: places[i])]


def _strip(results: Results, row: Mapping[str, Any]) -> Strip:
    start, end, times = row.get("start"), row.get("end"), row.get("times") or []
    if times and start is None:
        start, end = times[0], times[-1]
    seconds = f"{start:.1f} – {end:.1f} s" if start is not None and end is not None else ""
    truth, said, score = _texts(results, row)
    tagged = results.task == "tag"
    return Strip(
        file=str(row.get("file", "")),
        seconds=seconds,
        truth=truth,
        said=said,
        score=score,
        pictures=pictures(results.data_root, str(row.get("file", "")), start, end),
        truth_bands=_bands(row["truth"], times, results.labels) if tagged else (),
        said_bands=_bands(row["labels"], times, results.labels) if tagged else (),
    )


def _texts(results: Results, row: Mapping[str, Any]) -> tuple[str, str, str]:
    if results.task == "regress":
        truth, said = (", ".join(f"{number:.4g}" for number in row[key]) for key in ("truth", "values"))
        return truth, said, ""
    if results.task == "tag":
        return "", "", f"{100 * _share_right(row):.0f} % of frames right"
    if "label" in row:
        return str(row["truth"]), str(row["label"]), f"{100 * row['score']:.1f} %"
    said = ", ".join(f"{label} {100 * row['scores'][label]:.0f} %" for label in row["labels"])
    return ", ".join(row["truth"]) or "none", said or "none", ""


def _bands(labels: Sequence[str | None], times: Sequence[float], names: Sequence[str]) -> tuple[Band, ...]:
    """Runs of one label. A frame lasts until the next one; the last one as long as the one before it."""
    if not times:
        return ()
    ends = [*times[1:], times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1.0)]
    whole = max(ends[-1] - times[0], 1e-9)
    runs: list[tuple[str | None, float, float]] = []
    for label, begin, end in zip(labels, times, ends, strict=True):
        if runs and runs[-1][0] == label:
            runs[-1] = (label, runs[-1][1], end)
        else:
            runs.append((label, begin, end))
    places = {name: index for index, name in enumerate(names)}
    return tuple(
        Band(
            label if label is not None else "unknown",
            100 * (begin - times[0]) / whole,
            100 * (end - begin) / whole,
            class_color(places[label]) if label in places else "transparent",
        )
        for label, begin, end in runs
    )
