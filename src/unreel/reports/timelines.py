"""Timelines: the test films of a run whose labels are of frames, the worst and the best of them, one plot a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from unreel.reports.figures import svg
from unreel.reports.results import Results
from unreel.reports.timeline import Film, draw, read_film

FRAME_TASKS = ("tag", "multitag")
OF_FRAMES = (*FRAME_TASKS, "trace", "reconstruct")
"""Tasks that measure frames, not clips."""
SHOWN = 4


@dataclass(frozen=True)
class Shown:
    """One film.

    Args:
        file: where it is.
        score: how good it is, as text.
        plot: its timeline.
    """

    file: str
    score: str
    plot: Markup


@dataclass(frozen=True)
class Timelines:
    """The chosen films.

    Args:
        worst, best: the films; no film is in both.
        films: how many test films there are.
        wrong: how many of them have a wrong frame.
    """

    worst: tuple[Shown, ...]
    best: tuple[Shown, ...]
    films: int
    wrong: int


def timelines(results: Results) -> Timelines | None:
    """Films of the test side, None where there are none, or where labels are not of frames, or frames are words."""
    if results.task not in FRAME_TASKS or any("words" in row for row in results.predictions[:1]):
        return None
    by_file: dict[str, list[Mapping[str, Any]]] = {}
    for row in results.predictions:
        if row.get("truth") is not None and row.get("times"):
            by_file.setdefault(str(row.get("file", "")), []).append(row)
    if not by_file:
        return None
    ranked = sorted((read_film(rows, results.labels) for rows in by_file.values()), key=_agreement)
    wrong = [film for film in ranked if not _all_right(film)]
    worst = wrong[:SHOWN]
    best = [film for film in ranked[::-1] if not any(film is one for one in worst)][:SHOWN]
    return Timelines(_shown(results, worst), _shown(results, best), len(ranked), len(wrong))


def _shown(results: Results, films: Sequence[Film]) -> tuple[Shown, ...]:
    return tuple(
        Shown(
            film.file,
            f"F1 of frames {100 * _agreement(film):.0f} %",
            svg(draw(film, results.data_root, reading=results.reading), film.file),
        )
        for film in films
    )


def _agreement(film: Film) -> float:
    """F1 over all frames of known truth and all labels; 1 where nothing is true and nothing was said."""
    said, truth = _known(film)
    total = int(said.sum() + truth.sum())
    return 2 * int((said & truth).sum()) / total if total else 1.0


def _all_right(film: Film) -> bool:
    said, truth = _known(film)
    return bool((said == truth).all())


def _known(film: Film) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros_like(film.said) if film.truth is None else film.truth
    return film.said[film.known], truth[film.known]
