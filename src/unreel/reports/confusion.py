"""Confusion: which class was taken for which, as a table whose cells are shaded by the share of their row."""

from __future__ import annotations

from dataclasses import dataclass

from unreel.reports.results import Results

MOST_LABELS_WITH_NUMBERS = 20


@dataclass(frozen=True)
class Cell:
    """Clips (or frames) of one true class that were given one class.

    Args:
        count: how many.
        share: of the true class, 0 to 1.
        right: whether it is on the diagonal.
        hint: the cell in a sentence.
    """

    count: int
    share: float
    right: bool
    hint: str


@dataclass(frozen=True)
class Confusion:
    """Rows are the truth, columns what the model said.

    Args:
        labels: names of rows and columns.
        rows: cells, one tuple a true class.
        dense: too many classes to write numbers into the cells.
        worst: the most frequent mistakes as (truth, said, count, share of the truth), five at most.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    dense: bool
    worst: tuple[tuple[str, str, int, float], ...]


def confusion(results: Results) -> Confusion | None:
    """The confusion of the test side, None where it was not measured (several labels a clip, numbers)."""
    counts = results.metrics.get("confusion")
    labels = results.labels
    if not counts or len(counts) != len(labels):
        return None
    rows = []
    for truth, row in zip(labels, counts, strict=True):
        total = sum(row)
        rows.append(
            tuple(
                Cell(
                    count,
                    count / total if total else 0.0,
                    truth == said,
                    f"{truth} taken for {said}: {count} of {total}",
                )
                for said, count in zip(labels, row, strict=True)
            )
        )
    mistakes = [
        (truth, said, cell.count, cell.share)
        for truth, row in zip(labels, rows, strict=True)
        for said, cell in zip(labels, row, strict=True)
        if not cell.right and cell.count
    ]
    mistakes.sort(key=lambda mistake: -mistake[2])
    return Confusion(labels, tuple(rows), len(labels) > MOST_LABELS_WITH_NUMBERS, tuple(mistakes[:5]))
