"""Per class: a row for each class (or each predicted number): its measures, their intervals, how many there were.

And the chief one of these measures beside that of every control, which shows for which classes the model is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unreel.reports.measures import Measure, read_measures, title
from unreel.reports.results import Results

COLUMNS = ("precision", "recall", "f1", "ap", "auroc", "f1_at_10", "f1_at_25", "f1_at_50", "mae", "rmse", "r2")
CHIEF = ("ap", "f1")  # the first of them that was measured


@dataclass(frozen=True)
class Beside:
    """A measure of the model and of its controls.

    Args:
        title: of the measure.
        titles: of the controls.
        rows: (label, the model's measure, those of the controls); None where one is missing.
    """

    title: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, Measure | None, tuple[Measure | None, ...]], ...]


@dataclass(frozen=True)
class PerClass:
    """A table.

    Args:
        titles: of the measures.
        rows: (label, how many or None, measures in the order of the titles; None where one is missing).
        beside: the controls; None where they were not measured class by class.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, int | None, tuple[Measure | None, ...]], ...]
    beside: Beside | None


def per_class(results: Results) -> PerClass | None:
    """The table of the test side, None where it was not measured."""
    entries = results.metrics.get("per_class")
    if not entries:
        return None
    measured = _measured(entries)
    names = [name for name in COLUMNS if any(name in measures for measures in measured.values())]
    rows = tuple(
        (str(entry.get("label", "")), entry.get("n"), tuple(measures.get(name) for name in names))
        for entry, measures in zip(entries, measured.values(), strict=True)
    )
    controls = results.metrics.get("controls_per_class") or {}
    return PerClass(tuple(map(title, names)), rows, _beside(measured, names, controls))


def _beside(
    measured: Mapping[str, Mapping[str, Measure]], names: Sequence[str], controls: Mapping[str, Any]
) -> Beside | None:
    chief = next((name for name in CHIEF if name in names), None)
    if chief is None or not controls:
        return None
    of_controls = [_measured(entries) for entries in controls.values()]
    rows = tuple(
        (label, measures.get(chief), tuple(control.get(label, {}).get(chief) for control in of_controls))
        for label, measures in measured.items()
    )
    return Beside(title(chief), tuple(map(title, controls)), rows)


def _measured(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Measure]]:
    """Measures of each label, by its name."""
    return {
        str(entry.get("label", "")): read_measures({name: entry[name] for name in COLUMNS if name in entry})
        for entry in entries
    }
