"""Sides: how many clips, groups and clips of each class lie on each side of the split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from unreel.reports.results import Results
from unreel.reports.timelines import OF_FRAMES

ORDER = ("train", "val", "test")
MOST_CLASSES = 40
_NO_CLASSES = ("regress", "trace", "sequence", "reconstruct", "caption")  # tasks whose outputs are numbers or words


@dataclass(frozen=True)
class Sides:
    """A table with one row a side.

    Args:
        classes: columns, empty where the labels are numbers or too many to show.
        rows: (side, clips, groups, clips of each class).
        grouped: whether the examples have groups at all.
    """

    classes: tuple[str, ...]
    rows: tuple[tuple[str, int, int, tuple[int, ...]], ...]
    grouped: bool


def sides(results: Results) -> Sides | None:
    """The split of a run, None where the manifest names no side."""
    rows = [row for row in results.manifest if row.get("split")]
    if not rows:
        return None
    found = {row["split"] for row in rows}
    names = [side for side in ORDER if side in found] + sorted(found - set(ORDER))
    classes = results.labels if results.task not in _NO_CLASSES and len(results.labels) <= MOST_CLASSES else ()
    table = []
    for side in names:
        here = [row for row in rows if row["split"] == side]
        # Labels in time are several rows of one clip.
        columns = ("path",) if results.task in OF_FRAMES else ("path", "start", "end", "view")
        clips = {tuple(row.get(column) for column in columns) for row in here}
        groups = {row["group"] for row in here if row.get("group")}
        counts = Counter(label for row in here for label in _labels(row))
        table.append((side, len(clips), len(groups), tuple(counts[name] for name in classes)))
    return Sides(tuple(classes), tuple(table), any(row.get("group") for row in rows))


def _labels(row: Mapping[str, str]) -> list[str]:
    """The labels of a row: a cell `label`, or a JSON list in a cell `labels`."""
    cell = row.get("label") or row.get("labels") or ""
    return [str(label) for label in json.loads(cell)] if cell.startswith("[") and "labels" in row else [cell]
