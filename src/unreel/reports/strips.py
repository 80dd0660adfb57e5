"""Strips: clips worth looking at, each with a few of its frames, or its words, the truth and what the model said.

The errors of which the model was most sure come first: they show wrong labels, bad clips and what the model has really
learned. Hits stand beside them, one class after the other, so that both sides can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from unreel.reports.gallery import chosen
from unreel.reports.pictures import Pictures, pictures
from unreel.reports.results import Results
from unreel.reports.timelines import OF_FRAMES

SHOWN = 6
LONGEST = 600  # letters of a text


@dataclass(frozen=True)
class Strip:
    """One clip.

    Args:
        file, seconds: where it is.
        truth, said: labels or numbers as text.
        score: of what was said, as text; empty where a task has none.
        pictures: its frames.
        words: those of a text, which has no pictures, as one line.
    """

    file: str
    seconds: str
    truth: str
    said: str
    score: str
    pictures: Pictures
    words: str = ""


@dataclass(frozen=True)
class Strips:
    """The chosen clips.

    Args:
        errors, hits: the clips (regression: the worst and the best ones).
        errors_title, hits_title: headings.
        clips: how many test clips there are.
        wrong: how many of them were wrong at all, None for regression.
    """

    errors: tuple[Strip, ...]
    hits: tuple[Strip, ...]
    errors_title: str
    hits_title: str
    clips: int
    wrong: int | None


def strips(results: Results) -> Strips | None:
    """Errors and hits of the test side, None where none has a truth, or answers are of frames or are captions."""
    rows = [row for row in results.predictions if row.get("truth") is not None]
    if results.task in (*OF_FRAMES, "sequence", "caption") or not rows:
        return None
    errors, hits = _chosen(results.task, rows)
    if results.task == "regress":
        titles, wrong = ("Furthest from the truth", "Closest to the truth"), None
    else:
        titles, wrong = ("Most confident errors", "Most confident hits"), sum(not _right(row) for row in rows)
    return Strips(
        tuple(_strip(results, row) for row in errors),
        tuple(_strip(results, row) for row in hits),
        *titles,
        len(rows),
        wrong,
    )


def worth_explaining(task: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A few rows of predictions with a truth, errors and hits in turn; none of tasks that do not speak of clips.

    Of captions the best, the worst and others by chance in turn.
    """
    if task == "caption":
        return [row for several in zip_longest(*chosen(rows)) for row in several if row is not None][:SHOWN]
    if task not in ("classify", "multilabel", "regress"):
        return []
    errors, hits = _chosen(task, rows)
    in_turn = [row for pair in zip_longest(errors, hits) for row in pair if row is not None]
    return in_turn[:SHOWN]


def _chosen(
    task: str, rows: Sequence[Mapping[str, Any]]
) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
    """The surest errors and hits; of numbers the furthest from and the closest to the truth."""
    if task == "regress":
        ranked = sorted(rows, key=_distance, reverse=True)
        shown = min(SHOWN, (len(ranked) + 1) // 2)
        return ranked[:shown], ranked[shown:][::-1][:SHOWN]
    ranked = sorted(rows, key=_sureness, reverse=True)
    hits = _one_class_after_the_other([row for row in ranked if _right(row)])
    return [row for row in ranked if not _right(row)][:SHOWN], hits[:SHOWN]


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


def _one_class_after_the_other(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    seen: dict[str, int] = {}
    places = []
    for row in rows:
        truth = str(row["truth"])
        places.append(seen.get(truth, 0))
        seen[truth] = places[-1] + 1
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: places[i])]


def _strip(results: Results, row: Mapping[str, Any]) -> Strip:
    start, end = row.get("start"), row.get("end")
    seconds = f"{start:.1f} – {end:.1f} s" if start is not None and end is not None else ""
    truth, said, score = _texts(results, row)
    words = _line(results, row.get("words", ()))
    return Strip(
        file=str(row.get("file", "")),
        seconds=seconds,
        truth=truth,
        said=said,
        score=score,
        pictures=Pictures()
        if words
        else pictures(results.data_root, str(row.get("file", "")), start, end, reading=results.reading),
        words=words,
    )


def _line(results: Results, words: Sequence[str]) -> str:
    """The words of a text as one line, cut where it is long."""
    characters = ((results.config.get("data") or {}).get("text") or {}).get("tokens") == "characters"
    line = ("" if characters else " ").join(words)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _texts(results: Results, row: Mapping[str, Any]) -> tuple[str, str, str]:
    if results.task == "regress":
        truth, said = (", ".join(f"{number:.4g}" for number in row[key]) for key in ("truth", "values"))
        return truth, said, ""
    if "label" in row:
        return str(row["truth"]), str(row["label"]), f"{100 * row['score']:.1f} %"
    said = ", ".join(f"{label} {100 * row['scores'][label]:.0f} %" for label in row["labels"])
    return ", ".join(row["truth"]) or "none", said or "none", ""
