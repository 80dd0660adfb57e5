"""Per class: a row for each class (or each predicted number): its measures, their intervals, how many there were."""

from __future__ import annotations

from dataclasses import dataclass

from unreel.reports.measures import Measure, read_measures, title
from unreel.reports.results import Results

COLUMNS = ("precision", "recall", "f1", "ap", "auroc", "f1_at_10", "f1_at_25", "f1_at_50", "mae", "rmse", "r2")


@dataclass(frozen=True)
class PerClass:
    """A table.

    Args:
        titles: of the measures.
        rows: (label, how many or None, measures in the order of the titles; None where one is missing).
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, int | None, tuple[Measure | None, ...]], ...]


def per_class(results: Results) -> PerClass | None:
    """The table of the test side, None where it was not measured."""
    entries = results.metrics.get("per_class")
    if not entries:
        return None
    measured = [read_measures({name: entry[name] for name in COLUMNS if name in entry}) for entry in entries]
    names = [name for name in COLUMNS if any(name in measures for measures in measured)]
    rows = tuple(
        (str(entry.get("label", "")), entry.get("n"), tuple(measures.get(name) for name in names))
        for entry, measures in zip(entries, measured, strict=True)
    )
    return PerClass(tuple(map(title, names)), rows)
